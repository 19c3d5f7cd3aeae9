"""Which cell a configuration asks for: names, changes, and what decides it."""

import dataclasses

import pytest
from conftest import configuration
from omegaconf import OmegaConf

from chattpl.cell import Cell, cell_of, values_of
from chattpl.decides import DECIDES
from chattpl.hashing import digest, flat
from chattpl.schema import schema_node
from chattpl.training.trl_fields import BOOKKEEPING, CLASSES, RESERVED, defaults_of, fields_of

MINE = "+formats.mine={kind: raw, prompt: 'Q: {question} A:'}"


def cell(*overrides: str) -> Cell:
    groups = [override for override in overrides if override.startswith(("model=", "task=", "lora="))]
    return cell_of(configuration(*overrides), configuration(*groups))


def named(asked: Cell) -> tuple[str, str, str, str]:
    """Both names and both fingerprints, as far as the configuration alone decides them."""
    return asked.model_name, asked.eval_name, digest(asked.model_keys), digest(asked.eval_keys)


NAMES = {
    "sft_chat_template": ["train.format=chat", "train.method=sft", "train.masking=answer"],
    "grpo_chat_template": ["train.format=chat", "train.method=grpo"],
    "sft_no_chat_full_loss": ["train.format=raw", "train.method=sft", "train.masking=full"],
    "sft_no_chat_mask_q": ["train.format=raw", "train.method=sft", "train.masking=answer"],
    "grpo_no_chat": ["train.format=raw", "train.method=grpo"],
    "base": ["train.method=none"],
    "sft_chat_template_full_loss": ["train.format=chat", "train.method=sft", "train.masking=full"],
}


@pytest.mark.parametrize(("name", "overrides"), NAMES.items())
def test_the_axes_name_the_model(name, overrides):
    assert cell(*overrides).model_name == name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sft_chat_template_full_loss"])
def test_an_experiment_is_its_axes(name):
    assert cell(f"experiment={name}") == cell(*NAMES[name])


@pytest.mark.parametrize(
    ("dotted", "group"),
    [
        ("train.format=raw", "train_format=raw"),
        ("train.method=grpo", "method=grpo"),
        ("train.masking=full", "masking=full"),
        ("eval.format=raw", "eval_format=raw"),
    ],
)
def test_a_dotted_key_and_its_group_are_equal_in_force(dotted, group):
    assert configuration(dotted) == configuration(group)
    assert configuration("experiment=base", dotted) == configuration("experiment=base", group)


# --- names


def test_what_the_user_changed_is_appended_sorted():
    changed = cell("sft.learning_rate=3e-5", "seed=1")
    assert changed.model_name == "sft_chat_template--seed=1--sft.learning_rate=3e-05"
    assert changed.eval_name == "sft_chat_template--seed=1--sft.learning_rate=3e-05_eval_chat"


def test_a_change_of_evaluation_alone_is_appended_to_the_eval_folder():
    changed = cell("eval.max_tokens=64", "task.test_limit=5")
    assert changed.model_name == "sft_chat_template"
    assert changed.eval_name == "sft_chat_template_eval_chat--eval.max_tokens=64--task.test_limit=5"


def test_hyperparameters_of_another_method_do_not_change_a_cell():
    assert cell("method=grpo", "sft.learning_rate=1") == cell("method=grpo")
    assert cell("grpo.beta=0.1") == cell()


def test_masking_means_nothing_to_grpo_and_the_format_nothing_to_the_untrained_model():
    assert cell("method=grpo", "masking=full") == cell("method=grpo")
    assert cell("method=none", "train.format=raw") == cell("method=none")


def test_where_things_lie_is_not_in_the_name():
    assert cell("model.path=/elsewhere", "output_root=/x", "study=y", "overwrite=true") == cell()


def test_a_format_of_ones_own_names_its_models():
    assert cell(MINE, "train.format=mine", "masking=full").model_name == "sft_mine_full_loss"
    assert cell(MINE, "train.format=mine", "eval.format=mine").eval_name == "sft_mine_eval_mine"


def test_the_group_is_what_a_models_cells_in_other_formats_have_in_common():
    groups = {cell(f"eval.format={name}", "eval.max_tokens=9", "seed=1").group for name in ("chat", "raw")}
    assert groups == {"sft_chat_template--seed=1--eval.max_tokens=9"}


@pytest.mark.parametrize("value", ["a/../../b", "line\nbreak", "ä" * 300, "x" * 4000])
def test_no_value_leads_out_of_the_study_or_makes_an_impossible_name(value, tmp_path):
    strange = Cell("chat", "sft", "answer", "chat", {"formats.chat.system": value})
    folder = tmp_path / "eval" / strange.eval_name
    assert folder.resolve().parent == (tmp_path / "eval").resolve()
    folder.mkdir(parents=True)


