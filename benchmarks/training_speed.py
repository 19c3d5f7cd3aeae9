"""The speed of training beside stock TRL's, each training in a process of its own, from command to saved model.

    python benchmarks/training_speed.py [--config tiny] [--model DIR] [--task arithmetic] [--source DIR]
        [--parts sft16 sft64 grpo] [--sides chattpl stock packed] [--steps 20] [--grpo-steps 8]
        [--completions 64] [--max-completion-length 256] [--overrides OVERRIDE ...]

`--config` names a file of `conf/model`, `--model` is where that model lies. sft16 and sft64 train with 16 and 64
samples a step. The sides: chattpl as it comes; TRL's defaults (`benchmarks/stock`) at the same batch and learning
rate; and for SFT the fastest of TRL's own settings, samples packed into rows of `max_length` and no gradient
checkpointing. Steady figures leave out the first steps. Each figure goes into `training_speed.json`, from which this
model's sections in `training_speed.md` are written anew, so that parts and sides can be measured in several goes.
"""

import argparse
import json
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from commands import Done, add_study_options, chattpl, gpu, stock, study_overrides, tried
from sections import Figures, Page, machine
from stock_data import Composed
from training_tables import SIDES, beside_stock

INTRODUCTION = """# The speed of training

Made by `benchmarks/training_speed.py`: chattpl and stock TRL on the same samples, each training in a process of its
own.
Tokens are those of the samples, without padding. Steady is after the first steps; the whole command includes the start
of Python, loading, and saving the model. Peaks are the GPU's memory in use by the whole process, engine included.
Sections were measured on several hosts, whose processors differ where their cards do not; a row may be of another host
than its neighbour.
On a CPU stock TRL too trains in float32 where chattpl's configuration does, and without gradient checkpointing.
"""
FIRST = 3  # steps that are left out: kernels are chosen, memory is allocated
PER_DEVICE = 8  # samples at a time
GRPO_PER_DEVICE = 16
STEP = re.compile(r"step (\d+) of \d+")


def per_step(steps: list[tuple[int, float]]) -> float:
    """Seconds a step from the times at which steps ended, without the first ones where enough are left."""
    late = [point for point in steps if point[0] >= FIRST]
    (first, began), *_, (last, ended) = late if len(late) > 1 else steps
    return (ended - began) / (last - first)


# --- one training


