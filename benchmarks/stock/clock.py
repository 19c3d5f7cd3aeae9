"""When each step ended, and what a training took: what the benchmarks read of the stock scripts."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """Seconds at the end of each step; with `logging_steps=1` the loss has been read by then, so the GPU is done."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.steps or self.steps[-1][0] < state.global_step:
            self.steps.append((state.global_step, time.monotonic()))


def write_report(path: Path, clock: Clock, log: list[dict[str, Any]]) -> None:
    """`{steps: [[step, seconds]], log, peak_gib}`; PyTorch's own peak, null without a GPU."""
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
    path.write_text(json.dumps({"steps": clock.steps, "log": log, "peak_gib": peak}), encoding="utf-8")
