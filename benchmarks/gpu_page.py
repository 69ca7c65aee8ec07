"""The page that benchmarks/gpu.py writes."""

import time

import torch

COLUMNS = ("forward", "training", "graph forward", "graph training")
Figures = dict[str, float | str]


def page(machine: str, results: list[tuple[str, str, Figures]]) -> str:
    """Return the results as Markdown, with the ratio of units to the convolution, each in its faster layout."""
    lines = [f"# Measured on a GPU\n\n{_conclusion(results)}\n"]
    lines.append(f"{machine}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}, `python benchmarks/gpu.py`.")
    lines.append("Medians, in milliseconds unless a unit is given. Ratios use the faster memory layout of each.\n")
    for part in dict.fromkeys(part for part, _, _ in results):
        lines.append(f"## {part}\n")
        for _, name, figures in (row for row in results if row[0] == part):
            shown = ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items() if v != ""
            )
            ratios = [f"; {column}: {r:.2f} times conv" for column in COLUMNS if (r := _ratio(figures, column))]
            lines.append(f"- **{name}**: {shown}{''.join(ratios)}")
        lines.append("")
    return "\n".join(lines)


def _conclusion(results: list[tuple[str, str, Figures]]) -> str:
    """Summarize the bfloat16 figures in a few sentences."""
    sentences = []
    for column in COLUMNS[2:]:
        rows = [figures for part, name, figures in results if part == "layers" and name.endswith("bf16")]
        ratios = [ratio for figures in rows if (ratio := _ratio(figures, column))]
        if ratios:
            low, high = min(ratios), max(ratios)
            sentences.append(
                f"Unit layers take {low:.2f} to {high:.2f} times as long as a 3 x 3 one ({column.split()[1]}, GPU)."
            )
    times = {name: figures for part, name, figures in results if part == "networks"}
    units, plain = (times.get(f"ResNet-50 {label}, bf16", {}) for label in ("units", "convolutions"))
    for column in ("training ms", "inference ms"):
        if column in units and column in plain:
            ratio = float(units[column]) / float(plain[column])
            sentences.append(
                f"A ResNet-50 with units takes {ratio:.2f} times as long as with convolutions ({column[:-3]})."
            )
    return "\n".join(sentences)


def _ratio(figures: Figures, column: str) -> float | None:
    """Return the time of units divided by the time of the convolution, each in its faster layout."""
    ends = tuple(f"{layout} {column}" for layout in ("NCHW", "channels_last"))
    times = {k: v for k, v in figures.items() if k.endswith(ends) and isinstance(v, float)}
    conv = [v for k, v in times.items() if k.startswith("conv ")]
    units = [v for k, v in times.items() if k.startswith("units ")]
    return min(units) / min(conv) if len(conv) == len(units) == 2 else None
