"""The tables of `benchmarks/training_speed.py`, from its figures."""

from collections.abc import Callable, Mapping

from sections import Figures

SIDES = {"chattpl": "chattpl", "stock": "TRL, its defaults", "packed": "TRL, packing, no checkpointing"}
Columns = Mapping[str, Callable[[Figures], str]]


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def section(title: str, names: Mapping[str, str], rows: Mapping[str, Figures], columns: Columns) -> str:
    """A line for each of the names that was measured, in their order; a failed one with its reason."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for key, name in names.items():
        if key in rows:
            row = rows[key]
            cells = [f"failed: {row['failed']}"] if "failed" in row else [cell(row) for cell in columns.values()]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    made = "; ".join(dict.fromkeys(row["made_with"] for row in rows.values()))
    return "\n".join([f"## {title}", "", f"{made}.", "", *lines]) + "\n"


def beside_stock(title: str, rows: Mapping[str, Figures]) -> str:
    """The section of a training: chattpl and the others."""
    ours = rows.get("chattpl", {})

    def ratio(key: str, less: bool = False) -> Callable[[Figures], str]:
        def cell(row: Figures) -> str:
            if key not in ours or row is ours:
                return ""
            return f"{row[key] / ours[key] if less else ours[key] / row[key]:.1f}x"

        return cell

    shared: Columns = {
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
    return section(title, SIDES, rows, {**columns, **shared})
