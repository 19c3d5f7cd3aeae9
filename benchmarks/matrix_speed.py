"""The whole matrix beside a script for each of its steps, as one would write them with TRL and vLLM.

    python benchmarks/matrix_speed.py [--config tiny] [--model DIR] [--task arithmetic] [--source DIR]
        [--sides chattpl scripts] [--sample] [--overrides OVERRIDE ...]

chattpl is `-m 'experiment=glob(*)' eval.format=chat,raw`: six models with the base, twelve cells, the report. Beside it
are `benchmarks/stock`: five trainings and twelve evaluations, each a process of its own, at TRL's and vLLM's defaults
with chattpl's questions, steps, batches, learning rates and token limits. `--sample` runs one training of each kind
and one evaluation of the first SFT model, and multiplies. Replaces this study's section in `matrix_speed.md`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from commands import add_study_options, chattpl, stock, study_overrides
from sections import machine, made_with, replace_section
from stock_data import Composed

INTRODUCTION = """# The matrix beside a script for each step

Made by `benchmarks/matrix_speed.py`: wall time of five trainings and twelve evaluations, by one command of chattpl and
by processes of stock TRL and plain vLLM that one would start by hand.
"""
TRAININGS = {
    "sft_chat_template": ("sft.py", "chat", []),
    "sft_no_chat_full_loss": ("sft.py", "raw", ["--loss-on-prompt"]),
    "sft_no_chat_mask_q": ("sft.py", "raw", []),
    "grpo_chat_template": ("grpo.py", "chat", []),
    "grpo_no_chat": ("grpo.py", "raw", []),
}
KINDS = {"SFT": "sft.py", "GRPO": "grpo.py", "evaluation": "evaluate.py"}
EVALUATIONS = 2 * (len(TRAININGS) + 1)


def ours(overrides: list[str], folder: Path, logs: Path) -> dict[str, Any]:
    """Seconds of the matrix, and the steps that each training took."""
    done = chattpl(
        ["-m", "experiment=glob(*)", "eval.format=chat,raw", *overrides, f"output_root={folder}"], logs / "chattpl.log"
    )
    reports = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/models/*/train.json")}
    cells = [json.loads(path.read_text()) for path in folder.glob("*/eval/*/summary.json")]
    steps = {
        f"{method}.py": max(report["steps"] for name, report in reports.items() if name.startswith(method))
        for method in ("sft", "grpo")
    }
    parts = {
        "trainings": sum(report["seconds"] for report in reports.values()),
        "cells": sum(cell["seconds"] for cell in cells),
    }
    assert len(cells) == EVALUATIONS, "a cell is missing"
    return {"seconds": done.seconds, "steps": steps, "made_with": made_with(), **parts}


def theirs(composed: Composed, steps: dict[str, int], sample: bool, logs: Path) -> dict[str, Any]:
    """Seconds of each script that was run, by kind."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        composed.write(folder)
        models = {"base": str(composed.config.model.path)}
        for model, (script, form, arguments) in TRAININGS.items():
            kind = "GRPO" if script == KINDS["GRPO"] else "SFT"
            if sample and seconds[kind]:
                continue
            models[model] = str(folder / model)
            positions = [models["base"], str(folder / f"train.{form}.jsonl"), models[model]]
            values = composed.training(script.removesuffix(".py"))
            arguments = [*positions, *values, f"--steps={steps[script]}", *arguments]
            seconds[kind].append(stock(script, arguments, logs / f"{model}.log").seconds)
            print(f"{model}: {seconds[kind][-1]:.0f} s", flush=True)
        cells = [(model, form) for model in models for form in ("chat", "raw")]
        for model, form in cells[2:3] if sample else cells:
            arguments = [models[model], str(folder / f"test.{form}.jsonl"), str(folder / f"{model}.{form}.json")]
            arguments.append(f"--max-tokens={composed.config.eval.max_tokens}")
            seconds["evaluation"].append(stock("evaluate.py", arguments, logs / f"{model}.{form}.log").seconds)
            accuracy = json.loads(Path(arguments[2]).read_text())["accuracy"]
            print(f"{model} in {form}: {seconds['evaluation'][-1]:.0f} s, accuracy {accuracy:.3f}", flush=True)
    return {"seconds": seconds, "sample": sample}


def section(title: str, kept: dict[str, Any]) -> str:
    """What was measured of one study."""
    lines = [f"## {title}", "", f"{kept['chattpl']['made_with']}.", "", "| | processes | seconds |", "|---|--:|--:|"]
    matrix = kept["chattpl"]
    lines.append(f"| chattpl, the matrix with its report | 1 | {matrix['seconds']:.0f} |")
    lines.append(f"| of these the trainings | | {matrix['trainings']:.0f} |")
    lines.append(f"| of these the evaluations | | {matrix['cells']:.0f} |")
    if "scripts" in kept:
        counts = {"SFT": 3, "GRPO": 2, "evaluation": EVALUATIONS}
        whole = 0.0
        for kind, seconds in kept["scripts"]["seconds"].items():
            whole += (of_kind := sum(seconds) / len(seconds) * counts[kind])
            said = f", {len(seconds)} measured and multiplied" if len(seconds) < counts[kind] else ""
            lines.append(f"| scripts: {kind}{said} | {counts[kind]} | {of_kind:.0f} |")
        lines.append(f"| scripts, together | {sum(counts.values())} | {whole:.0f} |")
        lines.append(f"| scripts over chattpl | | {whole / matrix['seconds']:.1f}x |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_options(parser)
    parser.add_argument("--sides", nargs="+", default=["chattpl", "scripts"], choices=("chattpl", "scripts"))
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "matrix_speed")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    overrides = study_overrides(options)
    name = options.model.name if options.model else options.config
    title = ", ".join([name, options.task, machine(), *options.overrides])
    page, path = Path(__file__).with_suffix(".md"), Path(__file__).with_suffix(".json")
    figures = json.loads(path.read_text()) if path.is_file() else {}
    kept = figures.setdefault(title, {})
    if "chattpl" not in {*kept, *options.sides}:
        sys.exit("the steps of the scripts are those of chattpl's matrix: measure --sides chattpl first")
    for side in sorted(options.sides):
        if side == "chattpl":
            with tempfile.TemporaryDirectory() as folder:
                kept[side] = ours(overrides, Path(folder), options.logs)
        else:
            kept[side] = theirs(Composed.of(overrides), kept["chattpl"]["steps"], options.sample, options.logs)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        text = section(title, kept)
        replace_section(page, INTRODUCTION, text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
