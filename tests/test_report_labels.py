"""What cells are called: short, unique, and what all share said once."""

import shutil
from pathlib import Path

import pytest
from test_report import add_cell, page_of, section

from chattpl.report.collect import collect_cells
from chattpl.report.labels import Labels, label_cells
from chattpl.report.study import Study, base_of


def add(study: Path, model: str, eval_format: str = "chat", inputs: dict | None = None, **changes) -> None:
    """A cell as the command line names it; `changes` are dotted keys with `__` for the dot."""
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    suffixes = [f"--{key}={value}" for key, value in keys.items()]
    ofmodel = "".join(each for each in suffixes if not each.startswith("--eval."))
    ofeval = "".join(each for each in suffixes if each.startswith("--eval."))
    add_cell(
        study, model + ofmodel, eval_format, range(5), n=10, suffix=ofeval, changes=keys, inputs=inputs or {},
        seed=keys.get("seed", 0),
    )  # fmt: skip


def labels_of(study: Path) -> Labels:
    return label_cells(collect_cells(study))


def test_what_all_cells_have_is_no_part_of_a_label(tmp_path):
    add(tmp_path / "s", "base", "chat", eval__max_tokens=64)
    add(tmp_path / "s", "sft_chat_template", "chat", eval__max_tokens=64)
    labels = labels_of(tmp_path / "s")
    assert sorted(labels.models.values()) == ["base", "sft_chat_template"]
    assert sorted(labels.cells.values()) == ["base in chat", "sft_chat_template in chat"]
    assert labels.shared["eval.max_tokens"] == 64


def test_what_differs_is_part_of_it_without_the_keys_node(tmp_path):
    add(tmp_path / "s", "sft_chat_template", "chat")
    add(tmp_path / "s", "sft_chat_template", "chat", sft__learning_rate=3e-5)
    labels = labels_of(tmp_path / "s")
    assert sorted(labels.models.values()) == ["sft_chat_template", "sft_chat_template learning_rate=3e-05"]
    assert "sft.learning_rate" not in labels.shared


def test_keys_that_end_alike_keep_their_nodes(tmp_path):
    add(tmp_path / "s", "sft_chat_template", "chat", sft__max_steps=4)
    add(tmp_path / "s", "sft_chat_template", "chat")
    add(tmp_path / "s", "grpo_chat_template", "chat", grpo__max_steps=2)
    add(tmp_path / "s", "grpo_chat_template", "chat")
    assert "grpo_chat_template grpo.max_steps=2" in labels_of(tmp_path / "s").models.values()


def test_a_change_that_concerns_one_method_alone_is_shared_where_all_its_models_have_it(tmp_path):
    add(tmp_path / "s", "base", "chat")
    add(tmp_path / "s", "grpo_chat_template", "chat")
    for model in ("sft_chat_template", "sft_no_chat_mask_q"):
        add(tmp_path / "s", model, "chat", sft__max_steps=4)
    labels = labels_of(tmp_path / "s")
    assert labels.shared["sft.max_steps"] == 4
    assert "sft_chat_template" in labels.models.values()


def test_the_engine_is_said_once(tmp_path):
    add(tmp_path / "s", "base", "chat", engine__name="vllm")
    assert "engine.name" not in labels_of(tmp_path / "s").shared
    assert labels_of(tmp_path / "s").shared["engine"] == "vllm"


def test_a_change_of_the_evaluation_that_base_lacks_is_not_shared(tmp_path):
    add(tmp_path / "s", "base", "chat", inputs={"eval.max_tokens": 512})
    add(tmp_path / "s", "sft_chat_template", "chat", eval__max_tokens=64)
    labels = labels_of(tmp_path / "s")
    assert "eval.max_tokens" not in labels.shared
    assert "sft_chat_template max_tokens=64" in labels.models.values()


def test_a_seed_shows_where_there_are_several_and_is_said_once_where_there_is_one(tmp_path):
    for seed in (1, 2):
        add(tmp_path / "several", "sft_chat_template", "chat", seed=seed)
    assert sorted(labels_of(tmp_path / "several").models.values()) == [
        *("sft_chat_template seed=1", "sft_chat_template seed=2"),
    ]
    add(tmp_path / "one", "sft_chat_template", "chat", seed=1)
    labels = labels_of(tmp_path / "one")
    assert (list(labels.models.values()), labels.shared["seed"]) == (["sft_chat_template"], 1)


def test_labels_are_unique_where_the_changes_do_not_tell_cells_apart(tmp_path):
    for suffix in ("", "~0123456789"):
        add_cell(tmp_path / "s", "base", "chat", range(5), n=10, suffix=suffix)
    assert len(set(labels_of(tmp_path / "s").cells.values())) == 2


def test_a_copied_folder_is_called_by_its_name(tmp_path):
    folder = add_cell(tmp_path / "s", "base", "chat", range(5), n=10)
    shutil.copytree(folder, folder.with_name("copy"))
    assert labels_of(tmp_path / "s").cells == {"base_eval_chat": "base_eval_chat", "copy": "copy"}


