"""LoRA: what is trained, what is published, and that all of it is one model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import spec, training_job
from peft import PeftModel
from recorder import Holding
from safetensors.torch import load_file
from test_resume import STEPS, Killed, Stop, kill, odd, stop_in_every_step, train
from transformers import AutoConfig, AutoModelForCausalLM

from chattpl.basemodel import files_fingerprint
from chattpl.generation.pool import EnginePool
from chattpl.generation.starting import start
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.training.adapter import adapter_config, adapter_size, bare, weights_of
from chattpl.training.grpo import train_grpo
from chattpl.training.job import TrainingJob
from chattpl.training.live import LiveJob, load_model
from chattpl.training.memory import batching
from chattpl.training.optimizer import MasterAdamW, master_of
from chattpl.training.packing import use_own_attention
from chattpl.training.run import run_job
from chattpl.training.sft import train_sft

LORA = ["lora=r16"]
SFT = [*LORA, "task.train_limit=16", "sft.per_device_train_batch_size=8", "sft.logging_steps=1", "sft.warmup_steps=0"]
GRPO = [*LORA, "method=grpo", "train.format=raw", "task.train_limit=8", "grpo.per_device_train_batch_size=8",
        "grpo.num_generations=4", "grpo.max_completion_length=16", "grpo.warmup_steps=0"]  # fmt: skip
KINDS = {
    "plain": [],
    "a base in bfloat16": ["model.train_dtype=bfloat16", "sft.bf16=true"],
    "magnitudes of their own": ["lora.use_dora=true"],
    "ranks by layer": ["lora.rank_pattern={q_proj: 2}", "lora.use_rslora=true", "lora.lora_dropout=0.1"],
    "layers by name": ["lora.target_modules=[q_proj,down_proj]"],
    "the norms too": ["lora.modules_to_save=[norm]", "model.train_dtype=bfloat16", "sft.bf16=true"],
    "the embedding too": ["lora.modules_to_save=[embed_tokens]", "lora.ensure_weight_tying=true"],
}


@pytest.fixture(scope="module")
def engine(micro_model):
    """In float32 like the trainer, so that nothing is left to rounding."""
    return start(spec("transformers", dtype="float32"), micro_model)


@pytest.fixture
def make_job(micro_model, tmp_path):
    """Of the model of one layer."""

    def make(name: str, *overrides: str) -> TrainingJob:
        job = training_job(tmp_path / name, "engine.name=transformers", *overrides)
        return replace(job, base=str(micro_model), inputs={**job.inputs, "base": files_fingerprint(micro_model, False)})

    return make


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(3, 40)[None]
    use_own_attention(bare(model))
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def published(job: TrainingJob) -> Any:
    return AutoModelForCausalLM.from_pretrained(job.output, dtype=torch.float32)


def base_of(job: TrainingJob) -> Any:
    return AutoModelForCausalLM.from_pretrained(job.base, dtype=torch.float32)


# --- what is published


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_is_the_base_with_the_adapter(kind, make_job):
    job = make_job("job", *SFT, "sft.max_steps=3", "sft.learning_rate=1e-2", *KINDS[kind])
    run_job(job, EnginePool())
    expected = logits(PeftModel.from_pretrained(base_of(job), Path(job.output) / "adapter"))
    torch.testing.assert_close(logits(published(job)), expected, atol=1e-4, rtol=1e-4)
    assert (logits(base_of(job)) - expected).abs().max() > 0.05


def test_the_folder_is_that_of_any_model_with_the_adapter_in_it(make_job):
    job = make_job("job", "lora=r16", "sft.max_steps=1", "task.train_limit=16")
    report = run_job(job, EnginePool())
    output, adapter = Path(job.output), Path(job.output) / "adapter"
    names = {path.name for path in Path(job.base).iterdir()}
    assert {path.name for path in output.iterdir()} == {*names, "adapter", "train.json"}
    assert {path.name for path in adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == job.base_name
    merged, base = (load_file(folder / "model.safetensors") for folder in (output, Path(job.base)))
    assert merged.keys() == base.keys()
    trained = load_file(adapter / "adapter_model.safetensors").values()
    assert report.trained_parameters == sum(map(torch.numel, trained))


def test_the_base_is_added_to_once_however_often_the_engine_gets_it(make_job, engine):
    job = make_job("job", *GRPO, "grpo.max_steps=3", "grpo.learning_rate=1e-3")
    train(job, Holding(engine))
    adapter = load_file(Path(job.output) / "adapter" / "adapter_model.safetensors")
    base, merged = (load_file(Path(folder) / "model.safetensors") for folder in (job.base, job.output))
    for name, weight in base.items():
        parts = [f"base_model.model.{name.removesuffix('.weight')}.lora_{part}.weight" for part in "BA"]
        added = 2.0 * adapter[parts[0]] @ adapter[parts[1]] if parts[0] in adapter else 0.0
        torch.testing.assert_close(merged[name], weight.float() + added, rtol=0, atol=1e-7)


# --- training


def test_the_loss_falls(make_job):
    options = ["sft.max_steps=4", "sft.lr_scheduler_type=constant", "sft.learning_rate=1e-2"]
    live = replace(LiveJob.of(make_job("job", *SFT, *options)), samples=Arithmetic().load_train()[:8])
    _, report = train_sft(live, EnginePool())
    losses = [loss for _, loss in report["loss"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]


def test_rollouts_are_sampled_from_the_base_with_the_adapter(make_job, engine):
    job = make_job("job", *GRPO, "grpo.max_steps=2", "grpo.learning_rate=1e-2", "lora.init_lora_weights=false")
    _, report = train_grpo(LiveJob.of(job), Holding(engine))
    steps = [entry for entry in report["log"] if "reward" in entry]
    assert len(steps) == 2
    assert all(step["sampling/sampling_logp_difference/max"] < 1e-3 for step in steps)


def test_the_reference_model_is_the_base(make_job, engine):
    job = make_job("job", *GRPO, "grpo.max_steps=2", "grpo.learning_rate=1e-2", "grpo.beta=0.1")
    with mock.patch("chattpl.training.grpo._reward", odd):
        _, report = train_grpo(LiveJob.of(job), Holding(engine))
    first, second = (entry["kl"] for entry in report["log"] if "kl" in entry)
    assert abs(first) < 1e-6
    assert second > 1e-4


def test_handing_out_merged_weights_leaves_the_model_as_it_is(make_job):
    from peft import get_peft_model

    job = make_job("job", *SFT, "lora.init_lora_weights=false", "model.train_dtype=bfloat16")
    model = load_model(LiveJob.of(job))
    adapted = get_peft_model(model, adapter_config(job, model))
    before = {name: each.clone() for name, each in adapted.state_dict().items()}
    expected = logits(adapted)
    for _, parameter, dtype in weights_of(adapted):
        parameter.detach().to(dtype)
    assert all(torch.equal(each, before[name]) for name, each in adapted.state_dict().items())
    assert torch.equal(logits(adapted), expected)


def test_biases_that_are_trained_too_keep_their_masters(micro_model):
    from peft import LoraConfig, get_peft_model

    config = AutoConfig.from_pretrained(micro_model, attention_bias=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", bias="all"))
    optimizer = MasterAdamW((each for each in adapted.parameters() if each.requires_grad), lr=1e-6)
    adapted(input_ids=torch.arange(9)[None], labels=torch.arange(9)[None]).loss.backward()
    optimizer.step()
    masters = {names[0]: master_of(each, optimizer).clone() for names, each, _ in weights_of(adapted)}
    (bias,) = (masters[name] for name in masters if name.endswith("v_proj.bias"))
    assert 0 < bias.abs().max() < 2e-6


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_training_killed_in_every_step_has_the_weights_of_one_that_was_not(method, make_job, micro_model):
    held = Holding(start(spec("transformers"), micro_model))
    options = [f"{method}.max_steps={STEPS}", f"{method}.save_steps=1", f"{method}.learning_rate=1e-3"]
    sizes = SFT if method == "sft" else GRPO
    undisturbed, disturbed = (make_job(name, *sizes, *options, "lora.lora_dropout=0.1") for name in ("one", "other"))

    def stopped(step: int) -> None:
        with pytest.raises(Killed):
            train(disturbed, held, Stop(step, kill))

    train(undisturbed, held)
    stop_in_every_step(disturbed, stopped, lambda: train(disturbed, held))
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (Path(disturbed.output) / file).read_bytes() == (Path(undisturbed.output) / file).read_bytes()


def test_an_adapter_leaves_room_for_larger_micro_batches(make_job):
    jobs = [make_job(name, name) for name in ("lora=none", "lora=r16")]
    model = load_model(LiveJob.of(jobs[0]))
    full, adapted = (batching(model, job, 64, False, adapter_config(job, model)) for job in jobs)
    assert adapter_size(model, adapter_config(jobs[1], model)) < sum(each.numel() for each in model.parameters()) / 4
    assert full.tokens != adapted.tokens
