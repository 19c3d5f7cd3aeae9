"""`lora=` and `lora.*` as a user types them: names, fingerprints, learning rates, and what is refused."""

import dataclasses

import pytest
from command_line import command
from conftest import configuration, training_job
from test_cell import cell, named

from chattpl.cell import cell_of
from chattpl.errors import UserError
from chattpl.hashing import digest
from chattpl.schema import Config
from chattpl.training.fields import read_fields
from chattpl.training.lora_fields import OWN, RESERVED, SOURCES, defaults


def test_full_fine_tuning_has_neither_name_nor_key_of_it():
    usual = cell("lora=none")
    assert named(usual) == named(cell())
    assert not [key for key in usual.model_keys if key.startswith("lora")]


def test_the_group_names_the_model_and_what_differs_from_it_is_appended():
    assert cell("lora=r16").model_name == "sft_chat_template--lora=r16"
    assert cell("lora=r16", "lora.r=4").model_name == "sft_chat_template--lora=r16--lora.r=4"
    assert cell("lora=r16", "method=grpo", "seed=1").model_name == "grpo_chat_template--lora=r16--seed=1"


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_whatever_decides_the_adapter_is_in_the_fingerprint(method):
    cells = [cell(f"method={method}", *each) for each in ([], ["lora=r16"], ["lora=r16", "lora.r=8"])]
    assert len({digest(each.model_keys) for each in cells}) == 3
    assert len({digest(each.eval_keys) for each in cells}) == 1


def test_the_untrained_model_has_no_adapter():
    assert named(cell("method=none", "lora=r16")) == named(cell("method=none"))


@pytest.mark.parametrize(
    "override", ["lora.r=16", "lora.bias=none", "lora.lora_dropout=0", "model.master_weights=false"]
)
def test_a_key_at_its_default_or_that_decides_nothing_changes_neither_name_nor_fingerprint(override):
    bfloat16 = ["lora=r16", "model.train_dtype=bfloat16"]
    assert named(cell(*bfloat16, override)) == named(cell(*bfloat16))


def test_master_weights_count_where_weights_of_the_model_are_trained():
    more = ["lora=r16", "model.train_dtype=bfloat16", "lora.modules_to_save=[norm]"]
    assert named(cell(*more, "model.master_weights=false")) != named(cell(*more))


# --- learning rates


def rates(*overrides: str) -> tuple[float, float]:
    config = configuration(*overrides)
    return config.sft["learning_rate"], config.grpo["learning_rate"]


@pytest.mark.parametrize("model", ["tiny", "smollm2_135m", "qwen3_0_6b", "qwen3_1_7b", "qwen3_4b"])
def test_an_adapter_learns_at_ten_times_the_models_rates(model):
    full, adapted = rates(f"model={model}"), rates(f"model={model}", "lora=r16")
    assert adapted == tuple(float(f"{10 * rate:.12g}") for rate in full)


def test_the_rate_that_the_user_sets_wins():
    assert rates("lora=r16", "sft.learning_rate=3e-5", "grpo.learning_rate=2e-6") == (3e-5, 2e-6)
    assert rates("sft.learning_rate=3e-5", "lora=r16")[0] == 3e-5
    assert (
        cell("lora=r16", "sft.learning_rate=3e-5").model_name == "sft_chat_template--lora=r16--sft.learning_rate=3e-05"
    )
    assert rates("lora=r16", "lora.learning_rate_factor=5")[0] == 5 * rates()[0]


def test_the_rate_is_seen_in_what_is_composed(tmp_path):
    ended = command("lora=r16", "--cfg", "job", "--resolve", "--package", "sft", cwd=tmp_path)
    assert "learning_rate: 0.001" in ended.out, ended.err


# --- what is refused

REFUSED = [
    (["lora=r61"], ["lora=r61", "'r16'"]),
    (["lora=r16", "lora.lora_alfa=3"], ["lora.lora_alfa", "LoraConfig", "'lora_alpha'"]),
    (["lora=r16", "lora.r=many"], ["lora.r='many'", "int"]),
    (["lora=r16", "lora.bias=some"], ["lora.bias=some", "lora_only"]),
    (["lora=r16", "lora.init_lora_weights=pissa"], ["lora.init_lora_weights=pissa", "gaussian"]),
    (["lora=r16", "lora.task_type=CAUSAL_LM"], ["lora.task_type", "cannot be set"]),
    (["lora=r16", "lora.learning_rate_factor=0"], ["lora.learning_rate_factor=0", "above 0"]),
    (["lora.r=8"], ["lora.r", "lora=r16"]),
    (["lora=r16", "method=grpo", "grpo.sync_ref_model=true"], ["grpo.sync_ref_model=true", "lora"]),
]  # fmt: skip
REFUSED_BY_THE_MODEL = [
    (["lora.target_modules=[q_prog]"], ["lora.*", "q_prog"]),
    (["lora.target_modules=[lm_head]"], ["lora.target_modules", "lora.modules_to_save"]),
    (["lora.target_modules=[embed_tokens]"], ["lora.*", "embed_tokens"]),
    (["lora.modules_to_save=[lm_head]"], ["lora.*", "lora.ensure_weight_tying=true"]),
    (["lora.r=0"], ["lora.*", "`r`"]),
]


@pytest.mark.parametrize(("overrides", "says"), REFUSED)
def test_what_makes_no_sense_is_refused_in_a_line(overrides, says, tmp_path):
    ended = command(*overrides, "stage=preview", cwd=tmp_path)
    assert ended.status == 1
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert all(words in ended.err for words in says), ended.err


@pytest.mark.parametrize(("overrides", "says"), REFUSED_BY_THE_MODEL)
def test_what_does_not_suit_the_model_is_refused_before_it_is_trained(overrides, says, tmp_path):
    from chattpl.training.adapter import adapter_config
    from chattpl.training.live import LiveJob, load_model

    job = training_job(tmp_path, "lora=r16", *overrides)
    with pytest.raises(UserError) as refused:
        adapter_config(job, load_model(LiveJob.of(job)))
    assert all(words in str(refused.value) for words in says), refused.value
    assert str(refused.value).startswith(says[0])


# --- peft's fields


def test_the_fields_read_from_pefts_source_are_those_of_its_dataclass():
    import peft

    real = {field.name: field for field in dataclasses.fields(peft.LoraConfig)}
    assert read_fields(*SOURCES).keys() == real.keys()
    assert real.keys() >= RESERVED.keys()
    assert not real.keys() & set(OWN)
    assert {name: real[name].default for name in defaults()} == defaults()


def test_every_field_of_peft_written_out_at_its_default_changes_nothing():
    config = configuration("lora=r16")
    fields = {name: value for name, value in defaults().items() if name not in RESERVED | config.lora}
    written_out: Config = dataclasses.replace(config, lora={**config.lora, **fields})
    assert named(cell_of(written_out, config)) == named(cell("lora=r16"))
