"""Bad calls in processes of their own, and long runs; `uv run pytest -m slow tests/test_endurance.py` takes minutes."""

import multiprocessing
import traceback

import pytest
import torch

from tests.test_arguments import FUNCTION, LAYER, MU, W, X
from torchdau import DAUConv2d, dau_conv2d

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


@pytest.mark.slow
@pytest.mark.parametrize(("learn_sigma", "algorithm"), [(False, "auto"), (True, "spectral")])
def test_ten_thousand_steps_do_not_grow(learn_sigma, algorithm):
    answers = SERVER.SimpleQueue()
    process = SERVER.Process(target=many_steps, args=(learn_sigma, algorithm, answers))
    process.start()
    memory = answers.get()
    process.join()
    assert memory[-1] - memory[0] < 10, memory
