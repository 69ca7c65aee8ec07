"""Networks restored from checkpoints, which hold the configuration that made them. Needs no Lightning."""

import os
import random
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from torchdau import __version__
from torchdau.training.checkpoints import read_checkpoint, refusal
from torchdau.training.trust import DENIED, UntrustedError, check_trust, only_trusted, only_weights, refusal_of

PREFIX = "network."
"""Prefix of a network's weights among the weights of its task."""


def restore_network(checkpoint: str | os.PathLike[str]) -> nn.Module:
    """Rebuild the network of a checkpoint, and load its weights.

    Args:
        checkpoint: file that ``torchdau fit`` wrote. It names the classes to instantiate: open only files you trust.

    Returns:
        The network, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    saved = read_checkpoint(checkpoint)
    network = _network(saved, checkpoint)
    try:
        weights = {key.removeprefix(PREFIX): w for key, w in saved["state_dict"].items() if key.startswith(PREFIX)}
        network.load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"checkpoint must have the weights of its network, got {checkpoint}: {error}.") from error
    return network.eval()


def restore_start(checkpoint: str | os.PathLike[str]) -> nn.Module | None:
    """Rebuild the network of a checkpoint as it was before the training, from the same seed.

    Args:
        checkpoint: file that ``torchdau fit`` wrote.

    Returns:
        The network, or None if its start is not known: the training had no seed, or started from another checkpoint.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    saved = read_checkpoint(checkpoint)
    seed = configuration(saved, checkpoint).get("seed_everything")
    if saved.get("pretrained") or isinstance(seed, bool) or not isinstance(seed, int):
        return None
    state = random.getstate()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            torch.manual_seed(seed)
            return _network(saved, checkpoint)
    finally:
        random.setstate(state)


def check_images(networks: Iterable[nn.Module], images: Tensor) -> None:
    """Raise ValueError unless all networks compute something for the images of the first."""
    for network in networks:
        try:
            with torch.inference_mode():
                network(images[:1])
        except (RuntimeError, ValueError) as error:
            first = str(error).partition("\n")[0]
            raise ValueError(
                f"compare must be of a network for the same images, got one for others: {first}"
            ) from error


def task_name(checkpoint: str | os.PathLike[str]) -> str:
    """Return the class name of the task that a checkpoint was trained for, such as Classification.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a checkpoint of ``torchdau fit``.
    """
    model = configuration(read_checkpoint(checkpoint), checkpoint)["model"]
    return str(model["class_path"]).rpartition(".")[2]


def steps_of(checkpoint: str | os.PathLike[str]) -> int:
    """Return the number of training steps before a checkpoint was written."""
    return int(read_checkpoint(checkpoint).get("global_step", 0))


def data_name(checkpoint: str | os.PathLike[str]) -> str:
    """Return the name of a checkpoint's data set: the name of its folder, else of its class."""
    data = configuration(read_checkpoint(checkpoint), checkpoint)["data"]
    root = (data.get("init_args") or {}).get("root")
    return Path(root).name if root else str(data["class_path"]).rpartition(".")[2].removesuffix("Data")


def named_checkpoints(checkpoints: Sequence[Path]) -> dict[str, Path]:
    """Name checkpoints by the class or function of their networks or, if these are equal, by how their paths differ."""
    networks = [_network_name(path) for path in checkpoints]
    if len(set(networks)) == len(networks):
        return dict(zip(networks, checkpoints, strict=True))
    parts = [path.parts for path in checkpoints]
    if len(set(parts)) < 2:
        return {str(path): path for path in checkpoints}
    first = next(i for i, names in enumerate(zip(*parts, strict=False)) if len(set(names)) > 1)
    last = next(i for i, names in enumerate(zip(*(p[::-1] for p in parts), strict=False)) if len(set(names)) > 1)
    return {"/".join(path.parts[first : len(path.parts) - last]) or str(path): path for path in checkpoints}


def configuration(saved: Mapping[str, Any], checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the configuration in the content of a checkpoint, with ``model`` and ``data``.

    Raises:
        ValueError: the checkpoint has none.
    """
    try:
        config = yaml.safe_load(saved["config"])
        return {"model": config["model"], "data": config["data"]} | config
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(refusal(checkpoint, repr(error))) from error


def instantiate(parser: ArgumentParser, config: dict[str, Any], checkpoint: str | os.PathLike[str]) -> Any:
    """Instantiate a part of the configuration in a checkpoint.

    Raises:
        ValueError: a class or an argument is unknown.
    """
    check_trust(config, checkpoint)
    try:
        with only_trusted(), only_weights():
            return parser.instantiate(parser.parse_object(config))
    except (ArgumentError, RuntimeError, UnpicklingError) as error:  # also of files that they name
        cause: BaseException = error
        while cause.__cause__ is not None:  # the innermost names the culprit
            cause = cause.__cause__
        if denied := DENIED.search(str(cause)):
            raise UntrustedError(refusal_of(denied[1], checkpoint)) from None
        raise ValueError(
            f"checkpoint must be of classes and arguments that torchdau {__version__} knows, got {str(checkpoint)!r}: "
            f"{cause}."
        ) from error


def _network_name(checkpoint: Path) -> str:
    """Return the class or function that makes the network, without its module."""
    model = configuration(read_checkpoint(checkpoint), checkpoint)["model"]
    network = (model.get("init_args") or {}).get("network") or {}
    return str(network.get("class_path", model["class_path"])).rpartition(".")[2]


def _network(saved: Mapping[str, Any], checkpoint: str | os.PathLike[str]) -> nn.Module:
    model = configuration(saved, checkpoint)["model"]
    try:
        config = {"network": model["init_args"]["network"]}
    except (KeyError, TypeError) as error:
        raise ValueError(refusal(checkpoint, f"its configuration names no network, {error!r}")) from error
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("network", type=nn.Module)
    network: nn.Module = instantiate(parser, config, checkpoint).network
    return network
