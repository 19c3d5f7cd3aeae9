"""The part `large` of `benchmarks/cards.py`: a model that one card cannot train, interrupted and resumed on several."""

import argparse
import json
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import cards_tables as tables
from cards_bench import bench_of, length_of, overrides_of, steps_of, title_of
from commands import chattpl, in_gib, reason, tried, watched_memory
from sections import Figures, Page
from training_speed import STEP, Bench


def large(options: argparse.Namespace, page: Page) -> None:
    count = options.gpus[-1]
    title = title_of(options, "Large", f"gpus={count}", *length_of(options, "sft"), *length_of(options, "grpo"))
    for row in options.rows:
        if row == "one-card":
            figures = tried(partial(on_one_card, options))
        else:
            method, _, verb = row.partition("-")
            work = {"": interrupted, "again": resumed, "answers": answered}[verb]
            bench, log = bench_of(options, f"gpus={count}"), options.logs / f"large.{row}.log"
            figures = tried(partial(work, bench, method, log))
        page.note(title, row, figures, tables.large)


def large_command(bench: Bench, method: str) -> list[str]:
    """What is typed, and typed again."""
    return [*bench.model, *overrides_of(bench, method), f"output_root={large_folder(bench, method)}"]


def large_folder(bench: Bench, method: str) -> Path:
    return bench.options.folder / "large" / method


def interrupted(bench: Bench, method: str, log: Path) -> Figures:
    """A training from its beginning, until SIGTERM has it write a checkpoint and end."""

    def reached(line: str) -> bool:
        found = STEP.search(line)
        return found is not None and int(found[1]) >= bench.options.interrupt_after

    folder = large_folder(bench, method)
    shutil.rmtree(folder.parent, ignore_errors=True)  # the other method's too: a disk has no room for both
    arguments = ["stage=train", *large_command(bench, method)]
    done = chattpl(arguments, log, seconds=bench.seconds, interrupt=reached)
    found = [int(path.name.partition("-")[2]) for path in folder.glob("*/.work/models/*/run/**/checkpoint-*")]
    if not found:
        raise RuntimeError("error: it left no checkpoint")
    steps = f"{max(found)} of {steps_of(bench, method)}"
    return {"seconds": done.seconds, "steps": steps, "peaks": done.peaks_gib, "status": "checkpoint written"}


def resumed(bench: Bench, method: str, log: Path) -> Figures:
    """The same command again, to the end."""
    done = chattpl(["stage=train", *large_command(bench, method)], log, seconds=bench.seconds)
    [path] = large_folder(bench, method).glob("*/models/*/train.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    figures = {"seconds": done.seconds, "resumed": report["resumed_from_step"], "peaks": done.peaks_gib}
    if not report["resumed_from_step"]:
        raise RuntimeError("error: it began anew")
    if report["steps"] != steps_of(bench, method):
        raise RuntimeError(f"error: {report['steps']} steps in the end")
    return {**figures, "steps": f"{report['steps']} of {report['steps']}", "status": "trained"}


def answered(bench: Bench, method: str, log: Path) -> Figures:
    """Both evaluations of what was trained."""
    asked = [f"task.test_limit={bench.options.questions}", f"eval.max_tokens={bench.options.max_tokens}"]
    arguments = ["-m", "stage=eval", "eval.format=chat,raw", *large_command(bench, method), *asked]
    done = chattpl(arguments, log, seconds=bench.seconds)
    paths = sorted(large_folder(bench, method).glob("*/eval/*/summary.json"))
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    told = ", ".join(f"{cell['eval_format']}: {cell['n']} answers in {cell['seconds']:.0f} s" for cell in cells)
    return {"seconds": done.seconds, "peaks": done.peaks_gib, "status": told}


def on_one_card(options: argparse.Namespace) -> Figures:
    """The same SFT with gpus=1; that it does not fit is what it has to show."""
    bench = bench_of(options, "gpus=1")
    log, began, told = options.logs / "large.one-card.log", time.monotonic(), "fits"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, watched_memory() as peaks:
        try:
            bench.ours(overrides_of(bench, "sft"), Path(folder), log)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("out of memory", "the training needs")):
                raise
            told = f"does not fit: {reason(error)}"
        seconds = time.monotonic() - began
    return {"seconds": seconds, "peaks": in_gib(peaks), "status": told}
