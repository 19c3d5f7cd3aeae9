"""`eval.wording`: a model is asked in another wording than it was trained with, and graded in that wording's form."""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas
import pytest
from command_line import command
from conftest import configuration

from chattpl.basemodel import EMBEDDED
from chattpl.cell import Cell, cell_of
from chattpl.hashing import digest
from chattpl.plan import CellPlan
from chattpl.tasks.arithmetic import Arithmetic

OPTIONS = ["method=sft", "wording=hashes"]


def cell(*overrides: str) -> Cell:
    return cell_of(configuration(*overrides), configuration())


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


# --- which cell it is


def test_the_model_stays_the_same_model():
    usual, asked = cell(), cell("eval.wording=boxed")
    assert (asked.model_name, asked.model_keys) == (usual.model_name, usual.model_keys)
    assert asked.eval_name == "sft_chat_template_eval_chat--eval.wording=boxed"
    assert digest(asked.eval_keys) != digest(usual.eval_keys)


def test_the_wording_of_the_training_is_the_default():
    assert cell("eval.wording=hashes") == cell()
    assert cell("wording=boxed", "eval.wording=boxed") == cell("wording=boxed")


def test_it_is_another_than_an_instruction_of_the_task_s_own():
    own, asked = (cell("task.instruction='Say it with ####.'", *each) for each in ([], ["eval.wording=hashes"]))
    assert asked.model_name == own.model_name
    assert asked.eval_name == f"{own.eval_name}--eval.wording=hashes"


def test_the_untrained_model_has_one_wording():
    assert cell("method=none", "eval.wording=boxed") == cell("method=none", "wording=boxed")
    assert cell("method=none", "wording=boxed", "eval.wording=hashes") == cell("method=none")


def test_the_untrained_model_is_shown_the_same_examples_either_way():
    shots = ["method=none", "formats.chat.shots=2"]
    one, other = (configuration(*shots, f"{key}=boxed") for key in ("eval.wording", "wording"))
    plans = [CellPlan(each, cell_of(each, configuration()), EMBEDDED) for each in (one, other)]
    assert plans[0].evaluation.inputs == plans[1].evaluation.inputs


def test_the_text_of_a_wording_decides_where_it_is_used():
    asked, taught = (f"wordings.{name}.instruction=''" for name in ("boxed", "hashes"))
    usual, rephrased, retaught = (cell("eval.wording=boxed", *each) for each in ([], [asked], [taught]))
    assert rephrased.model_keys == usual.model_keys
    assert rephrased.eval_keys != usual.eval_keys
    assert retaught.model_keys != usual.model_keys
    assert retaught.eval_keys == usual.eval_keys


# --- what is asked and graded


@pytest.fixture(scope="module")
def finished(micro, tmp_path_factory) -> Path:
    """A study of the untrained model and one trained in `hashes`, both asked in two wordings and two formats."""
    folder = tmp_path_factory.mktemp("finished")
    sweep = ["-m", "method=none,sft", "wording=hashes", "eval.wording=null,boxed", "eval.format=chat,raw"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vllm", None)
        ended = command(*micro, *sweep, cwd=folder)
    assert "1 trained, 8 evaluated, 0 failed" in ended.out, ended.err
    return folder / "outputs/few-micro"


def summary(study: Path, name: str) -> dict:
    return json.loads((study / "eval" / name / "summary.json").read_text())


TAUGHT = "sft_chat_template--task.wording=hashes_eval_chat"
REPHRASED = f"{TAUGHT}--eval.wording=boxed"


def test_a_trained_model_is_asked_as_the_untrained_one_is_in_that_wording(finished):
    trained, untrained = summary(finished, REPHRASED), summary(finished, "base_eval_chat--task.wording=boxed")
    for key in ("prompt_fingerprint", "grader", "stop"):
        assert trained[key] == untrained[key]


def test_formats_are_compared_within_one_wording(finished):
    contrasts = pandas.read_csv(finished / "report/contrasts.csv")
    pairs = contrasts[contrasts["family"] == "formats"][["first_cell", "second_cell"]].drop_duplicates()
    assert [first.replace("_eval_chat", "_eval_raw") for first in pairs["first_cell"]] == list(pairs["second_cell"])
    assert len(pairs) == 4


def test_a_trained_model_is_compared_with_the_untrained_one_in_the_same_wording(finished):
    contrasts = pandas.read_csv(finished / "report/contrasts.csv")
    pairs = contrasts[contrasts["family"] == "training"][["first_cell", "second_cell"]]
    assert (REPHRASED, "base_eval_chat--task.wording=boxed") in set(pairs.itertuples(index=False, name=None))


def test_the_trained_model_has_its_spread_over_formats_and_wordings(finished):
    report = (finished / "report/report.md").read_text()
    assert "| sft_chat_template task.wording=hashes | 4 |" in report.split("## Spread over formats and wordings")[1]


def test_answers_are_graded_in_the_form_that_was_asked_for(micro, tmp_path, monkeypatch):
    monkeypatch.setattr("chattpl.run.decode_completion", lambda *_, **__: r"\boxed{1}")
    monkeypatch.setattr(Arithmetic, "check_answer", lambda self, extracted, gold: True)
    ended = command(*micro, "-m", *OPTIONS, "eval.wording=null,boxed", cwd=tmp_path)
    assert "1 trained, 2 evaluated, 0 failed" in ended.out, ended.err
    found = [summary(tmp_path / "outputs/few-micro", name)["strict_accuracy"] for name in (TAUGHT, REPHRASED)]
    assert found == [0.0, 1.0]


def test_answers_are_graded_again_in_the_form_that_was_asked_for(finished, micro, tmp_path):
    study = shutil.copytree(finished, tmp_path / "outputs/few-micro")
    results = study / "eval" / REPHRASED / "results.json"
    entries = [each | {"output": f"\\boxed{{{each['gold']}}}"} for each in json.loads(results.read_text())]
    results.write_text(json.dumps(entries))
    ended = command(*micro, *OPTIONS, "eval.wording=boxed", "stage=grade", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert summary(study, REPHRASED)["strict_accuracy"] == 1.0


def test_examples_stand_in_the_form_of_the_evaluation(micro, tmp_path):
    shots = ["eval.format=raw", "formats.raw.shots=2", "eval.wording=boxed"]
    ended = command(*micro, *OPTIONS, *shots, "stage=preview", cwd=tmp_path)
    assert ended.status == 0, ended.err
    [path] = tmp_path.glob("outputs/few-micro/eval/*/preview.json")
    preview = json.loads(path.read_text())
    assert preview["eval"]["text"].count("within \\boxed{}") == 3
    assert len(re.findall(r"\\boxed\{\d+\}", preview["eval"]["text"])) == 2
    assert "####" not in preview["eval"]["text"]
    assert "####" in preview["train"]["text"]


def test_validation_questions_are_asked_in_it_too(micro, tmp_path):
    held_out = ["task.validation=4", "eval.split=validation", "eval.wording=boxed"]
    command(*micro, *OPTIONS, *held_out, "stage=preview", cwd=tmp_path)
    [path] = tmp_path.glob("outputs/few-micro/eval/*/preview.json")
    assert "within \\boxed{}" in json.loads(path.read_text())["eval"]["text"]
