"""The whole matrix beside a script for each of its steps, as one would write them with TRL and vLLM.

    python benchmarks/matrix_speed.py [--config tiny] [--model DIR] [--task arithmetic] [--source DIR]
        [--sides chattpl scripts] [--study FOLDER] [--sample] [--steps SFT GRPO] [--overrides OVERRIDE ...]

chattpl is `-m 'experiment=glob(*)' eval.format=chat,raw`: six models with the base, twelve cells, the report. Beside it
are `benchmarks/stock`: five trainings and twelve evaluations, each a process of its own, at TRL's and vLLM's defaults
with chattpl's questions, steps, batches, learning rates and token limits. `--sample` runs one training of each kind
and one evaluation of the first SFT model, and multiplies; with `--steps` a training stops after so many steps, and the
others count as long as the later half of these. `--study` takes chattpl's side from what `study.py` ran as seed-0.
Replaces this study's section in `matrix_speed.md`.
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
from study import noted_seconds

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
SEED_0 = "seed-0"  # the part of `study.py` that is the matrix
KINDS = {"SFT": "sft.py", "GRPO": "grpo.py", "evaluation": "evaluate.py"}
EVALUATIONS = 2 * (len(TRAININGS) + 1)


def ours(overrides: list[str], folder: Path, logs: Path) -> dict[str, Any]:
    """Seconds of the matrix, and the steps that each training took."""
    done = chattpl(
        ["-m", "experiment=glob(*)", "eval.format=chat,raw", *overrides, f"output_root={folder}"], logs / "chattpl.log"
    )
    [study] = folder.glob("*/models")
    return finished(study.parent) | {"seconds": done.seconds, "commands": 1, "made_with": made_with()}


def studied(folder: Path) -> dict[str, Any]:
    """The same of a study that was run before: its ten cells and the base of seed 0."""
    pieces = [each for each in noted_seconds(folder) if each["part"] == SEED_0]
    assert pieces, f"{folder}: no seconds of {SEED_0}"
    [made_by] = {each["made_with"] for each in pieces}
    seconds = sum(each["seconds"] for each in pieces)  # of several commands where one was interrupted
    return finished(folder) | {"seconds": seconds, "commands": len(pieces), "made_with": made_by}


def finished(folder: Path) -> dict[str, Any]:
    """The steps of a study's trainings with seed 0, and the seconds of its parts."""
    reports = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("models/*/train.json")}
    reports = {name: report for name, report in reports.items() if "seed=" not in name}
    cells = [json.loads(path.read_text()) for path in folder.glob("eval/*/summary.json") if "seed=" not in str(path)]
    steps = {
        f"{method}.py": max(report["steps"] for name, report in reports.items() if name.startswith(method))
        for method in ("sft", "grpo")
    }
    parts = {
        "trainings": sum(report["seconds"] for report in reports.values()),
        "cells": sum(cell["seconds"] for cell in cells),
    }
    assert len(cells) == EVALUATIONS, "a cell is missing"
    return {"steps": steps, **parts}


def theirs(composed: Composed, steps: dict[str, int], sample: bool, logs: Path) -> dict[str, Any]:
    """What each script that was run took, by kind: seconds; of a training also its steps and seconds a step."""
    took: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        composed.write(folder)
        models = {"base": str(composed.config.model.path)}
        for model, (script, form, arguments) in TRAININGS.items():
            kind = "GRPO" if script == KINDS["GRPO"] else "SFT"
            if sample and took[kind]:
                continue
            models[model] = str(folder / model)
            positions = [models["base"], str(folder / f"train.{form}.jsonl"), models[model]]
            values = composed.training(script.removesuffix(".py"))
            arguments = [*positions, *values, f"--steps={steps[script]}", *arguments]
            seconds = stock(script, arguments, logs / f"{model}.log").seconds
            ends = json.loads((folder / model / "report.json").read_text())["steps"]
            took[kind].append({"seconds": seconds, "steps": steps[script], "step": step_seconds(ends)})
            print(f"{model}: {seconds:.0f} s", flush=True)
        cells = [(model, form) for model in models for form in ("chat", "raw")]
        for model, form in cells[2:3] if sample else cells:
            arguments = [models[model], str(folder / f"test.{form}.jsonl"), str(folder / f"{model}.{form}.json")]
            arguments.append(f"--max-tokens={composed.config.eval.max_tokens}")
            seconds = stock("evaluate.py", arguments, logs / f"{model}.{form}.log").seconds
            took["evaluation"].append({"seconds": seconds})
            accuracy = json.loads(Path(arguments[2]).read_text())["accuracy"]
            print(f"{model} in {form}: {seconds:.0f} s, accuracy {accuracy:.3f}", flush=True)
    return took


