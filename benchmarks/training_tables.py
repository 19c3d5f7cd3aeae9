"""The tables of `benchmarks/training_speed.py`, from its figures."""

from collections.abc import Callable
from typing import Any

SIDES = {"chattpl": "chattpl", "stock": "TRL, its defaults", "packed": "TRL, packing, no checkpointing"}
Figures = dict[str, Any]


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def table(rows: dict[str, Figures], columns: dict[str, Callable[[Figures], str]]) -> list[str]:
    """A line for each side that was measured, in their order; a failed one with its reason."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for side, name in SIDES.items():
        if side in rows:
            row = rows[side]
            cells = [f"failed: {row['failed']}"] if "failed" in row else [cell(row) for cell in columns.values()]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def section(title: str, rows: dict[str, Figures]) -> str:
    ours = rows.get("chattpl", {})

    def ratio(key: str, less: bool = False) -> Callable[[Figures], str]:
        def cell(row: Figures) -> str:
            if key not in ours or row is ours:
                return ""
            return f"{row[key] / ours[key] if less else ours[key] / row[key]:.1f}x"

        return cell

    shared: dict[str, Callable[[Figures], str]] = {
        "seconds, whole command": lambda row: number(row["seconds"], ".0f"),
        "peak GiB": lambda row: number(row["peak"], ".1f"),
    }
    if "GRPO" in title:
        columns = {
            "seconds a step": lambda row: number(row["step"], ".2f"),
            "chattpl": ratio("step", less=True),
            "mean completion": lambda row: number(row["length"], ".0f"),
            "completion tokens/s": lambda row: number(row["steady"], ",.0f"),
            "chattpl, by tokens": ratio("steady"),
        }
    else:
        columns = {
            "tokens/s, steady": lambda row: number(row["steady"], ",.0f"),
            "chattpl": ratio("steady"),
            "tokens/s, whole command": lambda row: number(row["whole"], ",.0f"),
            "chattpl, whole": ratio("whole"),
            "seconds a step": lambda row: number(row["step"], ".2f"),
        }
    made = "; ".join(dict.fromkeys(row["made_with"] for row in rows.values()))
    return "\n".join([f"## {title}", "", f"{made}.", "", *table(rows, {**columns, **shared})]) + "\n"
