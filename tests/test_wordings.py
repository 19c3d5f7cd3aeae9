"""The form of an answer has one place: what is asked for, what SFT teaches and what strict accuracy wants agree."""

import sys

import pytest
from command_line import command
from conftest import configuration

from chattpl.cell import Cell, cell_of
from chattpl.errors import UserError
from chattpl.hashing import digest
from chattpl.schema import Config
from chattpl.tasks.forms import FORMS
from chattpl.tasks.loading import examples, make_task, train_samples, validation_samples

WORDINGS = tuple(configuration().wordings)


def cell(*overrides: str) -> Cell:
    return cell_of(configuration(*overrides), configuration())


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


@pytest.mark.parametrize("wording", WORDINGS)
def test_what_sft_teaches_is_correct_in_the_form_that_is_asked_for(wording):
    task = configuration(f"wording={wording}").task
    for sample in train_samples(task)[:100]:
        grade = make_task(task).grade(sample.answer, sample.gold)
        assert (grade.correct, grade.strict, grade.run_on) == (True, True, False), sample.answer


@pytest.mark.parametrize("wording", WORDINGS)
def test_an_instruction_names_the_mark_of_its_form(wording):
    chosen: Config = configuration(f"wording={wording}")
    mark = FORMS[chosen.task.form].mark
    assert not mark or mark in chosen.task.instruction


def test_the_group_and_the_dotted_key_are_equal_in_force():
    assert configuration("wording=boxed").task == configuration("task.wording=boxed").task
    assert cell("wording=boxed") == cell("task.wording=boxed")


def test_a_task_s_default_wording_written_out_changes_nothing():
    assert cell("wording=hashes") == cell()


def test_a_wording_shows_in_the_name_and_its_text_does_not():
    assert cell("wording=boxed").model_name == "sft_chat_template--task.wording=boxed"
    assert cell("wording=boxed", "method=none").eval_name == "base_eval_chat--task.wording=boxed"


def test_another_text_of_the_wording_in_use_is_another_cell():
    changed = cell("wordings.hashes.instruction='Write #### and the number.'")
    assert changed.model_name != cell().model_name
    assert digest(changed.model_keys) != digest(cell().model_keys)
    assert cell("wordings.boxed.instruction='Use \\\\boxed{}.'") == cell()


@pytest.mark.parametrize(
    "override",
    ["task.instruction='Put it in \\\\boxed{}.'", "+wordings.mine={instruction: 'Write ####', form: boxed}"],
)
def test_an_instruction_that_asks_for_another_form_is_refused(override):
    with pytest.raises(UserError, match="asks for"):
        configuration(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.wording=boxt", "did you mean 'boxed'"),
        ("eval.wording=boxt", "^eval.wording=boxt: no such value, did you mean 'boxed'[^\n]*$"),
        ("+wordings.mine={form: boxt}", "did you mean 'boxed'"),
        ("+wordings.mine={text: x}", "no such key"),
        ("task.validation=-1", "at least 0"),
        ("eval.split=validate", "did you mean 'validation'"),
    ],
)
def test_what_makes_no_sense_is_refused(override, message):
    with pytest.raises(UserError, match=message):
        configuration(override)


def test_validation_samples_are_the_last_and_are_not_trained_on():
    task = configuration("task.validation=100").task
    held_out, trained, everything = validation_samples(task), train_samples(task), train_samples(configuration().task)
    assert [*trained, *held_out] == everything
    assert len(held_out) == 100


def test_all_that_is_not_held_out_can_be_worked_examples():
    assert len(examples(configuration("task.validation=1998").task, 2)) == 2


@pytest.mark.parametrize(("validation", "left"), [(2000, 0), (1998, 2)])
def test_worked_examples_that_are_held_out_for_validation_are_refused(tmp_path, validation, left):
    options = ("method=none", "eval.split=validation", "eval.format=raw", "formats.raw.shots=3")
    ended = command(*options, f"task.validation={validation}", cwd=tmp_path)
    assert ended.status == 1
    told = f"task arithmetic: has {left} training samples beside the {validation} held out for validation"
    assert f"error: {told}, fewer than the 3 shots" in ended.err


def test_a_training_without_samples_is_refused_where_more_are_held_out_than_there_are():
    with pytest.raises(UserError, match="all training samples are"):
        train_samples(configuration("task.validation=2001").task)


def test_validation_without_samples_is_refused(tmp_path):
    ended = command("eval.split=validation", "method=none", cwd=tmp_path)
    assert ended.status == 1
    assert "task.validation=0: eval.split=validation needs a number between 1 and 2000" in ended.err


def test_the_held_out_samples_decide_the_model_and_the_split_does_not():
    assert cell("task.validation=9").model_name == "sft_chat_template--task.validation=9"
    assert cell("task.validation=9", "eval.split=validation").model_keys == cell("task.validation=9").model_keys
    assert cell("method=none", "task.validation=9") == cell("method=none")
