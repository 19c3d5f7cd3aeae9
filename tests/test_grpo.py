"""GRPO's rollouts: their prompts, their seeds, their log-probabilities, their reward. On the embedded model."""

from dataclasses import replace
from statistics import mean

import pytest
import torch
from conftest import spec, training_job
from known_tokenizers import chat, raw
from recorder import Holding, Recorder
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from chattpl.basemodel import EMBEDDED
from chattpl.formats import decode_completion
from chattpl.generation import Sampling
from chattpl.generation.starting import start
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.training.grpo import Rollouts, train_grpo
from chattpl.training.live import LiveJob
from chattpl.training.policy import PackedPolicy

FORMATS = {"chat": chat, "raw": raw}


@pytest.fixture(scope="module")
def samples():
    return Arithmetic().load_train()[:8]


@pytest.fixture(scope="module")
def exact_engine():
    """In float32 like the trainer, so that nothing is left to rounding."""
    return start(spec("transformers", dtype="float32"), EMBEDDED)


HYPERPARAMETERS = {
    "learning_rate": 0.0,
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 64,
    "bf16": False,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
}


def live_job(kind, folder, samples, seed=0, **changes) -> LiveJob:
    hyperparameters = {**HYPERPARAMETERS, **changes}
    job = training_job(folder, "method=grpo", f"train.format={kind}", f"seed={seed}", hyperparameters=hyperparameters)
    return replace(LiveJob.of(job), samples=samples)


def rollouts_of(engine, kind, folder, samples, **settings):
    recorder = Recorder(engine)
    model, report = train_grpo(live_job(kind, folder, samples, **settings), Holding(recorder))
    return recorder, report, model


@pytest.fixture(scope="module", params=FORMATS)
def plain_run(request, transformers_engine, tmp_path_factory, samples):
    """One run of each format that several tests look at."""
    folder = tmp_path_factory.mktemp("grpo")
    return request.param, *rollouts_of(transformers_engine, request.param, folder, samples)


def differences(report, figure):
    """|log p(sampler) - log p(trainer)| over all tokens of a step, for each step."""
    key = f"sampling/sampling_logp_difference/{figure}"
    return [entry[key] for entry in report["log"] if key in entry]


@torch.inference_mode()
def changes_by_bfloat16(recorder):
    """|log p in bfloat16 - log p in float32| of each rolled-out token, both by plain transformers."""
    models = [AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
    changes = []
    for prompt, completion in zip(recorder.prompts, recorder.completions, strict=True):
        ids = torch.tensor([prompt + completion.token_ids])
        chosen = ids[0, len(prompt) :, None]
        coarse, fine = (
            model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1).gather(-1, chosen) for model in models
        )
        changes += (coarse - fine).abs()[:, 0].tolist()
    return changes


def assert_agreement_within_bfloat16(report, recorder):
    """Twice, because two ways of rounding can err in opposite directions."""
    changes = changes_by_bfloat16(recorder)
    assert len(differences(report, "max")) == 2
    assert max(differences(report, "max")) < 2 * max(changes)
    assert mean(differences(report, "mean")) < 2 * mean(changes)


def test_sampler_and_trainer_agree_on_each_tokens_log_probability(plain_run):
    _, recorder, report, _ = plain_run
    assert_agreement_within_bfloat16(report, recorder)


@pytest.mark.parametrize("kind", FORMATS)
def test_vllm_and_trainer_agree_on_each_tokens_log_probability(vllm_engine, kind, samples, tmp_path):
    recorder, report, _ = rollouts_of(vllm_engine, kind, tmp_path, samples)
    assert_agreement_within_bfloat16(report, recorder)


@pytest.mark.parametrize(("kind", "temperature"), [("chat", 0.7), ("raw", 1.0)])
def test_in_float32_sampler_and_trainer_agree_to_the_last_digits(exact_engine, kind, temperature, samples, tmp_path):
    _, report, _ = rollouts_of(exact_engine, kind, tmp_path, samples, temperature=temperature, max_steps=1)
    assert max(differences(report, "max")) < 1e-4


def test_rollouts_start_from_the_prompt_ids_that_evaluation_uses(plain_run, samples):
    kind, recorder, _, _ = plain_run
    form = live_job(kind, EMBEDDED, samples).form
    possible = [form.prompt_ids(sample.question) for sample in samples]
    assert len(recorder.prompts) == 16
    assert all(prompt in possible for prompt in recorder.prompts)


def test_a_group_holds_different_rollouts(plain_run):
    _, recorder, _, _ = plain_run
    for first in range(0, 16, 4):
        assert len({tuple(prompt) for prompt in recorder.prompts[first : first + 4]}) == 1
        assert len({tuple(completion.token_ids) for completion in recorder.completions[first : first + 4]}) > 1


