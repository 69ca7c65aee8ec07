"""The network of a checkpoint as a file of weights, with its accuracy and some outputs to compare with.

    TORCHDAU_DATA=cifar10 uv run python benchmarks/weights.py CHECKPOINT weights/cifar10_dau_resnet20.safetensors \
        torchdau/cifar_resnetv2 --arguments '{"depth": 20}'

Beside the file lies NAME.json with the accuracy on the checkpoint's test set and the logits of generated images.
``tests/test_weights.py`` compares both with what the file gives.
"""

import argparse
import json
from pathlib import Path
from typing import cast

import torch
from lightning import Trainer
from torch import Tensor, nn

from torchdau import save_model
from torchdau.training.restoring_tasks import restore_data, restore_task


def generated_images() -> Tensor:
    """Return ten normalised images (10, 3, 32, 32), always the same."""
    return torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def logits_of(network: nn.Module) -> Tensor:
    """Return the logits (10, classes) of the generated images."""
    output: Tensor = network.eval()(generated_images())
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("architecture", help="as for torchdau.save_model")
    parser.add_argument("--arguments", type=json.loads, default={}, help="of the architecture, as JSON")
    options = parser.parse_args()
    task = restore_task(options.checkpoint)
    trainer = Trainer(logger=False, enable_model_summary=False)
    (scores,) = trainer.test(task, restore_data(options.checkpoint))
    options.file.parent.mkdir(parents=True, exist_ok=True)
    network = cast("nn.Module", task.network).to(memory_format=torch.contiguous_format)
    save_model(network, options.file, options.architecture, **options.arguments)
    known = {"accuracy": round(scores["test_accuracy"], 4), "logits": logits_of(network).tolist()}
    options.file.with_suffix(".json").write_text(json.dumps(known) + "\n")


if __name__ == "__main__":
    main()
