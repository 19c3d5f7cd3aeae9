"""One training as several processes: the same steps over the same samples, the same weights but for rounding."""

import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from command_line import command
from conftest import spec, training_job
from forked import FORKS, PATIENCE
from recorder import Holding
from safetensors.torch import load_file
from test_resume import Stop, kill_the_process, terminate, train
from transformers import AttentionInterface

from chattpl import ranks, signals
from chattpl.basemodel import EMBEDDED, files_fingerprint, read_json
from chattpl.errors import Interrupted
from chattpl.files import write_json
from chattpl.formats import StopPolicy
from chattpl.generation import Completion, Sampling, llm_arguments
from chattpl.generation.pool import EnginePool
from chattpl.generation.starting import start
from chattpl.ranks import Ranks, joined
from chattpl.train_report import TrainReport
from chattpl.training import launch, memory, packing
from chattpl.training.callbacks import last_checkpoint
from chattpl.training.footprint import Batching
from chattpl.training.job import TrainingJob
from chattpl.training.run import run_job
from chattpl.training.sharding import drawing_apart

COMMON = ["device=cpu", "task.train_limit=21", "engine.name=transformers", "train.format=raw"]
SIZES = {
    "sft": ["max_steps=5", "per_device_train_batch_size=8", "gradient_accumulation_steps=1", "logging_steps=1",
            "learning_rate=1e-3", "warmup_steps=0", "save_steps=2"],
    "grpo": ["max_steps=4", "per_device_train_batch_size=6", "gradient_accumulation_steps=2", "num_generations=4",
             "max_completion_length=12", "learning_rate=1e-3", "warmup_steps=0", "save_steps=1",
             "vllm_importance_sampling_correction=false"],
}  # fmt: skip
FLOAT32 = {"train_dtype": "float32", "dtype": "float32"}


class Scripted:
    """An engine whose completions depend on the prompt, its copy, and the seed or how often it was asked."""

    slept_bytes = 0

    def __init__(self, seeded: bool, ways: int = 1):
        self._seeded = seeded
        self.ways = ways
        self._calls = 0

    def generate(self, prompts, sampling, seeds):
        self._calls += 1
        copies = [prompts[:place].count(prompt) for place, prompt in enumerate(prompts)]
        key = seeds if self._seeded else self._calls
        return [
            self._complete(random.Random(str((key, *each))), sampling) for each in zip(prompts, copies, strict=True)
        ]

    def _complete(self, draw, sampling):
        ids = [draw.randrange(20, 200) for _ in range(draw.randrange(1, 10))]
        return Completion([*ids, sampling.stop.token_ids[0]], "eos", [-1.0] * (len(ids) + 1))

    def load_weights(self, weights):
        self.weights = {name: weight.clone() for name, weight in weights}

    def sleep(self):
        pass


def be_rank(
    job: TrainingJob, rank: int, meeting: Path, plan: Batching | None, stop: dict[int, Stop], ways: int
) -> None:
    """A process of its own."""
    sys.modules["vllm"] = None
    torch.set_num_threads(1)
    try:
        with joined(Ranks(rank, job.gpus), meeting, "cpu"):
            planned(job, plan, *[stop[rank]] if rank in stop else [], ways=ways)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)


def planned(job: TrainingJob, plan: Batching | None, *stop: Stop, ways: int = 1) -> None:
    """The training, its steps computed as `plan` says."""
    with mock.patch.object(memory, "shared_out", return_value=plan) if plan else mock.MagicMock():
        train(job, Holding(Scripted(job.seed > 0, ways)), *stop)


def share_out(
    job: TrainingJob,
    folder: Path,
    plan: Batching | None = None,
    stop: dict[int, Stop] | None = None,
    ways: int = 1,
) -> list[int | None]:
    """Run the job as processes; their exit statuses."""
    return together(job.gpus, folder, lambda rank: (be_rank, job, rank, folder, plan, stop or {}, ways))