@pytest.mark.parametrize(
    ("one", "two"),
    [("a/b", "a b"), ("1", 1), ("true", True), ("null", None), ("a" * 500, "a" * 501), ("x--seed=1", "x__seed=1")],
)
def test_values_that_look_alike_in_a_name_stay_apart(one, two):
    names = {Cell("chat", "sft", "answer", "chat", {"task.key": value}).model_name for value in (one, two)}
    assert len(names) == 2


def test_a_value_cannot_pass_for_the_evaluations_part_of_a_name():
    as_value = Cell("chat", "sft", "answer", "raw", {"task.a": "x_eval_chat", "task.b": "y"})
    as_part = Cell("chat", "sft", "answer", "chat", {"task.a": "x"}, {"task.b": "y_eval_raw"})
    assert as_value.eval_name != as_part.eval_name


def test_a_long_name_is_shortened():
    assert len(Cell("chat", "sft", "answer", "chat", {"task.key": "a" * 500}).eval_name) < 200


LOOK_ALIKES = {
    "no_chat_mask_q": ("raw", "answer"),
    "no_chat_full_loss": ("raw", "full"),
    "chat_template": ("chat", "answer"),
    "no_chat": ("raw", "answer"),
    "chat_template_full_loss": ("chat", "full"),
}


@pytest.mark.parametrize(("name", "other"), LOOK_ALIKES.items())
def test_a_format_whose_name_reads_as_another_model_has_a_folder_of_its_own(name, other):
    mine = cell(f"+formats.{name}={{kind: raw}}", f"train.format={name}", "train.masking=answer")
    assert mine.model_name != cell(f"train.format={other[0]}", f"train.masking={other[1]}").model_name


def test_a_formats_name_cannot_pass_for_the_full_loss_of_another():
    formats = ["+formats.mine={kind: raw}", "+formats.mine_full_loss={kind: raw}"]
    full = cell(*formats, "train.format=mine", "train.masking=full")
    answer = cell(*formats, "train.format=mine_full_loss", "train.masking=answer")
    assert full.model_name != answer.model_name


# --- the table


def all_keys() -> list[str]:
    tree = OmegaConf.to_container(schema_node(), throw_on_missing=False)
    return [key for key in flat(tree) if key not in ("sft", "grpo", "lora", "task", "formats")]


def test_every_key_of_the_schema_has_a_row():
    assert not [key for key in all_keys() if key not in DECIDES and f"{key.partition('.')[0]}.*" not in DECIDES]


def test_every_row_is_about_a_key_that_is_there():
    known = {*all_keys(), *values_of(configuration("task=gsm8k"))}
    nodes = {key.partition(".")[0] for key in known}
    own = {"task.path"}  # by convention where a user's own task reads its data
    assert not [row for row in DECIDES if row not in known | own and row.removesuffix(".*") not in nodes]


DEFAULTS = [
    "seed=0",
    "sft.num_train_epochs=0.65",
    "engine.name=vllm",
    "engine.max_model_len=1024",
    "eval.temperature=0",
    "model.attn_implementation=null",
    "model.trust_remote_code=false",
    "model.master_weights=false",
    "formats.chat.shots=0",
    "formats.chat.turns=false",
    "formats.chat.template_kwargs.enable_thinking=false",
    "task.train_limit=null",
    "sft.lr_scheduler_kwargs=null",
    "sft.adam_beta1=0.9",
    "sft.max_grad_norm=1",
    "sft.save_steps=7",
    "sft.logging_steps=2",
    "tracker=none",
    "device=cpu",
    "overwrite=true",
    "objective=strict_accuracy",
    "engine.kv_cache_gib=3",
]


@pytest.mark.parametrize("override", DEFAULTS)
def test_a_key_at_its_default_or_that_decides_nothing_changes_neither_name_nor_fingerprint(override):
    pytest.importorskip("vllm")
    assert named(cell(override)) == named(cell())


@pytest.mark.parametrize("method", CLASSES)
def test_every_field_of_trl_written_out_at_its_default_changes_nothing(method):
    configured = set(getattr(configuration(), method))
    fields = {
        name: value
        for name, value in defaults_of(method).items()
        if name not in configured | RESERVED.keys() and (not name.startswith("vllm_") or "importance" in name)
    }
    written_out = configuration(f"method={method}")
    written_out = dataclasses.replace(written_out, **{method: {**getattr(written_out, method), **fields}})
    usual = cell(f"method={method}")
    assert len(fields) > 90
    assert named(cell_of(written_out, configuration())) == named(usual)


