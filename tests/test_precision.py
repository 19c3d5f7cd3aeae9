"""The precision of weights in real trainings of the embedded model: what is kept, published, said and resumed."""

import logging
import signal
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import training_job
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from chattpl import signals
from chattpl.basemodel import EMBEDDED
from chattpl.errors import Interrupted, UserError
from chattpl.generation.pool import EnginePool
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.training import trainer
from chattpl.training.live import LiveJob
from chattpl.training.optimizer import MasterAdamW, master_of
from chattpl.training.precision import check_precision
from chattpl.training.run import run_job
from chattpl.training.sft import train_sft
from chattpl.training.weights import finish_weights

MASTERS = ["model.train_dtype=bfloat16"]
ROUNDED = ["model.dtype=bfloat16"]  # as published
ALONE = [*MASTERS, "model.master_weights=false"]
SHORT = ["sft.max_steps=4", "sft.per_device_train_batch_size=4", "sft.save_strategy=no", "task.train_limit=64"]
FEW = ["sft.max_steps=8", "sft.learning_rate=2e-6", "sft.per_device_train_batch_size=8", "sft.logging_steps=1"]
SAMPLES = Arithmetic().load_train()[:8]


@pytest.fixture
def run(tmp_path):
    """The report and the published weights of a short training."""

    def go(*overrides: str):
        job = training_job(tmp_path, *SHORT, *overrides)
        return run_job(job, EnginePool()), load_file(Path(job.output) / "model.safetensors")

    return go


@pytest.fixture(scope="module")
def base() -> dict[str, torch.Tensor]:
    return load_file(EMBEDDED / "model.safetensors")


def changed(base, weights) -> float:
    return sum(int((weights[name] != base[name]).sum()) for name in base) / sum(each.numel() for each in base.values())


def test_a_training_says_how_many_weights_changed_as_trained_and_as_published(run, base):
    report, published = run(*MASTERS, *ROUNDED, "sft.learning_rate=1e-5")
    assert report.changed_weights["trained"] > 0.9
    assert report.changed_weights["published"] == pytest.approx(changed(base, published))
    assert 0 < report.changed_weights["published"] < 0.5


def test_a_training_says_how_far_the_weights_went(run, base):
    report, published = run(*MASTERS, *ROUNDED)
    moved = sum((published[name].double() - base[name].double()).square().sum() for name in base)
    length = sum(each.double().square().sum() for each in base.values())
    assert report.relative_distance["published"] == pytest.approx(float(moved / length) ** 0.5)
    assert report.relative_distance["trained"] == pytest.approx(report.relative_distance["published"], rel=0.5)


@pytest.mark.parametrize("train_dtype", ["bfloat16", "float32"])
def test_what_is_published_in_float32_is_what_was_trained(run, base, train_dtype):
    report, published = run(f"model.train_dtype={train_dtype}", "sft.learning_rate=1e-6")
    assert {each.dtype for each in published.values()} == {torch.float32}
    assert changed(base, published) == pytest.approx(report.changed_weights["trained"])
    assert report.changed_weights["published"] == report.changed_weights["trained"] > 0.9


def test_weights_that_the_base_names_otherwise_are_not_compared(tmp_path, caplog):
    caplog.set_level(logging.INFO, "chattpl")
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED)
    weights = (EMBEDDED / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights.replace(b"embed_tokens", b"embed_token_"))
    figures = finish_weights(model, MasterAdamW(model.parameters()), tmp_path, torch.bfloat16)
    assert figures == {"changed_weights": None, "relative_distance": None}
    assert "name them otherwise" in caplog.text


def test_bfloat16_without_masters_says_that_updates_are_lost(run, caplog):
    report, _ = run(*ALONE, "sft.learning_rate=1e-6")
    assert [record.message for record in caplog.records if "updates" in record.message and "are lost" in record.message]
    assert report.changed_weights["trained"] < 0.1


def test_with_masters_nothing_is_said_of_lost_updates(run, caplog):
    run(*MASTERS)
    assert "are lost" not in caplog.text


