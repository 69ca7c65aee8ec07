"""Sharded training: two processes, each with a part of every parameter."""

import warnings

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor

from tests.test_optim import names_by_group
from torchdau import DAUConv2d, parameter_groups


def shard_1(model):
    return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))


def shard_2(model):
    return fully_shard(model, mesh=init_device_mesh("cpu", (2,)))


def local(parameter):
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def train_a_step(rank, shard, file):
    warnings.simplefilter("ignore")  # torch's own, about FSDP on a CPU
    store = distributed.FileStore(str(file), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = DAUConv2d(2, 4)
    model = shard(nn.Sequential(layer, nn.ReLU(), DAUConv2d(4, 2)))
    groups = parameter_groups(model, 0.1, displacement_lr=1e6)  # a step far beyond the bound
    assert [len(names) for names in names_by_group(groups, model).values()] == [2, 2, 2]
    optimizer = torch.optim.SGD(groups)
    model(torch.randn(1, 2, 8, 8)).square().sum().backward()
    optimizer.step()
    for module in model.modules():
        if isinstance(module, DAUConv2d):
            module.clip_parameters_()
    displacements = [local(p) for g in groups if g["name"] == "displacements" for p in g["params"]]
    assert sum(p.numel() for p in displacements) < 64, "each process holds a part of them"
    assert max(p.abs().max() for p in displacements if p.numel()) == 4
    # A process that left early would abort the other, also while that is still on its way out of a barrier.
    store.set(f"{rank} is done", "")
    store.wait(["0 is done", "1 is done"])
    distributed.destroy_process_group()


@pytest.mark.parametrize("shard", [shard_1, shard_2])
def test_a_sharded_layer_stays_within_its_bounds(shard, tmp_path):
    torch.multiprocessing.spawn(train_a_step, args=(shard, tmp_path / "store"), nprocs=2)
