"""Which cell a configuration asks for: names, suffixes, fingerprints."""

import copy

import pytest
from hydra import compose, initialize_config_module

from chattpl import jobs
from chattpl.cell import Cell, Places, cell_of, digest, eval_covers, flat, model_covers, shortened
from chattpl.config import Config, checked_config, register_schema

register_schema()


@pytest.fixture(scope="module")
def composed():
    """Overrides to the checked configuration, as the command line composes it."""
    assert jobs.EMBEDDED.is_dir()  # importing chattpl.jobs registers the resolver of the embedded model

    def make(*overrides: str) -> Config:
        with initialize_config_module("conf", version_base="1.3"):
            return checked_config(compose("config", overrides=list(overrides)))

    return make


def cell(composed, *overrides: str) -> Cell:
    groups = [override for override in overrides if override.startswith(("model=", "task="))]
    return cell_of(composed(*overrides), composed(*groups))


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
def test_the_axes_name_the_model(composed, name, overrides):
    assert cell(composed, *overrides).model_name == name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sft_chat_template_full_loss"])
def test_an_experiment_is_its_axes(composed, name):
    assert cell(composed, f"experiment={name}") == cell(composed, *NAMES[name])


@pytest.mark.parametrize(
    ("dotted", "group"),
    [
        ("train.format=raw", "train_format=raw"),
        ("train.method=grpo", "method=grpo"),
        ("train.masking=full", "masking=full"),
        ("eval.format=raw", "eval_format=raw"),
    ],
)
def test_a_dotted_key_and_its_group_are_equal_in_force(composed, dotted, group):
    assert composed(dotted) == composed(group)
    assert composed("experiment=base", dotted) == composed("experiment=base", group)


def test_what_the_user_changed_is_appended_sorted(composed):
    changed = cell(composed, "sft.learning_rate=3e-5", "seed=1")
    assert changed.model_name == "sft_chat_template--seed=1--sft.learning_rate=3e-05"
    assert changed.eval_name == "sft_chat_template--seed=1--sft.learning_rate=3e-05_eval_chat"


def test_a_change_of_evaluation_alone_is_appended_to_the_eval_folder(composed):
    changed = cell(composed, "eval.max_tokens=64", "task.test_limit=5")
    assert changed.model_name == "sft_chat_template"
    assert changed.eval_name == "sft_chat_template_eval_chat--eval.max_tokens=64--task.test_limit=5"


def test_a_value_set_to_its_default_changes_nothing(composed):
    assert cell(composed, "seed=0", "sft.num_train_epochs=0.65") == cell(composed)


def test_hyperparameters_of_another_method_do_not_change_a_cell(composed):
    assert cell(composed, "method=grpo", "sft.learning_rate=1") == cell(composed, "method=grpo")
    assert cell(composed, "grpo.beta=0.1") == cell(composed)


def test_masking_means_nothing_to_grpo_and_the_format_nothing_to_the_untrained_model(composed):
    assert cell(composed, "method=grpo", "masking=full") == cell(composed, "method=grpo")
    assert cell(composed, "method=none", "train.format=raw") == cell(composed, "method=none")


def test_where_things_lie_is_not_in_the_name(composed):
    assert cell(composed, "model.path=/elsewhere", "output_root=/x", "study=y", "overwrite=true") == cell(composed)


def test_a_format_of_ones_own_names_its_models(composed):
    mine = "+formats.mine={kind: raw, prompt: 'Q: {question} A:'}"
    assert cell(composed, mine, "train.format=mine", "masking=full").model_name == "sft_mine_full_loss"
    assert cell(composed, mine, "train.format=mine", "eval.format=mine").eval_name == "sft_mine_eval_mine"


@pytest.mark.parametrize("value", ["a/../../b", "line\nbreak", "ä" * 300, "x" * 4000])
def test_no_value_leads_out_of_the_study_or_makes_an_impossible_name(value, tmp_path):
    strange = Cell("chat", "sft", "answer", "chat", (("formats.chat.system", value),))
    folder = Places(tmp_path).evaluation(strange)
    assert folder.resolve().parent == (tmp_path / "eval").resolve()
    folder.mkdir(parents=True)


def test_values_that_look_alike_in_a_name_stay_apart():
    one, two = (Cell("chat", "sft", "answer", "chat", (("task.instruction", text),)) for text in ("a/b", "a b"))
    assert one.model_name != two.model_name


def test_a_long_name_is_shortened_to_one_of_its_own():
    assert shortened("a" * 500) != shortened("a" * 501)
    assert len(shortened("a" * 500)) < 200


MODEL_CHANGES = [
    "seed=1",
    "sft.learning_rate=1e-5",
    "model.dtype=float32",
    "task.instruction=x",
    "formats.chat.system=s",
]


@pytest.mark.parametrize("override", MODEL_CHANGES)
def test_whatever_decides_a_model_is_in_its_fingerprint(composed, override):
    plain, changed = (model_covers(composed(*o), "base", "data", "vllm") for o in ([], [override]))
    assert digest(plain) != digest(changed)


@pytest.mark.parametrize("override", ["sft.save_steps=7", "sft.logging_steps=2", "eval.max_tokens=9", "study=other"])
def test_what_does_not_decide_a_model_is_not_in_its_fingerprint(composed, override):
    plain, changed = (model_covers(composed(*o), "base", "data", "vllm") for o in ([], [override]))
    assert plain == changed


@pytest.mark.parametrize(
    "override", ["eval.max_tokens=9", "eval.temperature=1", "eval.stop=[]", "formats.chat.system=s"]
)
def test_whatever_decides_a_cells_figures_is_in_its_fingerprint(composed, override):
    plain, changed = (eval_covers(composed(*o), "model", "data", "vllm") for o in ([], [override]))
    assert digest(plain) != digest(changed)


def test_the_rollouts_engine_counts_for_grpo_alone(composed):
    sft, grpo = composed(), composed("method=grpo")
    assert model_covers(sft, "b", "d", "vllm") == model_covers(sft, "b", "d", "transformers")
    assert model_covers(grpo, "b", "d", "vllm") != model_covers(grpo, "b", "d", "transformers")


def test_flat_keeps_empty_mappings_and_lists():
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_covers_do_not_share_state_with_the_configuration(composed):
    config = composed()
    covers = model_covers(config, "b", "d", "vllm")
    before = copy.deepcopy(covers)
    config.sft["learning_rate"] = 5
    assert covers == before