MODEL_CHANGES = [
    "seed=1",
    "sft.learning_rate=1e-5",
    "sft.adam_beta1=0.8",
    "sft.optim=adafactor",
    "model.dtype=bfloat16",
    "model.train_dtype=bfloat16",
    "model.attn_implementation=eager",
    "model.trust_remote_code=true",
    "task.instruction='Use ####.'",
    "task.train_limit=5",
    "formats.chat.system=s",
    "formats.chat.shots=2",
    "formats.chat.template_kwargs.enable_thinking=true",
]


@pytest.mark.parametrize("override", MODEL_CHANGES)
def test_whatever_decides_a_model_is_in_its_name_and_its_fingerprint(override):
    usual, changed = cell("eval.format=raw"), cell("eval.format=raw", override)
    assert changed.model_name != usual.model_name
    assert digest(changed.model_keys) != digest(usual.model_keys)


def test_master_weights_count_where_weights_are_trained_in_bfloat16():
    bfloat16 = cell("model.train_dtype=bfloat16")
    without = cell("model.train_dtype=bfloat16", "model.master_weights=false")
    assert named(without) != named(bfloat16)
    assert bfloat16.model_keys["model.master_weights"] is True


EVAL_CHANGES = [
    "eval.max_tokens=9",
    "eval.temperature=1",
    "eval.stop=['\nNext:']",
    "engine.max_model_len=512",
    "task.test_limit=5",
]


@pytest.mark.parametrize("override", [*EVAL_CHANGES, "eval.format=raw"])
def test_whatever_decides_the_figures_alone_leaves_the_model_as_it_is(override):
    usual, changed = cell(), cell(override)
    assert (changed.model_name, changed.model_keys) == (usual.model_name, usual.model_keys)
    assert changed.eval_name != usual.eval_name
    assert digest(changed.eval_keys) != digest(usual.eval_keys)


@pytest.mark.parametrize("override", ["engine.name=transformers", "engine.max_model_len=512", "eval.stop=['\nNext:']"])
def test_the_rollouts_engine_and_end_count_for_grpo_alone(override):
    assert cell(override).model_keys == cell().model_keys
    assert cell("method=grpo", override).model_keys != cell("method=grpo").model_keys
    assert cell("method=grpo", override).model_name != cell("method=grpo").model_name


@pytest.mark.parametrize("override", ["model.attn_implementation=eager", "model.trust_remote_code=true", "seed=1"])
def test_name_and_fingerprint_of_the_untrained_model_agree(override):
    engine = ["method=none", "engine.name=transformers", "eval.temperature=1"]
    usual, changed = cell(*engine), cell(*engine, override)
    assert changed.model_name == usual.model_name == "base"
    assert changed.eval_name != usual.eval_name
    assert digest(changed.eval_keys) != digest(usual.eval_keys)


def test_vllm_has_an_attention_of_its_own():
    pytest.importorskip("vllm")
    attention = ["method=none", "model.attn_implementation=eager", "engine.name=vllm"]
    assert named(cell(*attention)) == named(cell("method=none", "engine.name=vllm"))


def test_the_untrained_model_answers_greedily_alike_whatever_the_seed():
    assert named(cell("method=none", "seed=1")) == named(cell("method=none"))


@pytest.mark.parametrize(("temperature", "same"), [(0, True), (1, False)])
def test_the_batch_decides_what_the_transformers_engine_draws(temperature, same):
    engine = ["method=none", "engine.name=transformers", f"eval.temperature={temperature}"]
    assert (named(cell(*engine, "eval.batch_size=3")) == named(cell(*engine))) is same


def test_a_number_is_the_same_however_it_is_written():
    written = [cell("sft.max_steps=3", f"sft.num_train_epochs={epochs}") for epochs in ("3", "3.0", "3e0")]
    assert len({named(each) for each in written}) == 1


# --- TRL's fields


@pytest.mark.parametrize("method", CLASSES)
def test_the_fields_read_from_trls_source_are_those_of_its_dataclasses(method):
    import trl

    real = {field.name: field for field in dataclasses.fields(getattr(trl, CLASSES[method]))}
    read = fields_of(method)
    assert read.keys() == real.keys()
    literal = {name: field.default for name, field in read.items() if field.has_default}
    assert literal == {name: real[name].default for name in literal}
    assert {name for name in read if name not in literal} <= {"optim", "include_for_metrics"}


def test_what_is_reserved_or_bookkeeping_is_a_field_of_trl():
    known = fields_of("sft").keys() | fields_of("grpo").keys()
    assert known >= BOOKKEEPING
    assert known >= RESERVED.keys()
    assert not BOOKKEEPING & RESERVED.keys()
