"""The cells as logs of inspect_ai, read back with its own reader."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from command_line import command
from test_report import add_cell

from chattpl.errors import UserError
from chattpl.report import write_report
from chattpl.report.settings import ReportConfig
from chattpl.results import Answer, Grading, Result

installed = pytest.mark.skipif(
    importlib.util.find_spec("inspect_ai") is None, reason="needs pip install 'chattpl[inspect]'"
)
SETTINGS = ReportConfig(["formats"], inspect=True)
LONE_SURROGATE = "\ud800"


@pytest.fixture
def study(tmp_path) -> Path:
    rules = {"first": range(7)}
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10, rules=rules)
    add_cell(tmp_path / "s", "sft_no_chat_mask_q", "raw", range(8), n=10, rules=rules)
    return tmp_path / "s"


def log_of(study: Path, cell: str):
    from inspect_ai.log import read_eval_log

    return read_eval_log(str(study / "eval" / cell / "cell.eval"))


def rewrite(study: Path, cell: str, **changes) -> None:
    """Other fields for the first result of a cell."""
    path = study / "eval" / cell / "results.json"
    results = json.loads(path.read_text())
    results[0] |= changes
    path.write_text(json.dumps(results))


@installed
def test_the_viewer_finds_a_log_of_every_cell(study):
    from inspect_ai.log import list_eval_logs

    write_report(study, SETTINGS)
    names = sorted(Path(each.name).parent.name for each in list_eval_logs(str(study / "eval")))
    assert names == ["base_eval_chat", "sft_no_chat_mask_q_eval_raw"]


@installed
def test_a_log_holds_questions_answers_and_gold_answers(study):
    write_report(study, SETTINGS)
    log = log_of(study, "base_eval_chat")
    sample = log.samples[3]
    assert (log.status, len(log.samples)) == ("success", 10)
    assert (sample.id, sample.epoch, sample.input, sample.target) == (3, 1, "3 + 1?", "4")
    assert sample.output.completion == "#### 4"
    assert sample.output.stop_reason == "stop"
    assert sample.output.usage.output_tokens == 9


@installed
def test_a_log_has_a_score_for_every_grading_rule(study):
    write_report(study, SETTINGS)
    log = log_of(study, "base_eval_chat")
    assert {rule: score.value for rule, score in log.samples[6].scores.items()} == {
        "committed": "I",
        "strict": "I",
        "first": "C",
    }
    assert log.samples[6].scores["committed"].answer == "7"
    accuracies = {score.name: score.metrics["accuracy"].value for score in log.results.scores}
    assert accuracies == {"committed": 0.5, "strict": 0.5, "first": 0.7}


@installed
def test_a_log_says_which_cell_it_is(study):
    write_report(study, SETTINGS)
    spec = log_of(study, "sft_no_chat_mask_q_eval_raw").eval
    assert (spec.model, spec.task, spec.metadata["train_masking"]) == (
        "chattpl/sft_no_chat_mask_q",
        "arithmetic in raw",
        "answer",
    )


@installed
def test_several_answers_to_a_question_are_epochs(study):
    answer = Grading(
        **vars(Answer(output="no", stop_reason="length", completion_tokens=2, fits=True)),
        **{"extracted": None, "correct": False, "strict": False, "rules": {"committed": False}, "run_on": False},
    )
    first = json.loads((study / "eval/base_eval_chat/results.json").read_text())[0]
    kept = {key: value for key, value in first.items() if key not in ("index", "question", "gold", "answers")}
    rewrite(study, "base_eval_chat", answers=[kept, answer.to_json()])
    assert (
        len(Result.from_json(json.loads((study / "eval/base_eval_chat/results.json").read_text())[0]).gradings()) == 2
    )
    write_report(study, SETTINGS)
    of_first = [each for each in log_of(study, "base_eval_chat").samples if each.id == 0]
    assert [(each.epoch, each.output.stop_reason) for each in of_first] == [(1, "stop"), (2, "max_tokens")]


@installed
def test_a_thought_is_told_apart_from_the_answer(study):
    rewrite(study, "base_eval_chat", thought="Let me see.")
    write_report(study, SETTINGS)
    content = log_of(study, "base_eval_chat").samples[0].output.message.content
    assert [each.type for each in content] == ["reasoning", "text"]
    assert content[0].reasoning == "Let me see."


@installed
def test_text_that_is_no_utf_8_is_written(study):
    rewrite(study, "base_eval_chat", output=LONE_SURROGATE, question=f"{LONE_SURROGATE}?")
    write_report(study, SETTINGS)
    assert log_of(study, "base_eval_chat").samples[0].output.completion == r"\ud800"


@installed
def test_a_log_is_written_again_only_where_its_cell_is_newer(study):
    write_report(study, SETTINGS)
    paths = {name: study / "eval" / name / "cell.eval" for name in ("base_eval_chat", "sft_no_chat_mask_q_eval_raw")}
    for path in paths.values():
        os.utime(path, (2e9, 2e9))
    os.utime(study / "eval/base_eval_chat/summary.json", (2.1e9, 2.1e9))
    write_report(study, SETTINGS)
    assert [path.stat().st_mtime == 2e9 for path in paths.values()] == [False, True]


@installed
def test_a_cell_without_readable_results_has_no_log(study):
    (study / "eval/base_eval_chat/results.json").write_text("{")
    write_report(study, SETTINGS)
    assert not (study / "eval/base_eval_chat/cell.eval").exists()
    assert (study / "eval/sft_no_chat_mask_q_eval_raw/cell.eval").exists()


def test_without_the_setting_no_log_is_written(study):
    write_report(study)
    assert list(study.glob("eval/*/*.eval")) == []


def test_without_inspect_ai_the_setting_is_a_user_error(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(UserError, match=r"^report\.inspect=true: inspect_ai is not installed: pip install [^\n]*$"):
        write_report(study, SETTINGS)
    assert not (study / "report").exists()


def test_without_inspect_ai_the_report_that_is_there_stays_as_it_is(study, monkeypatch):
    write_report(study)
    before = {path: path.stat().st_mtime_ns for path in (study / "report").iterdir()}
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    ended = command("stage=report", "report.inspect=true", f"output_root={study.parent}", "study=s", cwd=study)
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert {path: path.stat().st_mtime_ns for path in (study / "report").iterdir()} == before


def test_without_inspect_ai_nothing_is_begun(micro, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    ended = command(*micro, "method=none", "report.inspect=true", cwd=tmp_path)
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert not list(tmp_path.glob("outputs/*/eval/*"))


@installed
def test_the_command_writes_the_log_of_a_finished_cell(micro, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    ended = command(*micro, "method=none", "report.inspect=true", cwd=tmp_path)
    assert ended.status == 0, ended.err
    log = log_of(tmp_path / "outputs/few-micro", "base_eval_chat")
    assert (len(log.samples), log.eval.dataset.name) == (8, "few")


@installed
def test_grading_again_leaves_no_log_of_the_grades_before(micro, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    command(*micro, "method=none", "report.inspect=true", cwd=tmp_path)
    ended = command(*micro, "method=none", "stage=grade", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert not (tmp_path / "outputs/few-micro/eval/base_eval_chat/cell.eval").exists()
