"""Processes of their own for tests: to kill, to split a run over, to take the disk from.

They are forked from a server that has imported the package once, which makes them quick to start; what happens in them
is what happens in a shell.
"""

import os
import signal
import socket
import sys
import time
from multiprocessing import get_context, set_start_method
from pathlib import Path

import torch
from torch import nn

from mtlora_lite import checkpoints, cli, runs, trainer

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload([cli.__name__])
WAIT = 600  # seconds, on a machine that has much else to do


def start(function, *arguments, log, env=(), hooks=()):
    """Call ``function(*arguments)`` in a new process, whose exit status is what it returns; prints go to ``log``."""
    env = {name: value for name, value in os.environ.items() if name.startswith("MTLORA_")} | dict(env)
    process = CONTEXT.Process(target=_enter, args=(function, arguments, Path(log), env, hooks))
    process.start()
    return process


def finish(process):
    """Wait for a process and return its exit status: -9 for one that was killed."""
    process.join(WAIT)
    assert not process.is_alive(), "the process does not end"
    return process.exitcode


def run(*arguments, **options):
    """The command line in a process of its own; its exit status."""
    return finish(start(cli.main, [str(word) for word in arguments], **options))


def _enter(function, arguments, log, env, hooks):
    os.environ.update(env)
    with log.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    # Not to be told of Ctrl-C by pytest's terminal; the default is what a shell gives.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    set_start_method("fork", force=True)  # for workers, as from a shell: they notice when their parent is killed
    for hook in hooks:
        hook()
    sys.exit(function(*arguments))


def together(function, *arguments, count, folder, hooks=()):
    """The same function in ``count`` processes that know of each other, as a launcher starts them; their statuses."""
    port = _free_port()
    env = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",  # or Accelerate says that it sets it
    }
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    processes = [
        start(function, *arguments, log=folder / f"{rank}.txt", env=env | own, hooks=hooks)
        for rank, own in enumerate(ranks)
    ]
    return [finish(process) for process in processes]


def _free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


# ---------------------------------------------------------------------- hooks: what goes wrong, or is kept from varying


def freeze_norms():
    """Batch norms that use their running statistics in training too: those of a batch differ with how it is split."""
    nn.BatchNorm2d.train = lambda self, mode=True: nn.Module.train(self, False)


def add_an_idle_parameter():
    """A trained parameter that nothing depends on, for which DDP must not wait."""
    build = trainer.build_from_config

    def with_a_spare(config):
        model = build(config)
        model.backbone.spare = nn.Parameter(torch.ones(2))
        return model

    trainer.build_from_config = with_a_spare


class _AfterStep:
    """Let something happen to this process once the log has a step."""

    def __init__(self, step):
        self.step = step

    def __call__(self):
        append = runs.append

        def append_and_strike(path, record):
            append(path, record)
            if path.name == runs.LOG_FILE and record["step"] == self.step:
                self.strike()

        runs.append = append_and_strike


class KillAfterStep(_AfterStep):
    """Kill this process, as ``kill -9`` does, once the log has a step."""

    def strike(self):
        os.kill(os.getpid(), signal.SIGKILL)


class KillWhileWriting:
    """Kill this process in the midst of a file of the checkpoint of a step."""

    def __init__(self, step, name):
        self.step, self.name = step, name

    def __call__(self):
        write = checkpoints._write

        def write_half_and_die(path, content):
            if f"step-{self.step:08d}" in path.parent.name and path.name == self.name:
                path.write_bytes(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return write(path, content)

        checkpoints._write = write_half_and_die


class LimitFilesAfterStep(_AfterStep):
    """Let no file grow beyond a size once the log has a step, as if the disk were full."""

    def __init__(self, step, size):
        super().__init__(step)
        self.size = size

    def strike(self):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


def hold(out, marker):
    """Be a run that is at work in a folder, until the marker is removed."""
    with runs.held(out):
        marker.touch()
        while marker.exists():
            time.sleep(0.05)