class Bench:
    """What is trained, and how.

    Args:
        options: of the command line.
        seconds: that a training may take.
    """

    def __init__(self, options: argparse.Namespace, seconds: float | None = None):
        self.options, self.seconds = options, seconds
        self.model = ["train_format=chat", *study_overrides(options)]

    def sft_overrides(self, samples: int) -> list[str]:
        return [
            "method=sft", f"sft.max_steps={self.options.steps}", "sft.logging_steps=1", "sft.save_strategy=no",
            f"sft.per_device_train_batch_size={PER_DEVICE}", f"sft.gradient_accumulation_steps={samples // PER_DEVICE}",
        ]  # fmt: skip

    def grpo_overrides(self) -> list[str]:
        options = self.options
        per_device = min(GRPO_PER_DEVICE, options.completions)
        return [
            "method=grpo", f"grpo.max_steps={options.grpo_steps}", "grpo.logging_steps=1", "grpo.save_strategy=no",
            f"grpo.per_device_train_batch_size={per_device}",
            f"grpo.gradient_accumulation_steps={options.completions // per_device}",
            f"grpo.max_completion_length={options.max_completion_length}",
        ]  # fmt: skip

    def ours(self, overrides: list[str], folder: Path, log: Path) -> tuple[Done, list[tuple[int, float]], Figures]:
        """chattpl: the command, when its steps ended, and its `train.json`."""
        done = chattpl(["stage=train", *self.model, *overrides, f"output_root={folder}"], log, seconds=self.seconds)
        (path,) = folder.glob("*/models/*/train.json")
        found = ((STEP.search(line), second) for second, line in done.lines)
        return done, [(int(step[1]), second) for step, second in found if step], json.loads(path.read_text())

    def theirs(
        self, script: str, overrides: list[str], arguments: list[str], folder: Path, log: Path
    ) -> tuple[Done, list[tuple[int, float]], Figures]:
        """A stock script: the command, when its steps ended, and its report. Later `arguments` beat earlier ones."""
        composed = Composed.of([*self.model, *overrides])
        composed.write(folder)
        method = script.removesuffix(".py")
        positions = [str(composed.config.model.path), str(folder / "train.chat.jsonl"), str(folder / "model")]
        done = stock(script, [*positions, *composed.training(method), *arguments], log)
        report = json.loads((folder / "model" / "report.json").read_text())
        return done, [(step, second) for step, second in report["steps"]], report

    def sft(self, samples: int, side: str, folder: Path, log: Path) -> Figures:
        overrides, steps = self.sft_overrides(samples), self.options.steps
        if side == "chattpl":
            done, ended, report = self.ours(overrides, folder, log)
            tokens = report["tokens"]
        else:
            arguments = [f"--steps={steps}"]
            if side == "packed":
                batch, accumulation = self.options.packed
                arguments += ["--packing", "--no-checkpointing", f"--batch={batch}", f"--accumulation={accumulation}"]
            done, ended, report = self.theirs("sft.py", overrides, arguments, folder, log)
            tokens = [entry["num_tokens"] for entry in report["log"] if "num_tokens" in entry][-1]
        return self.sft_figures(done, ended, tokens)

    def sft_figures(self, done: Done, ended: list[tuple[int, float]], tokens: int) -> Figures:
        return {
            "steady": tokens / self.options.steps / per_step(ended), "whole": tokens / done.seconds, "tokens": tokens,
            "seconds": done.seconds, "step": per_step(ended), "peak": done.peak_gib,
        }  # fmt: skip

    def grpo(self, side: str, folder: Path, log: Path) -> Figures:
        overrides, steps = self.grpo_overrides(), self.options.grpo_steps
        if side == "chattpl":
            done, ended, report = self.ours(overrides, folder, log)
        else:
            done, ended, report = self.theirs("grpo.py", overrides, [f"--steps={steps}"], folder, log)
        return self.grpo_figures(done, ended, report["log"])

    def grpo_figures(self, done: Done, ended: list[tuple[int, float]], log: list[dict[str, Any]]) -> Figures:
        lengths = [entry["completions/mean_length"] for entry in log if "completions/mean_length" in entry]
        length = sum(lengths) / len(lengths)
        return {
            "step": per_step(ended), "length": length, "steady": length * self.options.completions / per_step(ended),
            "seconds": done.seconds, "peak": done.peak_gib,
        }  # fmt: skip


# --- all of them


def measure(bench: Bench, part: str, side: str, log: Path) -> Figures:
    """The figures of one training."""
    with tempfile.TemporaryDirectory() as folder:
        if part == "grpo":
            return bench.grpo(side, Path(folder), log)
        return bench.sft(int(part.removeprefix("sft")), side, Path(folder), log)


def title_of(options: argparse.Namespace, part: str) -> str:
    words = [options.model.name if options.model else options.config, options.task, machine()]
    if part == "grpo":
        how = f"GRPO, {options.completions} x {options.max_completion_length}, {options.grpo_steps} steps"
    else:
        how = f"SFT, {part.removeprefix('sft')} samples a step, {options.steps} steps"
    return ", ".join([words[0], how, *words[1:], *options.overrides])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_options(parser)
    parser.add_argument("--parts", nargs="+", default=["sft16", "sft64", "grpo"], choices=("sft16", "sft64", "grpo"))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=tuple(SIDES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--grpo-steps", type=int, default=8)
    parser.add_argument("--completions", type=int, default=64)
    parser.add_argument("--max-completion-length", type=int, default=256)
    parser.add_argument("--packed", nargs=2, type=int, default=[2, 2], help="rows at a time, accumulation")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "training_speed")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    bench, page = Bench(options), Page(Path(__file__).with_suffix(".md"), INTRODUCTION)
    for part in options.parts:
        title = title_of(options, part)
        for side in options.sides:
            if part == "grpo" and (side == "packed" or (side == "stock" and not gpu())):
                if side == "stock":
                    print("TRL's colocated vLLM needs a GPU: its weight update fails on vLLM's CPU kernels")
                continue
            log = options.logs / f"{part}.{side}.log"
            page.note(title, side, tried(partial(measure, bench, part, side, log)), beside_stock)


if __name__ == "__main__":
    main()
