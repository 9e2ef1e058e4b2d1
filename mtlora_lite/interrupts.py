"""Ctrl-C and SIGTERM, as requests to stop at the next good moment."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop, and has been saved.

    Attributes:
        status: with which a command ends for that, by the custom of shells 128 + the number of the signal.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.status = 128 + number


@dataclass
class Request:
    """Whether somebody wants a run to stop.

    Attributes:
        signal: the number of the signal that said so; 0 as long as none did.
    """

    signal: int = 0

    def stop(self) -> None:
        """Ask as Ctrl-C does, from any thread."""
        self.signal = signal.SIGINT


@contextmanager
def listening(request: Request | None = None) -> Iterator[Request]:
    """Let the first Ctrl-C or SIGTERM be a request; another one acts as it did before, at once.

    Python lets signals be caught in the main thread only: in any other nobody listens, and only who holds the request
    can make it.

    Args:
        request: where it is noted; None makes one.
    """
    request, before = request or Request(), {}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        restore()


def leave_to_parent(worker: int) -> None:
    """Let a process that loads images hear of no signal; it ends when its parent does.

    Ctrl-C reaches every process of a terminal, and a worker that stopped at once could not help to finish the step.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """Let a process that works for another end when that one does, however it ended: what trains is saved."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    while True:  # until nobody listens any more
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
