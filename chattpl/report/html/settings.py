"""What decided the cells: the settings that all share, and those in which they differ."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from chattpl.report.collect import Cell
from chattpl.report.html.markdown import SCROLLED, Section
from chattpl.report.text import printable, short

WHAT_IT_RAN_ON = ("engine", "device", "hardware", "threads")


def settings_of(cell: Cell) -> dict[str, str]:
    """Everything that decided the cell's answers, by dotted keys: `evaluation: eval.max_tokens`, as text."""
    summary, training = cell.summary, cell.training
    found = {"evaluation": summary.inputs | {f"version of {name}": value for name, value in summary.versions.items()}}
    found["evaluation"] |= {key: getattr(summary, key) for key in WHAT_IT_RAN_ON}
    if training is not None:
        versions = {f"version of {name}": value for name, value in training.versions.items()}
        ran_on = {key: getattr(training, key) for key in WHAT_IT_RAN_ON if hasattr(training, key)}
        found["training"] = training.inputs | versions | ran_on
    return {f"{work}: {printable(key)}": _value(value) for work, each in found.items() for key, value in each.items()}


def settings_section(cells: Sequence[Cell]) -> Section:
    """What all cells share as a table; how two cells differ stands beside their samples."""
    settings = [settings_of(cell) for cell in cells]
    shared = {key: value for key, value in settings[0].items() if all(each.get(key) == value for each in settings)}
    note = "What differs between chosen cells stands below their samples. Fingerprints are shortened."
    table = f"<details><summary>{len(shared)} settings that all cells share</summary>\n{_table(shared)}\n</details>"
    return Section("settings", "Settings", f"<h2>Settings</h2>\n<p>{note}</p>\n{table}")


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows.items()]
    head = "<thead><tr><th>setting</th><th>value</th></tr></thead>"
    return f"{SCROLLED}<table>{head}<tbody>{''.join(lines)}</tbody></table></div>"


def _value(value: Any) -> str:
    if isinstance(value, str):
        is_fingerprint = len(value) == 64 and set(value) <= set("0123456789abcdef")
        return json.dumps(short(value) if is_fingerprint else value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
