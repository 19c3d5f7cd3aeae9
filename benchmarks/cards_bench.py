"""What the parts of `benchmarks/cards.py` share: how a training is configured, and how it is told in a title."""

import argparse

from sections import machine
from training_speed import Bench

METHODS = {"sft": "SFT", "grpo": "GRPO"}


def title_of(options: argparse.Namespace, *words: str) -> str:
    name = options.model.name if options.model else options.config
    return ", ".join([words[0], name, *words[1:], options.task, machine(), *options.overrides])


def length_of(options: argparse.Namespace, method: str) -> tuple[str, ...]:
    """How a training is told in a title."""
    if method == "grpo":
        return f"{options.completions} x {options.max_completion_length}", f"{options.grpo_steps} steps"
    return f"{options.samples} samples a step", f"{options.steps} steps"


def bench_of(options: argparse.Namespace, *overrides: str) -> Bench:
    """Trainings with these overrides beside those of the command line."""
    changed = {**vars(options), "overrides": [*options.overrides, *overrides]}
    return Bench(argparse.Namespace(**changed), options.seconds)


def overrides_of(bench: Bench, method: str) -> list[str]:
    return bench.grpo_overrides() if method == "grpo" else bench.sft_overrides(bench.options.samples)


def steps_of(bench: Bench, method: str) -> int:
    return bench.options.grpo_steps if method == "grpo" else bench.options.steps
