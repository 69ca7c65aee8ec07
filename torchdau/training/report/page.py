"""A report page in one file, without external resources."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment

from torchdau.whole import whole_file


@dataclass
class Section:
    """A section of the page.

    Attributes:
        title: heading.
        notes: paragraphs.
        tables: pairs of a caption and rows of cells; the first row has the headings.
        charts: Vega-Lite specifications.
        small: paragraphs in small print, at the end.
    """

    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[tuple[str, list[Sequence[str]]]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    small: list[str] = field(default_factory=list)


def write(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page, whole or not at all."""
    template = files("torchdau.training.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    page = Environment(autoescape=True).from_string(template).render(title=title, sections=sections, bundle=bundle)
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8")