def test_the_page_says_once_what_all_cells_share(tmp_path):
    for model in ("base", "sft_chat_template"):
        add(tmp_path / "s", model, "chat", task__test_limit=100)
    page = page_of(tmp_path / "s")
    assert "All cells: task: arithmetic; split: test; n: 10; seed: 0; engine: vllm; task.test_limit: 100." in page
    assert page.count("test_limit") == 1
    assert "| base |" in section(page, "Accuracy")


@pytest.mark.parametrize(("column", "changes"), [("n", {"n": 20}), ("engine", {"engine": "transformers"})])
def test_what_is_not_shared_has_a_column(tmp_path, column, changes):
    add_cell(tmp_path / "s", "base", "chat", range(5), **{"n": 10, **changes})
    assert f"| {column} |" not in section(page_of(tmp_path / "s"), "Accuracy")
    add_cell(tmp_path / "s", "base", "raw", range(5), n=10)
    assert f"| {column} |" in section(page_of(tmp_path / "s"), "Accuracy")


def test_a_cell_is_set_against_the_base_that_was_asked_alike(tmp_path):
    short = {"eval__max_tokens": 64, "inputs": {"eval.max_tokens": 64}}
    add(tmp_path / "s", "base", "chat")
    add(tmp_path / "s", "base", "raw")
    add(tmp_path / "s", "base", "chat", **short)
    add(tmp_path / "s", "sft_chat_template", "chat", sft__max_steps=4)
    add(tmp_path / "s", "sft_chat_template", "chat", sft__max_steps=4, **short)
    cells = Study.read(tmp_path / "s").cells
    found = {cell.name: base_of(cell, cells).name for cell in cells if cell.summary.train_format}
    assert found == {
        "sft_chat_template--sft.max_steps=4_eval_chat": "base_eval_chat",
        "sft_chat_template--sft.max_steps=4_eval_chat--eval.max_tokens=64": "base_eval_chat--eval.max_tokens=64",
    }


def test_a_cell_is_set_against_the_base_that_was_asked_in_its_wording(tmp_path):
    for name in ("hashes", "boxed"):
        add_cell(tmp_path / "s", "base", "chat", range(5), suffix=f"--task.wording={name}")
    add_cell(tmp_path / "s", "sft_chat_template--task.wording=boxed", "chat", range(5), suffix="--eval.wording=hashes")
    [trained, *untrained] = Study.read(tmp_path / "s").cells
    assert base_of(trained, untrained).name == "base_eval_chat--task.wording=hashes"


def test_where_there_are_several_seeds_the_first_shows_its_own_too(tmp_path):
    add(tmp_path / "s", "sft_chat_template", "chat")
    add(tmp_path / "s", "sft_chat_template", "chat", seed=1)
    add(tmp_path / "s", "base", "chat")
    labels = labels_of(tmp_path / "s")
    names = ["sft_chat_template seed=0", "sft_chat_template seed=1"]
    assert list(labels.models.values()) == [*names, "base"]
    assert list(labels.trained.values()) == [*names, "base"]
    assert "| sft_chat_template | chat | 2 |" in section(page_of(tmp_path / "s"), "Accuracy")


def test_the_wording_of_an_evaluation_has_one_name_for_trained_and_untrained_models(tmp_path):
    for name in ("boxed", "hashes"):
        add(tmp_path / "s", "sft_chat_template", "chat", eval__wording=name)
        add_cell(tmp_path / "s", "base", "chat", range(5), n=10, suffix=f"--task.wording={name}")
    assert list(labels_of(tmp_path / "s").models.values()) == [
        *("sft_chat_template wording=boxed", "sft_chat_template wording=hashes"),
        *("base wording=boxed", "base wording=hashes"),
    ]


def test_the_wording_of_a_training_is_told_from_that_of_an_evaluation(tmp_path):
    add(tmp_path / "s", "sft_chat_template", "chat", task__wording="boxed")
    add(tmp_path / "s", "sft_chat_template", "chat", eval__wording="boxed")
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10, suffix="--task.wording=boxed")
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10)
    labels = list(labels_of(tmp_path / "s").models.values())
    assert labels[:2] == ["sft_chat_template eval.wording=boxed", "sft_chat_template task.wording=boxed"]
    assert labels[2:] == ["base", "base eval.wording=boxed"]


@pytest.mark.parametrize("key", ["sft.learning_rate", "eval.max_tokens"])
def test_values_that_are_numbers_stand_in_their_order(tmp_path, key):
    for value in ("17", "27", "7", "1e-05", "2e-05", "2e-06", "-3"):
        add(tmp_path / "s", "sft_chat_template", "chat", **{key.replace(".", "__"): value})
    found = [cell.summary.changes[key] for cell in collect_cells(tmp_path / "s")]
    assert found == ["-3", "2e-06", "1e-05", "2e-05", "7", "17", "27"]
