"""Training batches depend on seed, epoch and number alone; unreadable samples are replaced up to a share."""

import multiprocessing
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from torchdau.training.data.loading import RandomOrder, TrainingLoader, TrainingSet, end_with_parent


class Noisy(Dataset):
    """Pairs of an index and a random number; some cannot be read."""

    def __init__(self, count=20, broken=()):
        self.samples = [(f"{index}.png", index) for index in range(count)]
        self.broken = broken

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError("truncated")
        return index, torch.rand(()).item()


def loader(epoch=0, rank=0, devices=1, size=4, workers=0, seed=0, most=0.0, **options):
    samples = TrainingSet(Noisy(**options), most)
    order = RandomOrder(samples, num_replicas=devices, rank=rank, seed=seed)
    order.set_epoch(epoch)
    return TrainingLoader(samples, order, batch_size=size, num_workers=workers)


def drawn(batches):
    return [list(zip(*(part.tolist() for part in batch), strict=True)) for batch in batches]


def test_batches_depend_on_seed_epoch_and_number_alone():
    """Not on workers, on the global generator, or on what was drawn before."""
    first = drawn(loader())
    assert sorted(index for batch in first for index, _ in batch) == list(range(20))
    assert len({number for batch in first for _, number in batch}) == 20
    torch.manual_seed(7)
    again = loader()
    assert next(iter(again)) is not None
    assert drawn(again) == drawn(loader(workers=2)) == first
    other = drawn(loader(epoch=1))
    assert [[index for index, _ in batch] for batch in other] != [[index for index, _ in batch] for batch in first]
    assert not {pair for batch in other for pair in batch} & {pair for batch in first for pair in batch}
    assert drawn(loader(seed=1)) != first


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    drawn(loader())
    drawn(loader(workers=2))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on(workers):
    whole, stopped, other = loader(3), loader(3, workers=workers), loader(3, workers=workers)
    batches = iter(stopped)
    before = drawn([next(batches), next(batches)])
    other.load_state_dict(stopped.state_dict())
    assert before + drawn(other) == drawn(whole)
    other.sampler.set_epoch(4)
    assert drawn(other) == drawn(loader(4))


def test_a_finished_epoch_is_followed_by_a_whole_one():
    stopped, other = loader(3), loader(0)
    drawn(stopped)
    other.load_state_dict(stopped.state_dict())
    other.sampler.set_epoch(4)
    assert drawn(other) == drawn(loader(4))


def test_devices_share_what_one_would_see():
    one = drawn(loader(2, size=4))
    shares = [drawn(loader(2, rank, 2, size=2)) for rank in (0, 1)]
    assert [sorted([*a, *b]) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in one]


@pytest.mark.parametrize("workers", [0, 2])
def test_others_stand_in_for_what_cannot_be_read(workers):
    with pytest.warns(UserWarning, match="others stood in for 2 unreadable training samples:\n3.png\n11.png"):
        found = drawn(loader(workers=workers, broken=(3, 11), most=0.1))
    indices = sorted(index for batch in found for index, _ in batch)
    assert indices == sorted([*(set(range(20)) - {3, 11}), 4, 12])


def test_they_are_listed_once():
    batches = loader(broken=(3,), most=0.1)
    with pytest.warns(UserWarning, match="others stood in for 1 unreadable"):
        drawn(batches)
    batches.sampler.set_epoch(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_that_cannot_be_read(workers):
    with pytest.raises(ValueError, match=r"(3|7).png: truncated These are 2 of 20 samples, more than .*=0.05 allows"):
        drawn(loader(workers=workers, broken=(3, 7), most=0.05))
    with pytest.raises(ValueError, match=r"3.png: truncated These are 1 of 20 samples, more than max_unreadable=0 "):
        drawn(loader(broken=(3,)))


@pytest.mark.parametrize("most", [-0.1, 1.0])
def test_shares_that_cannot_be(most):
    with pytest.raises(ValueError, match=r"max_unreadable must be a share of .* below 1, got max_unreadable="):
        loader(most=most)


def test_files_of_a_batch():
    batches = loader(2)
    for number, batch in enumerate(drawn(batches)):
        assert batches.files(number) == [f"{index}.png" for index, _ in batch]


def reads_for_ever(pids):
    """Starts a worker, of the kind that a server makes."""
    samples = TrainingSet(Noisy())
    batches = iter(TrainingLoader(samples, RandomOrder(samples, 1, 0), num_workers=1, worker_init_fn=end_with_parent))
    next(batches)
    pids.send([process.pid for process in multiprocessing.active_children()])
    time.sleep(600)


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed():
    context = multiprocessing.get_context("forkserver")  # the default from Python 3.14 on
    here, there = context.Pipe()
    process = context.Process(target=reads_for_ever, args=(there,))
    process.start()
    there.close()
    pids = here.recv()
    assert pids
    process.kill()
    process.join()
    end = time.time() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.time() < end, f"workers {pids} do not end"
        time.sleep(0.1)