def test_masters_move_the_weights_where_float32_moves_them(run, base):
    steps = ["sft.max_steps=12", "sft.per_device_train_batch_size=8"]
    changes = [
        torch.cat([(weights[name] - base[name]).flatten() for name in base])
        for _, weights in (run(*steps), run(*steps, *MASTERS))
    ]
    float32, masters = (change.norm().item() for change in changes)
    assert masters == pytest.approx(float32, rel=0.05)
    assert torch.cosine_similarity(*changes, dim=0).item() > 0.98


@pytest.fixture
def trained_loss(tmp_path):
    """The loss, in float32, of weights that were trained on one batch again and again, in nats a token."""

    def go(*overrides: str) -> float:
        job = training_job(tmp_path, *FEW, "sft.save_strategy=no", *overrides)
        live = replace(LiveJob.of(job), samples=SAMPLES)
        model, _ = train_sft(live, EnginePool())
        examples = [live.form.example(sample.question, sample.answer) for sample in SAMPLES]
        with torch.inference_mode():
            return sum(loss_of(model.float(), example) for example in examples) / len(examples)

    return go


def loss_of(model, example) -> float:
    ids, start = torch.tensor([example.token_ids]), len(example.prompt_ids)
    return torch.nn.functional.cross_entropy(model(ids).logits[0, start - 1 : -1], ids[0, start:]).item()


def test_masters_learn_what_float32_weights_learn_and_bfloat16_alone_does_not(trained_loss):
    float32, masters, alone = (trained_loss(*each) for each in ([], MASTERS, ALONE))
    assert masters == pytest.approx(float32, rel=0.02)
    assert alone != pytest.approx(float32, rel=0.05)


def test_a_resumed_training_ends_with_the_same_masters(tmp_path, monkeypatch):
    kept = {}

    def keep(model, optimizer, *rest):
        kept.clear()
        kept.update({name: master_of(each, optimizer).clone() for name, each in model.named_parameters()})
        return finish_weights(model, optimizer, *rest)

    monkeypatch.setattr(trainer, "finish_weights", keep)
    short = [*SHORT, *MASTERS, "sft.gradient_checkpointing=false"]
    train_sft(LiveJob.of(training_job(tmp_path / "whole", *short)), EnginePool())
    whole = dict(kept)
    live = LiveJob.of(training_job(tmp_path / "parts", *short, "sft.save_strategy=steps", "sft.save_steps=2"))
    with monkeypatch.context() as stopped:
        stopped.setattr(signals, "pending", lambda: (Path(live.job.work) / "checkpoint-2").is_dir())
        stopped.setattr(signals, "raise_pending", mock.Mock(side_effect=Interrupted(signal.SIGTERM)))
        with signals.deferrable(), pytest.raises(Interrupted):
            train_sft(live, EnginePool())
    _, report = train_sft(live, EnginePool())
    assert report["resumed_from_step"] == 3
    assert all(kept[name].equal(whole[name]) for name in whole)


def test_norms_and_biases_are_not_decayed_with_masters(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(MasterAdamW, "step", lambda self, closure=None: seen.append(self))
    train_sft(LiveJob.of(training_job(tmp_path, *SHORT, *MASTERS, "sft.weight_decay=0.1")), EnginePool())
    decayed, spared = seen[0].param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {each.ndim for each in decayed["params"]} == {2}
    assert {each.ndim for each in spared["params"]} == {1}


@pytest.mark.parametrize("optim", ["adafactor", "adamw_8bit", "sgd"])
def test_masters_are_refused_with_another_optimizer(optim):
    with pytest.raises(UserError, match=f"grpo.optim={optim}.*set grpo.optim=adamw_torch"):
        check_precision("grpo", "bfloat16", True, {"optim": optim})


@pytest.mark.parametrize(
    ("train_dtype", "master_weights"), [("float32", True), ("bfloat16", False), ("float16", False)]
)
def test_without_masters_any_optimizer_is_possible(train_dtype, master_weights):
    check_precision("sft", train_dtype, master_weights, {"optim": "adafactor"})


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_masters_go_with_both_names_of_adamw_and_with_none(optim):
    check_precision("sft", "bfloat16", True, {"optim": optim})
    check_precision("sft", "bfloat16", True, {})