def step_seconds(ends: list[list[float]]) -> float:
    """Seconds a step in the later half, of `[step, seconds]` at the end of each."""
    (first, began), (last, ended) = ends[len(ends) // 2], ends[-1]
    return (ended - began) / (last - first)


def section(title: str, kept: dict[str, Any]) -> str:
    """What was measured of one study."""
    lines = [f"## {title}", "", f"{kept['chattpl']['made_with']}.", "", "| | processes | seconds |", "|---|--:|--:|"]
    matrix = kept["chattpl"]
    lines.append(f"| chattpl, the matrix with its report | {matrix['commands']} | {matrix['seconds']:.0f} |")
    lines.append(f"| of these the trainings | | {matrix['trainings']:.0f} |")
    lines.append(f"| of these the evaluations | | {matrix['cells']:.0f} |")
    if "scripts" in kept:
        counts = {"SFT": 3, "GRPO": 2, "evaluation": EVALUATIONS}
        whole = 0.0
        for kind, runs in kept["scripts"].items():
            steps = matrix["steps"].get(KINDS[kind], 0)
            each = [run["seconds"] + max(steps - run.get("steps", steps), 0) * run.get("step", 0) for run in runs]
            whole += (of_kind := sum(each) / len(each) * counts[kind])
            said = f", {len(each)} measured and multiplied" if len(each) < counts[kind] else ""
            most = max(run.get("steps", steps) for run in runs)
            said += f", {most} of its {steps} steps measured" if most < steps else ""
            lines.append(f"| scripts: {kind}{said} | {counts[kind]} | {of_kind:.0f} |")
        lines.append(f"| scripts, together | {sum(counts.values())} | {whole:.0f} |")
        lines.append(f"| scripts over chattpl | | {whole / matrix['seconds']:.1f}x |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_options(parser)
    parser.add_argument("--sides", nargs="+", default=["chattpl", "scripts"], choices=("chattpl", "scripts"))
    parser.add_argument("--study", type=Path, help="the folder of a study that study.py ran")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--steps", nargs=2, type=int, metavar=("SFT", "GRPO"))
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "matrix_speed")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    overrides = study_overrides(options)
    name = options.model.name if options.model else options.config
    title = ", ".join([name, options.task, machine(), *options.overrides])
    page, path = Path(__file__).with_suffix(".md"), Path(__file__).with_suffix(".json")
    figures = json.loads(path.read_text()) if path.is_file() else {}
    kept = figures.setdefault(title, {})
    if not options.steps and "chattpl" not in {*kept, *options.sides}:
        sys.exit(
            "the steps of the scripts are those of chattpl's matrix: measure --sides chattpl first, or say --steps"
        )
    for side in sorted(options.sides):
        if side == "chattpl":
            with tempfile.TemporaryDirectory() as folder:
                kept[side] = studied(options.study) if options.study else ours(overrides, Path(folder), options.logs)
        else:
            steps = dict(zip(("sft.py", "grpo.py"), options.steps or (), strict=False)) or kept["chattpl"]["steps"]
            kept[side] = theirs(Composed.of(overrides), steps, options.sample, options.logs)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        if "chattpl" in kept:
            text = section(title, kept)
            replace_section(page, INTRODUCTION, text)
            print(text, flush=True)


if __name__ == "__main__":
    main()
