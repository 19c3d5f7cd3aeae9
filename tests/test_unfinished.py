"""A study that is only partly done says so."""

import io
import shutil

import pytest
from rich.console import Console
from test_report import HOSTILE, add_cell, add_training, page_of, shown

from chattpl.report import print_table, write_report
from chattpl.report.study import Study
from chattpl.report.unfinished import MOST_NAMES

RAW = "sft_chat_template_eval_raw"


@pytest.fixture
def study(tmp_path):
    """Two cells of a model that is trained."""
    for eval_format in ("chat", "raw"):
        add_cell(tmp_path / "s", "sft_chat_template", eval_format, range(5), n=10)
    add_training(tmp_path / "s", "sft_chat_template")
    return tmp_path / "s"


def head(study) -> str:
    return page_of(study).partition("\n## ")[0]


def test_a_finished_study_says_nothing_of_it(study):
    assert "Not finished" not in head(study)


def test_a_cell_without_summary_is_not_finished(study):
    (study / "eval" / RAW / "summary.json").unlink()
    assert f"Not finished: 1 evaluation ({RAW})." in head(study)


@pytest.mark.parametrize(("kind", "words"), [("eval", "1 evaluation"), ("models", "1 training")])
def test_what_is_at_work_is_not_finished(study, kind, words):
    (study / ".work" / kind / "grpo_no_chat--seed=1~01234567").mkdir(parents=True)
    assert f"Not finished: {words} (grpo_no_chat--seed=1)." in head(study)


def test_work_left_behind_by_what_is_finished_now_is_no_work_to_do(study):
    (study / ".work/eval" / f"{RAW}~01234567").mkdir(parents=True)
    (study / ".work/eval" / f"{RAW}~01234567.lock").touch()
    assert "Not finished" not in head(study)


def test_a_model_without_a_cell_is_not_finished(study):
    add_training(study, "grpo_no_chat")
    assert "Not finished: 1 model trained but not evaluated (grpo_no_chat)." in head(study)


def test_of_many_it_says_how_many(study):
    (study / "eval" / RAW / "summary.json").unlink()
    for seed in range(MOST_NAMES + 1):
        (study / f".work/models/grpo_no_chat--seed={seed}~01234567").mkdir(parents=True)
    assert f"Not finished: 1 evaluation ({RAW}) and {MOST_NAMES + 1} trainings." in head(study)


def test_a_hostile_name_is_shown_as_it_is(study):
    (study / "eval" / HOSTILE.replace("/", ".")).mkdir()
    assert f"1 evaluation ({HOSTILE.replace('/', '.')})" in shown(page_of(study))


def test_page_and_terminal_say_so_too(study):
    shutil.copytree(study / "eval" / RAW, study / "eval/grpo_no_chat_eval_raw")
    (study / "eval/grpo_no_chat_eval_raw/summary.json").unlink()
    write_report(study)
    assert "Not finished: 1 evaluation (grpo_no_chat_eval_raw)." in (study / "report/report.html").read_text()
    console = Console(file=io.StringIO(), width=80)
    print_table(Study.read(study), console)
    assert console.file.getvalue().endswith("Not finished: 1 evaluation (grpo_no_chat_eval_raw).\n")
