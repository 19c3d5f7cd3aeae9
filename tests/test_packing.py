"""Steps without padding: the losses, gradients and log-probabilities of padded ones, whatever is computed at once."""

import logging
import shutil

import pytest
import torch
from conftest import training_job
from known_tokenizers import changeable, raw
from safetensors.torch import load_file
from transformers import AttentionInterface, AutoModelForCausalLM, FalconConfig, FalconForCausalLM
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from chattpl.basemodel import EMBEDDED
from chattpl.generation.pool import EnginePool
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.training import packing, sft
from chattpl.training.data import sft_dataset
from chattpl.training.head import score_in_float32
from chattpl.training.live import LiveJob, load_model
from chattpl.training.packing import pieces_of, use_packing
from chattpl.training.policy import PackedPolicy
from chattpl.training.run import run_job
from chattpl.training.sft import StepTrainer, step_batch

COMMON = {"use_cpu": True, "bf16": False, "report_to": "none", "dataloader_pin_memory": False,
          "gradient_checkpointing": False, "save_strategy": "no", "logging_steps": 1}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return changeable("tiny")


@pytest.fixture(scope="module")
def rows(tokenizer):
    return sft_dataset(Arithmetic().load_train()[:24], raw(tokenizer), "answer", 512).dataset


def model(attention=packing.NAME):
    return AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32, attn_implementation=attention)


def step_trainer(rows, tokenizer, folder, tokens=10**6, attention=packing.NAME, **fields):
    arguments = SFTConfig(output_dir=str(folder), per_device_train_batch_size=8, **COMMON | fields)
    trainer = StepTrainer(
        micro_batch=tokens, model=model(attention), args=arguments, data_collator=step_batch, train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    score_in_float32(trainer)
    return trainer


def gradients(trainer, rows):
    """The loss of a step over all `rows`, and the gradient of all weights."""
    batch = step_batch(list(rows))
    trainer.model.zero_grad()
    loss = trainer.training_step(trainer.model, batch, (batch["labels"] != -100).sum())
    return float(loss), torch.cat([each.grad.flatten() for each in trainer.model.parameters()])


# --- SFT


def test_a_packed_step_has_the_loss_and_the_gradient_of_a_padded_one(rows, tokenizer, tmp_path):
    loss, gradient = gradients(step_trainer(rows, tokenizer, tmp_path), rows)
    padded_loss, padded_gradient = gradients(step_trainer(rows, tokenizer, tmp_path, attention="sdpa"), rows)
    assert loss == pytest.approx(padded_loss, rel=1e-6)
    torch.testing.assert_close(gradient, padded_gradient, rtol=1e-3, atol=1e-6)


def test_a_step_in_micro_batches_has_the_gradient_of_the_whole(rows, tokenizer, tmp_path):
    loss, gradient = gradients(step_trainer(rows, tokenizer, tmp_path), rows)
    divided_loss, divided = gradients(step_trainer(rows, tokenizer, tmp_path, tokens=150), rows)
    assert divided_loss == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(divided, gradient, rtol=1e-3, atol=1e-6)


def test_training_goes_the_way_of_the_stock_trainer(rows, tokenizer, tmp_path):
    fields = {"max_steps": 6, "learning_rate": 1e-4, "optim": "adamw_torch"}
    ours = step_trainer(rows, tokenizer, tmp_path, **fields)
    ours.train()
    arguments = SFTConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=2, **COMMON | fields
    )
    stock = SFTTrainer(model=model("sdpa"), args=arguments, train_dataset=rows, processing_class=tokenizer)
    stock.train()
    losses, expected = (
        [entry["loss"] for entry in each.state.log_history if "loss" in entry] for each in (ours, stock)
    )
    assert losses == pytest.approx(expected, rel=1e-4)
    before = model().state_dict()
    after, expected = (each.model.state_dict() for each in (ours, stock))
    change, stock_change = (
        torch.cat([(weights[name] - before[name]).flatten() for name in before]) for weights in (after, expected)
    )
    assert float((change - stock_change).norm() / stock_change.norm()) < 0.02


