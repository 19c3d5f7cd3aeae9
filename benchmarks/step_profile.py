"""Where the time of a training's steps goes.

    python benchmarks/step_profile.py --method sft|grpo [--config tiny] [--model DIR] [--task arithmetic] [--source DIR]
        [--steps 6] [--first 2] [--overrides OVERRIDE ...]

Each part is timed with the device at rest before and after, which takes time of its own: a step is slower here than in
`training_speed.py`. Steps before `--first` are left out. Replaces this training's section in `step_profile.md`.
"""

import argparse
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from commands import add_study_options, study_overrides
from sections import machine, made_with, replace_section
from transformers import Trainer
from trl import GRPOTrainer
from updates import job_of

from chattpl.generation import LiveEngine
from chattpl.generation.pool import EnginePool
from chattpl.training.policy import PackedPolicy
from chattpl.training.run import run_job
from chattpl.training.sft import StepTrainer

INTRODUCTION = """# Where the time of a step goes

Made by `benchmarks/step_profile.py`, with the device at rest before and after each part.
"""
PARTS: dict[str, list[tuple[type, str, str]]] = {
    "sft": [
        (StepTrainer, "training_step", "forward and backward pass"),
        (AcceleratedOptimizer, "step", "optimizer"),
    ],
    "grpo": [
        (GRPOTrainer, "training_step", "rollouts, forward and backward pass"),
        (PackedPolicy, "_generate_and_score_completions", "of this the rollouts"),
        (LiveEngine, "load_weights", "of these: waking the engine, weights"),
        (LiveEngine, "generate", "of these: generating"),
        (LiveEngine, "sleep", "of these: putting the engine to sleep"),
        (GRPOTrainer, "_calculate_rewards", "of these: grading"),
        (AcceleratedOptimizer, "step", "optimizer"),
    ],
}


def rest() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(function: Callable[..., Any], seconds: dict[str, float], running: set[str], part: str) -> Callable[..., Any]:
    """The function, its seconds added to those of `part`; once, where a class calls its base's."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if part in running:
            return function(*arguments, **named)
        rest()
        began = time.perf_counter()
        running.add(part)
        try:
            return function(*arguments, **named)
        finally:
            rest()
            running.remove(part)
            seconds[part] += time.perf_counter() - began

    return call


def classes_with(kind: type, name: str) -> list[type]:
    """`kind` and all below it that have a method of their own of this name."""
    below = [each for sub in kind.__subclasses__() for each in classes_with(sub, name)]
    return [*([kind] if name in vars(kind) else []), *below]


def profile(method: str, overrides: list[str], first: int) -> dict[str, float]:
    """Seconds a step: of each part, and whole."""
    import chattpl.generation.transformers
    import chattpl.generation.vllm  # noqa: F401  (the engines' classes)

    seconds, running = defaultdict[str, float](float), set[str]()
    for kind, name, part in PARTS[method]:
        for each in classes_with(kind, name) or [kind]:
            setattr(each, name, timed(getattr(each, name), seconds, running, part))
    steps: list[tuple[float, dict[str, float]]] = []
    log = Trainer.log

    def logged(self: Trainer, logs: dict[str, Any], *arguments: Any, **named: Any) -> None:
        rest()
        if "loss" in logs:
            steps.append((time.perf_counter(), dict(seconds)))
        log(self, logs, *arguments, **named)

    Trainer.log = logged  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        job, _ = job_of([f"method={method}", *overrides], Path(folder))
        run_job(job, EnginePool())
    (began, before), (ended, after), count = steps[first - 1], steps[-1], len(steps) - first
    parts = {part: (after.get(part, 0.0) - before.get(part, 0.0)) / count for _, _, part in PARTS[method]}
    return {**parts, "the step": (ended - began) / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_options(parser)
    parser.add_argument("--method", choices=tuple(PARTS), required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--first", type=int, default=2)
    options = parser.parse_args()
    each = {"max_steps": options.steps, "logging_steps": 1, "save_strategy": "no"}
    overrides = [*(f"{options.method}.{name}={value}" for name, value in each.items()), *study_overrides(options)]
    found = profile(options.method, overrides, options.first)
    name = options.model.name if options.model else options.config
    title = ", ".join([name, options.method.upper(), options.task, machine(), *options.overrides])
    rows = [f"| {part} | {1000 * seconds:.0f} |" for part, seconds in found.items()]
    text = "\n".join([f"## {title}", "", f"{made_with()}.", "", "| | ms |", "|---|--:|", *rows, ""])
    replace_section(Path(__file__).with_suffix(".md"), INTRODUCTION, text)
    print(text)


if __name__ == "__main__":
    main()