def together(count: int, folder: Path, work: Callable[[int], tuple]) -> list[int | None]:
    """Run a function with its arguments for each rank; the exit statuses."""
    folder.mkdir(parents=True)
    works = [work(rank) for rank in range(count)]
    children = [FORKS.Process(target=function, args=arguments) for function, *arguments in works]
    for each in children:
        each.start()
    for each in children:
        each.join(PATIENCE)
    return [each.exitcode for each in children]


@pytest.fixture
def make_job(micro_model, tmp_path):
    def make(name: str, method: str, *options: str, overrides: Sequence[str] = (), **changes) -> TrainingJob:
        own = [f"{method}.{option}" for option in (*SIZES[method], *options)]
        job = training_job(tmp_path / name, f"method={method}", *COMMON, *overrides, *own, **changes)
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
LORA = ["lora=r16", "lora.r=4"]
ADAPTER = "adapter/adapter_model.safetensors"


# Each plan with and without an adapter and under both methods; the other pairings are slow.
USUAL = {("sft", False, 0), ("sft", True, 1), ("grpo", True, 0), ("grpo", False, 1)}
PAIRINGS = [
    pytest.param(
        LORA if adapted else [],
        method,
        PLANS[plan],
        id=f"{method}-{'adapter' if adapted else 'weights'}-{'pieces' if plan else 'whole'}",
        marks=[] if (method, adapted, plan) in USUAL else pytest.mark.slow,
    )
    for method, adapted, plan in itertools.product(SIZES, (False, True), (0, 1))
]


@pytest.mark.parametrize(("lora", "method", "plan"), PAIRINGS)
def test_two_ranks_train_the_model_of_one(lora, method, plan, make_job, tmp_path):
    options = ["bf16=false"] if method == "sft" else ["bf16=false", "beta=0.1"]
    one, two = (
        make_job(name, method, *options, overrides=lora, gpus=gpus, **FLOAT32)
        for name, gpus in (("one", 1), ("two", 2))
    )
    planned(one, None)
    assert share_out(two, tmp_path / "meeting", plan) == [0, 0]
    alone, together = report_of(one), report_of(two)
    assert (alone.gpus, together.gpus) == (1, 2)
    for key in ("loss", "grad_norm"):
        expected, found = ([entry[key] for entry in each.log if key in entry] for each in (alone, together))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), key
    assert (together.tokens, together.trained_parameters) == (alone.tokens, alone.trained_parameters)
    assert distance(moved(two), moved(one)) < 0.01
    if lora:
        expected, found = (load_file(Path(each.output) / ADAPTER) for each in (one, two))
        assert found.keys() == expected.keys()
        assert all(distance(found[name], expected[name]) < 0.01 for name in expected)


def test_ranks_over_which_one_engine_is_spread_draw_what_one_draws(make_job, tmp_path):
    one, two = (
        make_job(name, "grpo", "bf16=false", gpus=gpus, seed=1, **FLOAT32) for name, gpus in (("one", 1), ("two", 2))
    )
    planned(one, None)
    assert share_out(two, tmp_path / "meeting", PLANS[1], ways=2) == [0, 0]
    assert [entry["reward"] for entry in report_of(two).log if "reward" in entry] == [
        entry["reward"] for entry in report_of(one).log if "reward" in entry
    ]
    assert distance(moved(two), moved(one)) < 0.01


def refuse(*_, **__):
    raise NotImplementedError("a soft cap")


def be_rank_without_packing(*arguments: Any) -> None:
    """A process of its own."""
    AttentionInterface.register(packing.NAME, refuse)
    be_rank(*arguments)


