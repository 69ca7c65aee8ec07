"""How fast is a whole network whose 3 x 3 convolutions became units?

    uv run python benchmarks/network.py [--network resnetv2_50] [--batch 32] [--size 224] [--repeats N]

Every 3 x 3 convolution of a network of timm becomes a layer of 2 units per channel pair (R = 4, sigma 0.5) with the
same stride. Prints medians of a training step (forward, backward, SGD) and of inference, both networks interleaved.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from torchdau import convert_


def steps(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Callable[[], None]]:
    """A training step and an inference of one network."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def training() -> None:
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def inference() -> None:
        model.eval()
        with torch.inference_mode():
            model(images)

    return {"training": training, "inference": inference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnetv2_50")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    labels = torch.randint(1000, (options.batch,), device=options.device)
    models = {
        "convolutions": timm.create_model(options.network),
        "units": convert_(timm.create_model(options.network), select=lambda _, conv: conv.kernel_size == (3, 3)),
    }
    made = {name: steps(model.to(options.device), images, labels) for name, model in models.items()}
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in track(range(options.repeats + 1), options.network, transient=True):
        for name, kinds in made.items():
            for kind, step in kinds.items():
                start = time.perf_counter()
                step()
                if options.device != "cpu":
                    torch.cuda.synchronize()
                if number:  # the first round is for warming up
                    seconds.setdefault((name, kind), []).append(time.perf_counter() - start)
    title = f"{options.network}, batch {options.batch}, {options.size} px, milliseconds"
    table = Table("network", "parameters", *made["units"], title=title)
    for name, model in models.items():
        parameters = f"{sum(p.numel() for p in model.parameters()):,}"
        table.add_row(name, parameters, *[f"{1e3 * statistics.median(seconds[name, kind]):.0f}" for kind in made[name]])
    Console().print(table)


if __name__ == "__main__":
    main()
