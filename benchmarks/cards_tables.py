"""The tables of `benchmarks/cards.py`, from its figures."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sections import Figures
from study import ends
from training_tables import Columns, number, section

LARGE = {
    "sft": "SFT, interrupted by SIGTERM",
    "sft-again": "the same command again",
    "sft-answers": "its evaluations, chat and raw",
    "grpo": "GRPO, interrupted by SIGTERM",
    "grpo-again": "the same command again",
    "grpo-answers": "its evaluations, chat and raw",
    "one-card": "SFT with gpus=1",
}
LORA = {"none": "all weights", "r16": "`lora=r16`"}


def peaks(row: Figures) -> str:
    """On each card."""
    return " / ".join(format(peak, ".1f") for peak in row["peaks"])


def times(rows: Mapping[str, Figures], first: str, key: str, less: bool = False) -> Callable[[Figures], str]:
    """How many times the figure of the `first` row a row has; where `less`, how many times less."""

    def cell(row: Figures) -> str:
        one = rows.get(first, {})
        if "failed" in one or key not in one or row is one:
            return ""
        return f"{one[key] / row[key] if less else row[key] / one[key]:.2f}x"

    return cell


def counted(rows: Mapping[str, Figures]) -> dict[str, str]:
    """The names of rows that are numbers of GPUs."""
    return {key: f"gpus={key}" for key in sorted(rows, key=int)}


def matrix(title: str, rows: Mapping[str, Figures]) -> str:
    columns = {
        "seconds": lambda row: number(row["seconds"], ".0f"),
        "of the time on one": times(rows, "1", "seconds"),
        "commands": lambda row: str(row["commands"]),
        "trainings, seconds together": lambda row: number(row["trainings"], ".0f"),
        "evaluations, seconds together": lambda row: number(row["cells"], ".0f"),
        "peak GiB": peaks,
    }
    return section(title, {key: f"{key} at once" for key in sorted(rows, key=int)}, rows, columns)


def speed(method: str, rows: Mapping[str, Figures], first: str) -> Columns:
    """Columns of a training, beside the `first` row."""
    shared = {
        "seconds a step": lambda row: number(row["step"], ".2f"),
        "steps/s beside the first": times(rows, first, "step", less=True),
        "seconds, whole command": lambda row: number(row["seconds"], ".0f"),
        "peak GiB": peaks,
    }
    tokens = {
        "tokens/s, steady": lambda row: number(row["steady"], ",.0f"),
        "tokens/s beside the first": times(rows, first, "steady"),
    }
    mean = {"mean completion": lambda row: number(row["length"], ".0f")} if method == "grpo" else {}
    return {**mean, **tokens, **shared}


def trainings(method: str, title: str, rows: Mapping[str, Figures]) -> str:
    return section(title, counted(rows), rows, speed(method, rows, "1"))


def large(title: str, rows: Mapping[str, Figures]) -> str:
    columns = {
        "seconds": lambda row: number(row["seconds"], ".0f"),
        "steps": lambda row: row.get("steps", ""),
        "resumed from step": lambda row: str(row.get("resumed", "")),
        "peak GiB": peaks,
        "": lambda row: row["status"],
    }
    return section(title, LARGE, rows, columns)


def lora(method: str, title: str, rows: Mapping[str, Figures], picture: Path) -> str:
    columns = {
        **speed(method, rows, "none"),
        "loss" if method == "sft" else "reward": lambda row: begin_and_end(row["curve"]),
        "accuracy, validation": lambda row: row.get("validation", ""),
        "parameters trained": lambda row: f"{row['trained']:,}",
    }
    drawn = f"\n![{title}]({picture.name})\n" if picture.is_file() else ""
    return section(title, LORA, rows, columns) + drawn


def begin_and_end(curve: list[list[float]]) -> str:
    """The means of its ten first and last values, or of fewer where it is short."""
    return ends(curve, max(1, min(10, len(curve) // 4)))


def draw(method: str, rows: Mapping[str, Figures], path: Path) -> None:
    """The curves of the trainings in one picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, name in LORA.items():
        if "curve" in rows.get(key, {}):
            axes.plot(*zip(*rows[key]["curve"], strict=True), label=name.replace("`", ""))
    axes.set(xlabel="step", ylabel="loss" if method == "sft" else "mean reward")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
