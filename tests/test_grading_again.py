"""Grading apart from answering: a changed grader grades the kept answers again and generates nothing."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import command

from chattpl.tasks import loading
from chattpl.tasks.arithmetic import Arithmetic


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


@pytest.fixture
def another_grader(monkeypatch):
    """A grader to which every answer is right; its code is told apart like any other."""

    def change():
        monkeypatch.setattr(Arithmetic, "check_answer", lambda self, extracted, gold: bool(extracted))
        monkeypatch.setattr(Arithmetic, "extract_answer", lambda self, output: output or None)
        loading._made.cache_clear()

    yield change
    monkeypatch.undo()
    loading._made.cache_clear()


@pytest.fixture(scope="module")
def finished(micro, tmp_path_factory) -> Path:
    """A folder in which the untrained model and a GRPO model are evaluated."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vllm", None)
        ended = command(*micro, "-m", "method=none,grpo", "grpo.max_steps=1", cwd=folder)
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture
def study(finished, tmp_path) -> Path:
    shutil.copytree(finished / "outputs", tmp_path / "outputs")
    return tmp_path


def summary(folder: Path, name: str = "base_eval_chat") -> dict:
    return json.loads((folder / f"outputs/few-micro/eval/{name}/summary.json").read_text())


def outputs(folder: Path) -> list[str]:
    results = json.loads((folder / "outputs/few-micro/eval/base_eval_chat/results.json").read_text())
    return [entry["output"] for entry in results]


def test_a_changed_grader_grades_again_and_says_so(micro, study, another_grader):
    before, answers = summary(study), outputs(study)
    another_grader()
    ended = command(*micro, "method=none", cwd=study)
    assert ended.status == 0, ended.err
    assert "the grader changed" in ended.out
    assert "0 trained, 0 evaluated, 1 graded again, 0 failed" in ended.out
    assert summary(study)["accuracy"] == 1.0
    assert summary(study)["seconds"] == before["seconds"]
    assert outputs(study) == answers


def test_what_was_graded_again_is_not_graded_a_third_time(micro, study, another_grader):
    another_grader()
    command(*micro, "method=none", cwd=study)
    assert "0 trained, 0 evaluated, 0 failed" in command(*micro, "method=none", cwd=study).out


def test_grading_needs_neither_weights_nor_an_engine(micro, study, another_grader, monkeypatch):
    another_grader()
    monkeypatch.setattr("chattpl.generation.pool.start_engines", lambda *_: pytest.fail("an engine was started"))
    ended = command(*micro, "-m", "stage=grade", "method=none,grpo", "grpo.max_steps=1", cwd=study)
    assert ended.status == 0, ended.err
    assert "0 trained, 0 evaluated, 2 graded again, 0 failed" in ended.out


def test_grading_what_was_never_asked_is_refused(micro, tmp_path):
    ended = command(*micro, "stage=grade", "method=none", cwd=tmp_path)
    assert ended.status == 1
    assert "has no answers yet" in ended.err


def test_a_model_whose_reward_changed_is_another_model(micro, study, another_grader):
    another_grader()
    ended = command(*micro, "method=grpo", "grpo.max_steps=1", cwd=study)
    assert ended.status == 1
    assert "reward:" in ended.err


def test_a_model_that_was_not_rewarded_is_the_same_under_another_grader(micro, tmp_path, another_grader):
    assert command(*micro, "sft.max_steps=1", cwd=tmp_path).status == 0
    another_grader()
    assert "0 trained, 0 evaluated, 1 graded again" in command(*micro, "sft.max_steps=1", cwd=tmp_path).out