def test_one_prompt_is_rolled_out_anew_in_each_step(transformers_engine, samples, tmp_path):
    recorder, _, _ = rollouts_of(transformers_engine, "raw", tmp_path, samples[:2])
    first, second = completions_by_prompt(recorder, 0, 8), completions_by_prompt(recorder, 8, 16)
    assert first.keys() == second.keys()
    assert all(first[prompt] != second[prompt] for prompt in first)


def completions_by_prompt(recorder, start, end):
    pairs = list(zip(recorder.prompts, recorder.completions, strict=True))[start:end]
    found = {}
    for prompt, completion in pairs:
        found.setdefault(tuple(prompt), []).append(tuple(completion.token_ids))
    return found


def test_the_same_seed_repeats_the_rollouts_and_another_changes_them(transformers_engine, samples, tmp_path):
    # Two prompts fill a step, so that every run rolls out from both and only what is drawn can differ.
    first, again, other = (
        completions_by_prompt(
            rollouts_of(transformers_engine, "chat", tmp_path / str(place), samples[:2], seed=seed, max_steps=1)[0],
            0,
            8,
        )
        for place, seed in enumerate((1, 1, 2))
    )
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[prompt] != other[prompt] for prompt in first)


def test_a_rollout_from_other_prompt_ids_is_refused(transformers_engine, tiny_stop):
    sampling = Sampling(8, 1.0, 1.0, tiny_stop, logprobs=True)
    rollouts = Rollouts(transformers_engine, False, sampling, [[1, 2, 3]], seed=0)
    with pytest.raises(AssertionError, match="a rollout would start from other ids than evaluation uses"):
        rollouts([[1, 2, 4]], None)


def test_the_reward_is_the_graders_verdict(plain_run, samples):
    kind, recorder, report, _ = plain_run
    task, live = Arithmetic(), live_job(kind, EMBEDDED, samples)
    gold = {tuple(live.form.prompt_ids(sample.question)): sample.gold for sample in samples}
    texts = [decode_completion(live.tokenizer, each.token_ids, live.stop) for each in recorder.completions]
    correct = [task.grade(text, gold[tuple(p)]).correct for p, text in zip(recorder.prompts, texts, strict=True)]
    steps = [correct[:8], correct[8:]]
    assert [reward for _, reward in report["mean_reward"]] == [pytest.approx(sum(step) / 8) for step in steps]


def test_a_learning_rate_of_zero_leaves_the_weights_as_they_were(plain_run):
    _, _, _, model = plain_run
    before = load_file(EMBEDDED / "model.safetensors")
    after = dict(model.named_parameters())
    assert all(parameter.equal(before[name].to(parameter.dtype)) for name, parameter in after.items())


# --- the engine between the steps


class Sharing(Recorder):
    """An engine that takes so much of the device's memory while it is awake, and counts how often it slept."""

    def __init__(self, engine, slept_bytes):
        super().__init__(engine)
        self.slept_bytes, self.sleeps = slept_bytes, 0

    def sleep(self):
        self.sleeps += 1


def test_an_engine_with_room_beside_the_training_stays_awake_and_follows_its_weights(exact_engine, samples, tmp_path):
    engine = Sharing(exact_engine, slept_bytes=1)
    job = live_job("chat", tmp_path, samples, learning_rate=1e-4, max_steps=3)
    _, report = train_grpo(job, Holding(engine))
    assert engine.sleeps == 0
    assert max(differences(report, "max")) < 1e-4


def test_an_engine_without_room_beside_the_training_sleeps_in_every_step(exact_engine, samples, tmp_path):
    engine = Sharing(exact_engine, slept_bytes=2**50)
    train_grpo(live_job("chat", tmp_path, samples), Holding(engine))
    assert engine.sleeps == 2


# --- too little memory


def test_a_step_that_does_not_fit_is_trained_in_smaller_micro_batches(
    exact_engine, samples, tmp_path, monkeypatch, caplog
):
    settings = {"learning_rate": 1e-3, "max_steps": 1}
    _, _, expected = rollouts_of(exact_engine, "chat", tmp_path / "whole", samples, **settings)
    whole = PackedPolicy._compute_loss

    def small(self, model, inputs):
        loss = whole(self, model, inputs)
        if len(inputs["completion_ids"]) > 4:
            loss.backward()  # what came before the failure is in the gradients
            raise torch.OutOfMemoryError
        return loss

    monkeypatch.setattr(PackedPolicy, "_compute_loss", small)
    _, report, model = rollouts_of(exact_engine, "chat", tmp_path / "parts", samples, **settings)
    assert "from here on 4 completions at a time" in caplog.text
    assert report["steps"] == 1
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_where_a_single_completion_does_not_fit_the_error_stays(exact_engine, samples, tmp_path, monkeypatch):
    def never(self, model, inputs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(PackedPolicy, "_compute_loss", never)
    with pytest.raises(torch.OutOfMemoryError):
        rollouts_of(exact_engine, "chat", tmp_path, samples, max_steps=1)
