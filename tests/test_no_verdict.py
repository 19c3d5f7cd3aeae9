"""A grader of one's own that says neither right nor wrong: one line, and nothing that was computed is lost."""

import json
import sys
from pathlib import Path

import pytest
from command_line import command

from chattpl.tasks import loading

TASK = """
from chattpl.tasks.arithmetic import Arithmetic

class Silent(Arithmetic):
    def name(self):
        return "silent"

    def extract_answer(self, model_output):
        return model_output

    def check_answer(self, extracted, gold):
        return VERDICT
"""


@pytest.fixture
def returning(micro, tmp_path, monkeypatch):
    """Options for a task whose `check_answer` returns an expression."""
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.syspath_prepend(tmp_path)
    loading._made.cache_clear()

    def options(expression: str) -> list[str]:
        (tmp_path / "silent_task.py").write_text(TASK.replace("VERDICT", expression))
        return [*micro, "task._target_=silent_task.Silent", "task.name=silent"]

    yield options
    sys.modules.pop("silent_task", None)


@pytest.mark.parametrize(("expression", "told"), [("None", "None"), ("len(gold) and 1", "1")])
def test_an_evaluation_without_verdicts_says_what_was_returned_and_keeps_the_answers(
    returning, tmp_path, expression, told
):
    ended = command(*returning(expression), "method=none", cwd=tmp_path)
    (error,) = [line for line in ended.err.splitlines() if "error:" in line]
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert f"error: task silent: check_answer returned {told} where " in error
    assert error.endswith(" is right; it must return True or False")
    (answers,) = Path(tmp_path, "outputs").rglob("answers.jsonl")
    assert sum(len(json.loads(line)["answers"]) for line in answers.read_text().splitlines()) == 8


def test_a_reward_that_is_no_verdict_is_refused_in_one_line(returning, tmp_path):
    ended = command(*returning("None"), "method=grpo", "grpo.max_steps=1", "stage=train", cwd=tmp_path)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "task silent: check_answer returned None where " in ended.err