@pytest.mark.parametrize("plan", PLANS)
def test_ranks_pad_what_cannot_be_packed(plan, make_job, tmp_path):
    """An attempt at packing ends amid a forward pass; GRPO's reference model must not go on packing either."""
    one, two = (
        make_job(name, "grpo", "bf16=false", "beta=0.1", gpus=gpus, seed=1, **FLOAT32)
        for name, gpus in (("one", 1), ("two", 2))
    )
    for job, folder, chosen in ((one, "alone", None), (two, "meeting", plan)):
        meeting = tmp_path / folder
        statuses = together(
            job.gpus,
            meeting,
            lambda rank, job=job, meeting=meeting, chosen=chosen: (
                be_rank_without_packing, job, rank, meeting, chosen, {}, job.gpus
            ),
        )  # fmt: skip
        assert statuses == [0] * job.gpus
    assert distance(moved(two), moved(one)) < 0.01


def test_the_reference_model_of_ranks_follows_their_policy(make_job, tmp_path):
    options = ["bf16=false", "beta=0.1", "sync_ref_model=true", "ref_model_sync_steps=1"]
    one, two = (make_job(name, "grpo", *options, gpus=gpus, **FLOAT32) for name, gpus in (("one", 1), ("two", 2)))
    planned(one, None)
    assert share_out(two, tmp_path / "meeting", PLANS[0]) == [0, 0]
    assert distance(moved(two), moved(one)) < 0.01


def be_part_of_an_engine(rank: int, meeting: Path, prompts: list[list[int]]) -> None:
    """A process of its own, with half of the embedded model; it asks before and after the weights were replaced."""
    from transformers import AutoModelForCausalLM

    whole = llm_arguments.llm_arguments
    halved = mock.patch("chattpl.generation.vllm.llm_arguments", lambda *of: whole(*of) | {"tensor_parallel_size": 2})
    with joined(Ranks(rank, 2), meeting, "cpu"), halved:
        engine = start(spec("vllm", kv_cache_gib=0.1, dtype="float32"), EMBEDDED)
        assert engine.ways == 2
        sampling = Sampling(12, 1.0, 1.0, StopPolicy((), ()), logprobs=True)
        first = engine.generate(prompts, sampling, 7)
        model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
        engine.load_weights(
            (name, weight * 0.9) for name, weight in model.state_dict().items() if name != "lm_head.weight"
        )
        found = [*first, *engine.generate(prompts, sampling, 7)]
        write_json(meeting / f"{rank}.json", [vars(each) for each in found])
        engine.close()


@pytest.mark.slow
def test_two_ranks_that_are_one_vllm_engine_complete_alike_with_the_weights_of_the_whole_model(tmp_path):
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from transformers import AutoModelForCausalLM

    meeting, prompts = tmp_path / "meeting", [[*range(30, 60)], [*range(30, 60)], [*range(100, 120)]]
    assert together(2, meeting, lambda rank: (be_part_of_an_engine, rank, meeting, prompts)) == [0, 0]
    found, other = (json.loads((meeting / f"{rank}.json").read_text()) for rank in range(2))
    assert found == other
    assert found[0]["token_ids"] != found[1]["token_ids"]
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    for factor, answers in ((1.0, found[:3]), (0.9, found[3:])):
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(factor)
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([prompt + answer["token_ids"]])
            scores = model(input_ids=ids).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            own = scores.gather(-1, ids[0, len(prompt) :, None])[:, 0]
            assert own.tolist() == pytest.approx(answer["logprobs"], abs=1e-3)


