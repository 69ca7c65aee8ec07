"""Bad calls in processes of their own, and long runs; `uv run pytest -m slow tests/test_endurance.py` takes minutes."""

import gc
import multiprocessing
import os
import random
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.test_arguments import FUNCTION, LAYER, MU, W, X
from torchdau import DAUConv2d, dau_conv2d
from torchdau_cli.main import main

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")


def call(function, changed, answers):
    """Calls with bad arguments, and tells what came of it."""
    usual = (
        {"input": X, "weight": W, "displacement": MU}
        if function is dau_conv2d
        else {"in_channels": 4, "out_channels": 8}
    )
    try:
        function(**(usual | changed))
    except Exception as error:
        answers.put((type(error), str(error), traceback.format_exc()))
    else:
        answers.put((None, "", ""))


@pytest.mark.slow
def test_bad_calls_are_python_errors():
    """No signal, and a message with the argument."""
    import re

    SERVER.set_forkserver_preload(["tests.test_arguments"])
    cases = [(dau_conv2d, *case) for case in FUNCTION] + [(DAUConv2d, *case) for case in LAYER]
    assert len(cases) >= 60
    for function, changed, expected, message in cases:
        answers = SERVER.SimpleQueue()
        process = SERVER.Process(target=call, args=(function, changed, answers))
        process.start()
        process.join(60)
        assert process.exitcode == 0, (changed, process.exitcode)
        error, said, _ = answers.get()
        assert issubclass(error, expected), changed
        assert re.search(message, said), (changed, said)


def resident():
    """Memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def many_steps(learn_sigma, algorithm, answers):
    torch.set_num_threads(1)
    layer = DAUConv2d(8, 8, num_units=2, learn_sigma=learn_sigma, algorithm=algorithm)
    optimizer = torch.optim.SGD(layer.parameters(), 0.01, momentum=0.9)
    sizes = [(2, 8, 16, 16), (1, 8, 9, 23), (3, 8, 30, 12)]
    memory = []
    for step in range(10_000):
        optimizer.zero_grad()
        layer(torch.randn(sizes[step % 3])).square().mean().backward()
        optimizer.step()
        if step % 1000 == 999:
            memory.append(resident())
    answers.put(memory)


def many_shapes(answers):
    """Half of them with a backward pass, by layers that different kernels compute."""
    torch.set_num_threads(1)
    generator = random.Random(0)
    layers = [DAUConv2d(8, 8), DAUConv2d(8, 8, groups=8), DAUConv2d(8, 24, stride=2), DAUConv2d(8, 8, learn_sigma=True)]
    memory = []
    for call in range(50_000):
        shape = generator.randint(1, 4), 8, generator.randint(1, 40), generator.randint(1, 40)
        output = generator.choice(layers)(torch.randn(shape))
        if call % 2:
            output.sum().backward()
        if call % 5000 == 4999:
            memory.append(resident())
    answers.put(memory)


def many_trainings(folder, answers):
    os.chdir(folder)
    torch.set_num_threads(1)
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.num_sanity_val_steps", "0"]
    short = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--trainer.logger", "false"]
    sys.argv = ["torchdau", "fit", "--config", str(ROOT / "recipes/digits_dau.yaml"), *quiet, *short]
    memory = []
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        for number in range(200):
            main()
            if number % 25 == 24:
                gc.collect()
                memory.append(resident())
    answers.put(memory)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "room"),
    [
        (partial(many_steps, False, "auto"), 10),
        (partial(many_steps, True, "spectral"), 10),
        (many_shapes, 20),
        (partial(many_trainings, "folder"), 40),
    ],
    ids=["auto", "learned sigma", "shapes", "trainings"],
)
def test_long_runs_do_not_grow(run, room, tmp_path, monkeypatch):
    """In MB, from a fifth or an eighth of the way to its end."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    answers = SERVER.SimpleQueue()
    process = SERVER.Process(target=run, args=(answers,))
    process.start()
    memory = answers.get()
    process.join()
    assert memory[-1] - memory[1] < room, memory


def test_twelve_threads():
    """Each with layers of its own, at the same time."""
    layers = [DAUConv2d(4, 8, groups=1 + 3 * (number % 2), stride=1 + number % 2) for number in range(12)]
    images = [torch.randn(1 + number % 3, 4, 9 + number, 20) for number in range(12)]

    def gradients(number):
        output = layers[number](images[number])
        return [output.detach(), *torch.autograd.grad(output.square().sum(), list(layers[number].parameters()))]

    def often(number):
        return [gradients(number) for _ in range(20)]

    alone = [gradients(number) for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(often, range(12)))
    for expected, each in zip(alone, together, strict=True):
        for got in each:
            for a, b in zip(got, expected, strict=True):
                torch.testing.assert_close(a, b)


class Blurred(Dataset):
    """Images that a layer has computed, as an augmentation would."""

    def __init__(self):
        self.layer = DAUConv2d(3, 3, groups=3)

    def __len__(self):
        return 8

    @torch.no_grad()
    def __getitem__(self, index):
        return self.layer(torch.full((3, 16, 16), float(index)))


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_layers_in_processes_of_a_loader(start):
    """The parent has used several threads, which do not live on in a fork."""
    dataset = Blurred()
    expected = torch.stack([dataset[index] for index in range(len(dataset))])
    loader = DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context=start)
    torch.testing.assert_close(torch.cat(list(loader)), expected)
