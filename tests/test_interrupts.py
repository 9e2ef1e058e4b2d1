"""Signals become requests once, and act as ever afterwards."""

import os
import pickle
import signal
import threading
import time

import child
import pytest

from mtlora_lite.interrupts import Interrupted, Request, end_with_parent, listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts(number, monkeypatch):
    acted = []
    before = signal.signal(number, lambda *_: acted.append(number))
    try:
        with listening() as request:
            assert request.signal == 0
            os.kill(os.getpid(), number)
            assert (request.signal, acted) == (number, [])
            os.kill(os.getpid(), number)
            assert acted == [number]
        with listening():
            pass
        os.kill(os.getpid(), number)
        assert acted == [number, number]
    finally:
        signal.signal(number, before)


def test_another_thread_than_the_main_one_does_not_listen_and_does_not_fail():
    seen = []

    def work():
        with listening() as request:
            seen.append(request.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


def test_a_request_can_be_made_from_another_thread():
    mine = Request()
    with listening(mine) as request:
        thread = threading.Thread(target=mine.stop)
        thread.start()
        thread.join()
        assert request.signal == signal.SIGINT


def work_for(parent):
    end_with_parent(parent)
    time.sleep(child.WAIT)


def test_a_process_ends_whose_parent_was_gone_before_it_looked(tmp_path):
    process = child.start(work_for, -1, log=tmp_path / "log.txt")
    assert child.finish(process) == -signal.SIGTERM


def test_an_interruption_survives_the_way_between_processes():
    stop = pickle.loads(pickle.dumps(Interrupted("stopped after step 3", signal.SIGTERM)))
    assert (str(stop), stop.status) == ("stopped after step 3", 143)
    assert isinstance(stop, KeyboardInterrupt)