@pytest.mark.parametrize(
    ("method", "happens", "lora"),
    [
        ("sft", terminate, []),
        ("grpo", kill_the_process, []),
        ("sft", kill_the_process, LORA),
        pytest.param("grpo", terminate, LORA, marks=pytest.mark.slow),
        pytest.param("sft", kill_the_process, [], marks=pytest.mark.slow),
        pytest.param("grpo", terminate, [], marks=pytest.mark.slow),
    ],
)
def test_ranks_of_which_one_is_stopped_go_on_to_the_bit(method, happens, lora, make_job, tmp_path):
    options = [*lora, "lora.lora_dropout=0.1"] if lora else []
    undisturbed, disturbed = (
        make_job(name, method, overrides=options, gpus=2, seed=1) for name in ("undisturbed", "disturbed")
    )
    assert share_out(undisturbed, tmp_path / "meeting", PLANS[1]) == [0, 0]
    statuses = share_out(disturbed, tmp_path / "first", PLANS[1], {1: Stop(3, happens)})
    assert statuses == ([143, 143] if happens is terminate else [1, -9])
    saved = {last_checkpoint(Path(disturbed.work) / f"{rank}-of-2").name for rank in range(2)}
    assert saved == {"checkpoint-3" if happens is terminate else "checkpoint-2"}
    assert share_out(disturbed, tmp_path / "second", PLANS[1]) == [0, 0]
    assert report_of(disturbed).resumed_from_step
    for file in ["model.safetensors", *[ADAPTER] * bool(lora)]:
        assert (Path(disturbed.output) / file).read_bytes() == (Path(undisturbed.output) / file).read_bytes()


# --- who does what


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_sample_of_a_step_is_one_ranks(count, monkeypatch):
    monkeypatch.setattr(ranks, "_ours", Ranks(0, count))
    lengths = [7, 3, 9, 1, 4]
    shares = ranks.shares(lengths)
    assert sorted(place for share in shares for place in share) == [0, 1, 2, 3, 4]
    assert all(share == sorted(share) for share in shares)
    assert max(sum(lengths[place] for place in share) for share in shares) <= sum(lengths) / count + max(lengths)


def test_what_each_rank_draws_for_itself_leaves_what_all_draw_alone(monkeypatch):
    apart, together = [], []
    for rank in range(2):
        monkeypatch.setattr(ranks, "_ours", Ranks(rank, 2))
        torch.manual_seed(0)
        with drawing_apart("cpu", 7):
            apart.append(torch.rand(8 + rank)[:8].tolist())
        together.append(torch.rand(8).tolist())
    assert apart[0] != apart[1]
    assert together[0] == together[1]


# --- as a user types it


def test_a_cell_is_trained_on_two_processes(micro, no_vllm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setenv("PYTHONPATH", no_vllm)
    ended = command(*micro, "stage=train", "gpus=2", "device=cpu", "sft.save_strategy=no", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert "2 ranks, each with its share of weights, gradients and optimizer state, and in a step with" in ended.out
    (manifest,) = tmp_path.glob("outputs/*/models/sft_chat_template/train.json")
    assert read_json(manifest)["gpus"] == 2


@pytest.fixture
def worker_job(make_job):
    return make_job("cell", "sft", gpus=2)


def test_a_signal_to_whoever_started_the_ranks_ends_them_with_a_checkpoint(worker_job, monkeypatch):
    began = Path(worker_job.work) / "0-of-2" / "checkpoint-2"
    waited, sent = launch.time.sleep, []

    def wait(seconds):
        waited(seconds)
        if began.is_dir() and not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), *sent)

    endless = replace(worker_job, hyperparameters={**worker_job.hyperparameters, "max_steps": 10_000})
    monkeypatch.setattr(launch.time, "sleep", wait)
    with pytest.raises(Interrupted), signals.handled():
        run_job(endless, EnginePool())
    kept = {last_checkpoint(Path(worker_job.work) / f"{rank}-of-2").name for rank in range(2)}
    assert len(kept) == 1
    assert not any(Path(worker_job.output).glob("train.json"))


DIES_AT_EXIT = """
import os, sys

class Abort:
    def __del__(self, abort=os.abort): abort()

if "chattpl.training.worker" in sys.orig_argv: sys.kept = Abort()
"""


def test_ranks_whose_interpreter_would_abort_at_its_end_have_trained(worker_job, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(DIES_AT_EXIT)
    monkeypatch.syspath_prepend(tmp_path)
    run_job(worker_job, EnginePool())
    assert read_json(Path(worker_job.output) / "train.json")["gpus"] == 2
