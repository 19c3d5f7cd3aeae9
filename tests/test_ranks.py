"""One training as several processes: the same steps over the same samples, the same weights but for rounding."""

import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import training_job
from forked import FORKS
from recorder import Holding
from safetensors.torch import load_file
from test_resume import Stop, kill_the_process, terminate, train

from chattpl import ranks
from chattpl.basemodel import files_fingerprint, read_json
from chattpl.errors import Interrupted, UserError
from chattpl.generation import Completion
from chattpl.generation.pool import EnginePool
from chattpl.ranks import Ranks, joined
from chattpl.train_report import TrainReport
from chattpl.training import launch, memory
from chattpl.training.callbacks import last_checkpoint
from chattpl.training.job import TrainingJob
from chattpl.training.memory import Batching, Footprint, Gathered, shared_out
from chattpl.training.run import run_job

COMMON = ["device=cpu", "task.train_limit=21", "engine.name=transformers", "train.format=raw"]
SIZES = {
    "sft": ["max_steps=5", "per_device_train_batch_size=8", "gradient_accumulation_steps=1", "logging_steps=1",
            "learning_rate=1e-3", "warmup_steps=0", "save_steps=2"],
    "grpo": ["max_steps=3", "per_device_train_batch_size=6", "gradient_accumulation_steps=2", "num_generations=4",
             "max_completion_length=12", "learning_rate=1e-3", "warmup_steps=0", "save_steps=1",
             "vllm_importance_sampling_correction=false"],
}  # fmt: skip
FLOAT32 = {"train_dtype": "float32", "dtype": "float32"}


class Scripted:
    """An engine whose completions depend on the prompt, on how often it was asked, and on which copy it is."""

    def __init__(self):
        self._calls = 0

    def generate(self, prompts, sampling, seeds):
        self._calls += 1
        copies = [prompts[:place].count(prompt) for place, prompt in enumerate(prompts)]
        return [self._complete(random.Random(str((self._calls, *each))), sampling) for each in zip(prompts, copies)]

    def _complete(self, draw, sampling):
        ids = [draw.randrange(20, 200) for _ in range(draw.randrange(1, 10))]
        return Completion([*ids, sampling.stop.token_ids[0]], "eos", [-1.0] * (len(ids) + 1))

    def load_weights(self, weights):
        self.weights = {name: weight.clone() for name, weight in weights}

    def sleep(self):
        pass


def be_rank(job: TrainingJob, rank: int, meeting: Path, plan: Batching | None, stop: dict[int, Stop]) -> None:
    """A process of its own."""
    sys.modules["vllm"] = None
    torch.set_num_threads(1)
    try:
        with joined(Ranks(rank, job.gpus), meeting, "cpu"):
            planned(job, plan, *[stop[rank]] if rank in stop else [])
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)


def planned(job: TrainingJob, plan: Batching | None, *stop: Stop) -> None:
    """The training, its steps computed as `plan` says."""
    with mock.patch.object(memory, "shared_out", lambda *_: plan) if plan else mock.MagicMock():
        train(job, Holding(Scripted()), *stop)


def share_out(job: TrainingJob, folder: Path, plan: Batching | None = None, stop: dict[int, Stop] | None = None):
    """Run the job as processes; their exit statuses."""
    folder.mkdir(parents=True)
    children = [FORKS.Process(target=be_rank, args=(job, rank, folder, plan, stop or {})) for rank in range(job.gpus)]
    for each in children:
        each.start()
    for each in children:
        each.join(120)
    return [each.exitcode for each in children]


@pytest.fixture
def make_job(micro_model, tmp_path):
    def make(name: str, method: str, *options: str, **changes) -> TrainingJob:
        own = [f"{method}.{option}" for option in (*SIZES[method], *options)]
        job = training_job(tmp_path / name, f"method={method}", *COMMON, *own, **changes)
        return replace(job, base=str(micro_model), inputs={**job.inputs, "base": files_fingerprint(micro_model, False)})

    return make


def moved(job: TrainingJob) -> torch.Tensor:
    """How far the training moved all weights."""
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (job.base, job.output))
    assert before.keys() == after.keys()
    return torch.cat([(after[name].float() - before[name].float()).flatten() for name in sorted(before)])


def report_of(job: TrainingJob) -> TrainReport:
    return TrainReport.from_json(read_json(Path(job.output) / "train.json"))


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


PLANS = [Batching(10**6, False, whole=True), Batching(150, True, whole=False)]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("method", SIZES)
def test_two_ranks_train_the_model_of_one(method, plan, make_job, tmp_path):
    options = ["bf16=false"] if method == "sft" else ["bf16=false", "beta=0.1"]
    one, two = (make_job(name, method, *options, gpus=gpus, **FLOAT32) for name, gpus in (("one", 1), ("two", 2)))
    planned(one, None)
    assert share_out(two, tmp_path / "meeting", plan) == [0, 0]
    alone, together = report_of(one), report_of(two)
    assert (alone.gpus, together.gpus) == (1, 2)
    for key in ("loss", "grad_norm"):
        expected, found = ([entry[key] for entry in each.log if key in entry] for each in (alone, together))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), key
    assert together.tokens == alone.tokens
    assert distance(moved(two), moved(one)) < 0.01
