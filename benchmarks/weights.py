"""The network of a checkpoint as a file of weights, with its scores and some outputs to compare with.

    TORCHDAU_DATA=cifar10 uv run python benchmarks/weights.py weights/cifar10_dau_resnet20.safetensors \
        torchdau/cifar_resnetv2 CHECKPOINT --arguments '{"depth": 20}'
    TORCHDAU_DATA=PAIRS uv run python benchmarks/weights.py weights/photographs_dau_srn.safetensors \
        torchdau/dau_srn_deblurnet CHECKPOINT ... --half \
        --arguments '{"sigma": 0.35, "widths": [16, 32, 64], "residual": true}'

Of several checkpoints, the mean of their weights is taken.

Beside the file lies NAME.json with the scores on the checkpoint's test set, and with parts of the outputs for generated
images. ``tests/test_weights.py`` compares both with what the file gives.
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


@torch.inference_mode()
def outputs_of(network: nn.Module) -> Tensor:
    """Return the first hundred numbers, or all of fewer, that a network gives for ten images, always the same."""
    images = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    output = network.eval()(images)
    last: Tensor = output[-1] if isinstance(output, list) else output
    return last.flatten(1)[:, :100]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("architecture", help="as for torchdau.save_model")
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--arguments", type=json.loads, default={}, help="of the architecture, as JSON")
    parser.add_argument("--half", action="store_true", help="in half precision")
    options = parser.parse_args()
    task, *others = map(restore_task, options.checkpoints)
    with torch.no_grad():
        for parameter, *same in zip(*(each.parameters() for each in (task, *others)), strict=True):
            parameter.copy_(sum(same, parameter) / len(options.checkpoints))
    options.file.parent.mkdir(parents=True, exist_ok=True)
    network = cast("nn.Module", task.network).to(memory_format=torch.contiguous_format)
    save_model(network.half() if options.half else network, options.file, options.architecture, **options.arguments)
    trainer = Trainer(logger=False, enable_model_summary=False)
    (scores,) = trainer.test(task.float(), restore_data(options.checkpoints[0]))
    outputs = outputs_of(network.float()).tolist()
    known = {name: round(score, 4) for name, score in scores.items()} | {"outputs": outputs}
    options.file.with_suffix(".json").write_text(json.dumps(known) + "\n")


if __name__ == "__main__":
    main()