def test_a_step_that_does_not_fit_is_computed_again_in_smaller_parts(rows, tokenizer, tmp_path, monkeypatch, caplog):
    trainer = step_trainer(rows, tokenizer, tmp_path)
    _, expected = gradients(trainer, rows)
    forward, most = trainer.compute_loss, 400

    def small(model, inputs, **arguments):
        loss = forward(model, inputs, **arguments)
        if inputs["input_ids"].shape[1] > most:
            loss.backward()  # what came before the failure is in the gradients
            raise torch.OutOfMemoryError
        return loss

    monkeypatch.setattr(trainer, "compute_loss", small)
    with caplog.at_level(logging.WARNING, sft.logger.name):
        _, gradient = gradients(trainer, rows)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)
    assert "too little memory" in caplog.text


def test_where_a_single_sample_does_not_fit_the_error_stays(rows, tokenizer, tmp_path, monkeypatch):
    trainer = step_trainer(rows, tokenizer, tmp_path)

    def never(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trainer, "compute_loss", never)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(trainer, rows)


def test_micro_batches_do_not_change_what_a_step_is(tmp_path):
    weights = []
    for count, times in ((8, 1), (2, 4)):
        folder = tmp_path / str(count)
        hyperparameters = {"max_steps": 3, "learning_rate": 1e-4, "per_device_train_batch_size": count,
                           "gradient_accumulation_steps": times, "bf16": False, "max_length": 512}  # fmt: skip
        job = training_job(folder, "method=sft", hyperparameters=hyperparameters, dtype="float32")
        run_job(job, EnginePool())
        weights.append(load_file(folder / "model" / "model.safetensors"))
    one, other = weights
    assert all(one[name].equal(other[name]) for name in one)


# --- which models


def test_a_model_that_looks_across_is_padded_and_it_is_said(rows, caplog):
    def across(module, query, key, value, mask, *, cu_seq_lens_q, **others):
        whole = torch.tensor([0, query.shape[2]], dtype=torch.int32)
        return packing.attend(module, query, key, value, mask, cu_seq_lens_q=whole, **others)

    AttentionInterface.register(packing.NAME, across)
    try:
        leaking = model()
        with caplog.at_level(logging.WARNING, packing.logger.name):
            assert not use_packing(leaking, rows[:2]["input_ids"])
    finally:
        AttentionInterface.register(packing.NAME, packing.attend)
    assert "another sequence before it changes one" in caplog.text
    assert leaking.config._attn_implementation == "sdpa"


def test_a_model_that_wants_more_of_its_attention_is_padded(rows, monkeypatch, caplog):
    def refuse(*_, **__):
        raise NotImplementedError("a soft cap")

    AttentionInterface.register(packing.NAME, refuse)
    try:
        with caplog.at_level(logging.WARNING, packing.logger.name):
            assert not use_packing(model(), rows[:2]["input_ids"])
    finally:
        AttentionInterface.register(packing.NAME, packing.attend)
    assert "a soft cap" in caplog.text


def test_a_model_that_drops_attention_at_random_is_padded(rows, caplog):
    forgetful = model()
    forgetful.config.attention_dropout = 0.1
    with caplog.at_level(logging.WARNING, packing.logger.name):
        assert not use_packing(forgetful, rows[:2]["input_ids"])
    assert "at random" in caplog.text


