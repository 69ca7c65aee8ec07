"""Training in two processes: replicas (DDP) equal one process, and shards (FSDP) keep their bounds."""

import warnings
from contextlib import contextmanager

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tests.test_optim import names_by_group
from torchdau import DAUConv2d, convert_, optimizer, parameter_groups, prune_units_


@contextmanager
def process(rank, file):
    """One of two processes that can speak to each other."""
    warnings.simplefilter("ignore")  # torch's own, about FSDP on a CPU
    store = distributed.FileStore(str(file), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    yield
    # A process that left early would abort the other, also while that is still on its way out of a barrier.
    store.set(f"{rank} is done", "")
    store.wait(["0 is done", "1 is done"])
    distributed.destroy_process_group()


def shard_1(model):
    return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))


def shard_2(model):
    return fully_shard(model, mesh=init_device_mesh("cpu", (2,)))


def local(parameter):
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def by_factor(model):
    """The paper's rule; with either, a step takes displacements beyond their bound."""
    return torch.optim.SGD(parameter_groups(model, 0.1, displacement_lr=1e5), momentum=0.9)


def in_pixels(model):
    return optimizer(model, torch.optim.SGD, 0.1, displacement_lr=10, momentum=0.9)


def train_a_step(rank, shard, make, file):
    with process(rank, file):
        torch.manual_seed(0)
        layer = DAUConv2d(2, 4)
        model = shard(nn.Sequential(layer, nn.ReLU(), DAUConv2d(4, 2)))
        optimizer = make(model)
        groups = optimizer.param_groups
        assert [len(names) for names in names_by_group(groups, model).values()] == [2, 2, 2]
        model(torch.randn(1, 2, 8, 8)).square().sum().backward()
        optimizer.step()
        for module in model.modules():
            if isinstance(module, DAUConv2d):
                module.clip_parameters_()
        displacements = [local(p) for g in groups if g["name"] == "displacements" for p in g["params"]]
        assert sum(p.numel() for p in displacements) < 64, "each process holds a part of them"
        assert max(p.abs().max() for p in displacements if p.numel()) == 4


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("shard", "make"),
    [
        (shard_1, in_pixels),
        (shard_2, by_factor),
        pytest.param(shard_1, by_factor, marks=SLOW),
        pytest.param(shard_2, in_pixels, marks=SLOW),
    ],
)
def test_a_sharded_layer_stays_within_its_bounds(shard, make, tmp_path):
    torch.multiprocessing.spawn(train_a_step, args=(shard, make, tmp_path / "store"), nprocs=2)


def network(kind):
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1)
    model = convert_(nn.Sequential(*convolutions).double(), 3, learn_sigma=True)
    return prune_units_(model, 0.4) if kind == "pruned" else model


def train(model, inner, make, images):
    """Three steps with a rate that takes displacements to their bound."""
    optimizer = make(inner)
    for batch in images.chunk(3):
        optimizer.zero_grad()
        share = batch.chunk(distributed.get_world_size())[distributed.get_rank()] if model is not inner else batch
        model(share).square().mean().backward()
        optimizer.step()
    return inner.state_dict()


def train_replicas(rank, kind, make, images, alone, file):
    with process(rank, file):
        inner = network(kind)
        after = train(DistributedDataParallel(inner), inner, make, images)
        torch.testing.assert_close(after, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("pruned", in_pixels),
        ("converted", by_factor),
        pytest.param("pruned", by_factor, marks=SLOW),
        pytest.param("converted", in_pixels, marks=SLOW),
    ],
)
def test_replicas_equal_one_process(kind, make, tmp_path):
    images, model = torch.randn(12, 3, 10, 10, dtype=torch.float64), network(kind)
    alone = train(model, model, make, images)
    assert alone["0.displacement"].abs().max() == 4
    torch.multiprocessing.spawn(train_replicas, args=(kind, make, images, alone, tmp_path / "store"), nprocs=2)
