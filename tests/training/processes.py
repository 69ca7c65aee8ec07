"""Commands in processes of their own, which can be killed; a server that has imported everything forks them."""

import csv
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import torch
from lightning import Callback

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lightning", "torchdau.training.cli", "tests.training.processes"])


class KillAt(Callback):
    """SIGKILL for this process, or another signal for its whole group as from a terminal, at a hook's n-th call.

    Args:
        hook: the name of the hook.
        call: from 0.
        number: of the signal.
    """

    def __init__(self, hook: str, call: int, number: int = signal.SIGKILL):
        self.calls = 0
        setattr(self, hook, lambda *_: self._count(call, number))

    def _count(self, call, number):
        if self.calls == call:
            os.kill(os.getpid() * (1 if number == signal.SIGKILL else -1), number)
        self.calls += 1


class FailAt(Callback):
    """An error in one process.

    Args:
        rank: of the process.
        step: before which it fails.
    """

    def __init__(self, rank: int, step: int):
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer, *_):
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            raise RuntimeError("of one process")


def start(folder, words, log="log"):
    """A process that runs a command in a folder, its output in a file."""
    process = SERVER.Process(target=_run, args=(Path(folder), [str(word) for word in words], dict(os.environ), log))
    process.start()
    return process


def run(folder, words, seconds=600):
    """The exit code of a command; minus the signal that killed it."""
    process = start(folder, words)
    process.join(seconds)
    assert process.exitcode is not None, "it does not end"
    return process.exitcode


def _run(folder, words, environment, log):
    os.setpgid(0, 0)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ.update(environment)
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        signal.signal(number, usual)  # whatever started the tests may ignore them, as nohup does
    multiprocessing.set_start_method(None, force=True)  # that of loaders is Python's own again, not this server's
    sys.argv = ["torchdau", *words]
    from torchdau_cli.main import main

    main()


def alive(log):
    """The processes that write into a file."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/1").readlink() == log:
                found.append(int(process.name))
        except OSError:  # it has ended, or is another's
            pass
    return found


def wait_until_ended(log, seconds=30):
    """Until no process writes into a file any more."""
    end = time.time() + seconds
    while alive(log):
        assert time.time() < end, f"processes {alive(log)} do not end"
        time.sleep(0.1)


def last_checkpoint(folder):
    """What a training in a folder wrote last."""
    return max(Path(folder).glob("runs/**/last.ckpt"), key=lambda file: file.stat().st_mtime, default=None)


def validations(folder):
    """What was measured after each validation, by the step; the same whenever it was measured twice."""
    found = {}
    for table in sorted(Path(folder).glob("runs/**/metrics.csv")):
        with table.open() as file:
            for row in csv.DictReader(file):
                values = {name: value for name, value in row.items() if name.startswith("val_") and value}
                if values:
                    assert found.setdefault(row["step"], values) == values
    return found