def test_an_architecture_that_knows_no_other_attention_is_trained_on_padded_batches(tmp_path, caplog):
    base = tmp_path / "falcon"
    shutil.copytree(EMBEDDED, base, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": len(changeable("tiny"))}
    FalconForCausalLM(FalconConfig(**sizes)).save_pretrained(base)
    hyperparameters = {"max_steps": 1, "learning_rate": 1e-4, "per_device_train_batch_size": 8, "bf16": False}
    job = training_job(tmp_path, "method=sft", hyperparameters=hyperparameters, base=str(base))
    with caplog.at_level(logging.WARNING, packing.logger.name):
        prepared = load_model(LiveJob.of(job))
    assert prepared.config._attn_implementation == "sdpa"


def test_a_sliding_window_hides_what_lies_before_it():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 12, 32)
    bounds = torch.tensor([0, 12], dtype=torch.int32)
    near, _ = packing.attend(
        None, query, key, value, None, cu_seq_lens_q=bounds, max_length_q=12, sliding_window=4
    )  # fmt: skip
    alone, _ = packing.attend(
        None, query[:, :, 8:], key[:, :, 8:], value[:, :, 8:], None,
        cu_seq_lens_q=torch.tensor([0, 4], dtype=torch.int32), max_length_q=4,
    )  # fmt: skip
    torch.testing.assert_close(near[:, -1], alone[:, -1])


def test_pieces_hold_consecutive_sequences_of_at_most_so_many_tokens():
    assert list(pieces_of([3, 4, 5, 9, 1], 8)) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5)]


# --- GRPO


class Given:
    """The same rollouts for any trainer, with a sampler's log-probabilities that lie a little beside the model's."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._model = model("sdpa")

    @torch.no_grad()
    def score(self, prompt, completion):
        logits = self._model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]

    def sync_weights(self):
        pass

    def __call__(self, prompts, trainer):
        draw = torch.Generator().manual_seed(1)
        sizes = torch.randint(3, 20, (len(prompts),), generator=draw).tolist()
        end = self._tokenizer.eos_token_id
        ids = [[*torch.randint(10, 200, (size,), generator=draw).tolist(), end] for size in sizes]
        scores = [self.score(*each) for each in zip(prompts, ids, strict=True)]
        logprobs = [(each + 0.05 * torch.randn(len(each), generator=draw)).tolist() for each in scores]
        return {"prompt_ids": prompts, "completion_ids": ids, "logprobs": logprobs}


def policy_trainer(kind, rows, tokenizer, folder, **fields):
    prompts = rows.select_columns("input_ids").rename_column("input_ids", "prompt")
    fields = {"max_steps": 2, "learning_rate": 1e-4, "per_device_train_batch_size": 8, "num_generations": 4,
              "optim": "adamw_torch", "max_completion_length": 32, **fields}  # fmt: skip
    own = {"micro_batch": 10**6} if kind is PackedPolicy else {}
    trainer = kind(
        model=model(packing.NAME if own else "sdpa"),
        reward_funcs=lambda completion_ids, **_: [float(sum(each) % 2) for each in completion_ids],
        args=GRPOConfig(output_dir=str(folder), **COMMON | fields),
        train_dataset=prompts,
        processing_class=tokenizer,
        **own,
    )
    trainer.use_vllm = True
    trainer.vllm_generation = trainer.rollout_func = Given(tokenizer)
    trainer._last_loaded_step = -1
    score_in_float32(trainer)
    return trainer


@pytest.mark.parametrize("mode", ["sequence_mask", "token_truncate"])
@pytest.mark.parametrize("schedule", [{}, {"num_iterations": 2}, {"gradient_accumulation_steps": 2}, {"beta": 0.1}])
def test_grpo_goes_the_way_of_the_stock_trainer(mode, schedule, rows, tokenizer, tmp_path):
    fields = {"vllm_importance_sampling_mode": mode, "vllm_importance_sampling_clip_max": 1.1, **schedule}
    trainers = [policy_trainer(kind, rows, tokenizer, tmp_path, **fields) for kind in (PackedPolicy, GRPOTrainer)]
    for each in trainers:
        torch.manual_seed(0)  # it decides which rollouts share a micro-batch
        each.train()
    for key in ("grad_norm", "loss", "entropy", "sampling/importance_sampling_ratio/mean"):
        ours, stock = ([entry[key] for entry in each.state.log_history if key in entry] for each in trainers)
        assert ours, key
        assert ours == pytest.approx(stock, rel=2e-3, abs=1e-6), key
