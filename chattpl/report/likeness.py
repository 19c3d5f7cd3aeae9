"""What ought to be the same in all cells and is not: a comparison across such a difference is not like for like."""

from collections.abc import Iterator
from typing import Any

from chattpl.report.collect import Cell, format_order
from chattpl.report.text import escape, plain, short
from chattpl.results import Summary
from chattpl.train_report import TrainReport

SAME = {"task": "The task", "split": "The split", "n": "The number of samples n", "engine": "The engine"}


def likeness(cells: list[Cell]) -> str:
    """The section on what differs beside model and format, as Markdown."""
    lines = [f"* {line}" for line in _differences(cells)]
    lines += [
        f"* Cell {escape(cell.name)}: {cell.summary.not_fitting} prompts did not fit (graded as no answer)."
        for cell in cells
        if cell.summary.not_fitting
    ]
    if not lines:
        same = "task, samples, grader, engine, hardware and versions"
        return f"All cells agree in {same}, and in the prompts of each format."
    return "\n".join(("A comparison across these cells is not like for like:", "", *lines))


def _differences(cells: list[Cell]) -> Iterator[str]:
    """One line for each thing that ought to be the same in all cells and is not."""
    for key, words in SAME.items():
        yield from _difference(words, cells, [getattr(cell.summary, key) for cell in cells])
    yield from _difference("The grader", cells, [short(cell.summary.grader) for cell in cells])
    yield from _conditions("evaluation", [(cell, cell.summary) for cell in cells])
    yield from _conditions("training", [(cell, cell.training) for cell in cells if cell.training])
    models: dict[str, list[Cell]] = {}
    for cell in cells:
        models.setdefault(cell.model, []).append(cell)
    for name, asked in sorted(models.items()):
        prints = [short(cell.summary.weights or "") for cell in asked]
        yield from _difference(f"The training run of {escape(name)}", asked, prints)
    for package in packages(cells):
        values = [cell.summary.versions.get(package) for cell in cells]
        yield from _difference(f"The version of {escape(package)}", cells, values)
    for name in format_order(cell.format for cell in cells):
        members = [cell for cell in cells if cell.format == name]
        prints = [short(cell.summary.prompt_fingerprint) for cell in members]
        yield from _difference(f"The fingerprint of the {escape(name)} prompts", members, prints)


def _conditions(work: str, done: list[tuple[Cell, Summary | TrainReport]]) -> Iterator[str]:
    """What it was computed on. The number of threads changes how a CPU rounds, and nothing on a GPU; the number of
    GPUs that a training takes and its share of each, how its batches are divided, and with that how sums round.
    """
    on_cpu = [(cell, record) for cell, record in done if record.device == "cpu"]
    for key, compared in (("device", done), ("hardware", done), ("threads", on_cpu)):
        words = f"The {'number of threads' if compared is on_cpu else key} of {work}"
        yield from _difference(words, [cell for cell, _ in compared], [getattr(record, key) for _, record in compared])
    trained = [(cell, record) for cell, record in done if isinstance(record, TrainReport)]
    for key, words in (("gpus", "The number of gpus of training"), ("gpu_share", "The gpu_share of training")):
        values = [getattr(record, key) for _, record in trained]
        yield from _difference(words, [cell for cell, _ in trained], values)


def _difference(words: str, cells: list[Cell], values: list[Any]) -> Iterator[str]:
    holders: dict[str, list[str]] = {}
    for cell, value in zip(cells, values, strict=True):
        holders.setdefault(plain(value), []).append(escape(cell.name))
    if len(holders) > 1:
        most = max(holders, key=lambda value: len(holders[value]))  # the first of the largest
        parts = [f"{value} in {', '.join(names)}" for value, names in holders.items() if value != most]
        yield f"{words} differs: {'; '.join(parts)}; {most} in {_rest(holders[most])}."


def _rest(names: list[str]) -> str:
    return f"the other {len(names)}" if len(names) > 1 else names[0]


def packages(cells: list[Cell]) -> list[str]:
    """All packages whose version some cell names."""
    return sorted({package for cell in cells for package in cell.summary.versions})
