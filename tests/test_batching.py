"""What a training takes of its device's memory, and how its steps are divided."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import training_job
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, MambaConfig

from chattpl import ranks
from chattpl.basemodel import EMBEDDED
from chattpl.errors import UserError
from chattpl.generation.memory import sizes
from chattpl.training.footprint import Batching, Footprint, Gathered, enough, fitting, shared_out, taken
from chattpl.training.grpo import step_shape
from chattpl.training.memory import GIB, batching, kept

QWEN3_4B = {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 9728, "vocab_size": 151936}  # fmt: skip
PARAMETERS = 4_022_468_096


@pytest.fixture
def card(monkeypatch):
    """Pretends a GPU of 80 GiB, of which so many are free."""

    def pretend(free: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free * GIB, 80 * GIB))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    return pretend


def four_billion(state=12, width=2):
    return Footprint.of(QWEN3_4B, PARAMETERS * state, width)


def test_a_step_of_sixteen_samples_of_4b_fits_on_80_gb_without_checkpointing():
    chosen = fitting(four_billion(), 72 * GIB, 512, None)
    assert not chosen.checkpointing
    assert chosen.tokens > 3_300


def test_what_a_token_leaves_is_as_measured_on_a_card():
    """Training on 8,192 tokens at once took 58.7 GiB, of which 30 were weights, gradients and moments in bfloat16."""
    assert four_billion(state=8).token * 8192 / GIB == pytest.approx(58.7 - PARAMETERS * 8 / GIB, rel=0.2)


def test_layers_are_checkpointed_where_the_longest_sample_would_not_fit_otherwise():
    chosen = fitting(four_billion(), 52 * GIB, 2048, None)
    assert chosen.checkpointing
    assert chosen.tokens >= 2048


def test_what_is_configured_decides_about_checkpointing():
    assert fitting(four_billion(), 72 * GIB, 512, True).checkpointing
    assert not fitting(four_billion(), 52 * GIB, 2048, False).checkpointing


def test_a_sample_is_never_divided_however_little_memory_there_is():
    assert fitting(four_billion(), 8 * GIB, 700, None).tokens == 700


def test_a_training_that_shares_its_card_leaves_the_other_part_alone(card, tmp_path):
    card(79)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(EMBEDDED))
    job = replace(training_job(tmp_path), device="cuda")
    alone, shared = (batching(model, replace(job, gpu_share=share), 512, True).tokens for share in (1, 0.5))
    assert 0.4 * alone < shared < 0.5 * alone


def test_checkpointing_makes_micro_batches_larger():
    plain, slim = (fitting(four_billion(), 72 * GIB, 512, chosen).tokens for chosen in (False, True))
    assert slim > 5 * plain


@pytest.mark.parametrize("config", [GPT2Config(n_layer=2, n_head=4, n_embd=64), MambaConfig(num_hidden_layers=2)])
def test_an_architecture_with_names_of_its_own_has_a_footprint(config):
    assert Footprint.of(sizes(config), 0, 2).token > 0


def test_a_model_without_grouped_keys_has_a_footprint_too():
    config = json.loads((EMBEDDED / "config.json").read_text())
    del config["num_key_value_heads"], config["head_dim"]
    assert Footprint.of(config, 0, 4).token > 0


# --- several ranks

GATHERED = Gathered.of(QWEN3_4B, PARAMETERS, 2)


def test_one_rank_computes_as_ever():
    assert shared_out(four_billion(), GATHERED, 1, 72 * GIB, 512, None) == fitting(four_billion(), 72 * GIB, 512, None)


def test_ranks_have_all_weights_in_a_step_where_these_fit():
    chosen = shared_out(four_billion(), GATHERED, 2, 72 * GIB, 512, None)
    assert chosen.whole
    assert not chosen.checkpointing
    assert chosen.tokens > shared_out(four_billion(), GATHERED, 1, 72 * GIB, 512, None).tokens


def test_ranks_gather_a_layer_at_a_time_where_they_do_not():
    memory = 36 * GIB
    chosen = shared_out(four_billion(), GATHERED, 2, memory, 512, None)
    assert not chosen.whole
    assert taken(four_billion(), GATHERED, 2, 512, chosen) < memory
    assert taken(four_billion(), GATHERED, 1, 512, Batching(512, True)) > memory


def test_checkpointing_that_is_asked_for_stays_on_several_ranks():
    assert shared_out(four_billion(), GATHERED, 2, 72 * GIB, 512, True).checkpointing


def adapter_of_four_billion():
    return Footprint.of(QWEN3_4B, 33_000_000 * 16, 2, frozen=PARAMETERS * 2)


FROZEN = Gathered.of(QWEN3_4B, PARAMETERS, 2, trained=False)


def test_ranks_have_the_whole_base_of_an_adapter_where_it_fits():
    alone, several = (shared_out(adapter_of_four_billion(), FROZEN, count, 36 * GIB, 512, None) for count in (1, 2))
    assert several == alone
    assert several.whole


def test_ranks_share_out_the_base_of_an_adapter_where_it_does_not():
    memory = 13 * GIB
    alone, several = (shared_out(adapter_of_four_billion(), FROZEN, count, memory, 1024, None) for count in (1, 2))
    assert alone.checkpointing
    assert (several.whole, several.checkpointing) == (False, False)
    assert taken(adapter_of_four_billion(), FROZEN, 2, 1024, several) < memory


def test_ranks_share_out_the_base_of_an_adapter_that_leaves_an_engine_no_room():
    chosen = [
        shared_out(adapter_of_four_billion(), FROZEN, 2, 36 * GIB, 512, None, engine * GIB).whole for engine in (20, 40)
    ]
    assert chosen == [True, False]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [(["lora=none"], 3), (["lora=r16"], 0.75), (["grpo.beta=0.1"], 3.5), (["lora=r16", "grpo.beta=0.1"], 0.75)],
)
def test_what_a_training_keeps_beside_its_engine(overrides, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "_ours", ranks.Ranks(0, 2))
    assert kept(training_job(tmp_path, "method=grpo", "model.train_dtype=bfloat16", *overrides)) == expected


def test_the_model_that_grpo_compares_with_is_counted(card, tmp_path):
    card(79)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(EMBEDDED))
    asked = ["method=grpo", "model.train_dtype=bfloat16"]
    without, beside = (
        batching(model, replace(training_job(tmp_path, *asked, f"grpo.beta={beta}"), device="cuda"), 512, True).tokens
        for beta in (0, 0.1)
    )
    reference = 2 * sum(each.numel() for each in model.parameters())
    assert without - beside == pytest.approx(reference / Footprint.of(sizes(model.config), 0, 2).token, abs=1)


def test_a_training_that_no_card_can_hold_is_refused_with_what_would_help(card, tmp_path):
    card(6)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(EMBEDDED))
    job = replace(training_job(tmp_path), device="cuda")
    with pytest.raises(UserError, match=r"needs \d+ GiB .* 6 are free: choose more cards \(gpus=2\), an adapter"):
        batching(model, job, 4_000_000, True)


# --- an engine beside it


def test_an_engine_stays_awake_where_micro_batches_stay_large():
    alone = shared_out(four_billion(), GATHERED, 1, 140 * GIB, 512, None)
    beside = shared_out(four_billion(), GATHERED, 1, 140 * GIB, 512, None, engine=50 * GIB)
    assert beside.awake
    assert enough(GATHERED) <= beside.tokens < alone.tokens


def test_a_large_model_keeps_a_gpu_busy_with_fewer_tokens():
    small, medium, large = (enough(Gathered(gib * GIB, 0)) for gib in (1, 2, 8))
    assert (small, medium, large) == (16384, 8192, 4096)


@pytest.mark.parametrize("checkpointing", [None, True])
def test_an_engine_sleeps_where_it_would_cost_the_training_its_memory(checkpointing):
    alone = shared_out(four_billion(), GATHERED, 1, 72 * GIB, 512, checkpointing)
    assert shared_out(four_billion(), GATHERED, 1, 72 * GIB, 512, checkpointing, engine=20 * GIB) == alone


# --- GRPO's steps


def test_a_grpo_step_goes_in_the_largest_parts_that_fit():
    fields = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 8}
    assert step_shape(fields, 40) == {"per_device_train_batch_size": 32, "gradient_accumulation_steps": 4}


def test_a_grpo_step_is_divided_to_the_single_rollout_where_it_must():
    fields = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 8}
    assert step_shape(fields, 0) == {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 128}


@pytest.mark.parametrize(
    "other", [{"loss_type": "bnpo"}, {"steps_per_generation": 4}, {"generation_batch_size": 32}]
)  # fmt: skip
def test_a_grpo_step_stays_as_configured_where_its_parts_matter(other):
    fields = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 8, **other}
    assert step_shape(fields, 40) == {}
