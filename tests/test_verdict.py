"""The contrasts of made-up studies under several grading rules and with several answers, and what is said of them."""

import json
import re
import sys
from pathlib import Path

import pandas
import pytest
from command_line import command
from test_report import HOSTILE, add_cell, page_of, section, shown

from chattpl.report import write_report
from chattpl.report.collect import collect_cells
from chattpl.report.contrasts import compare_formats
from chattpl.report.families import FAMILIES

FORMATS = FAMILIES["formats"].title


def add_model(study: Path, model: str, **rules: tuple[range, range]) -> Path:
    """A model in chat and raw; by rule the questions of 100 that are right in each. `committed` is one of them."""
    for place, eval_format in enumerate(("chat", "raw")):
        chosen = {rule: both[place] for rule, both in rules.items()}
        add_cell(study, model, eval_format, chosen.pop("committed"), rules=chosen)
    return study


def add_sampled(study: Path, eval_format: str, right: list[int], samples: int) -> Path:
    """The base model; `right` of the `samples` answers to each question are right."""
    folder = add_cell(study, "base", eval_format, range(0), n=len(right), num_samples=samples)
    path = folder / "results.json"
    results = json.loads(path.read_text())
    for result, count in zip(results, right, strict=True):
        verdicts = [{"correct": i < count, "rules": {"committed": i < count, "strict": False}} for i in range(samples)]
        result["answers"] = [{**result, **each} for each in verdicts]
    path.write_text(json.dumps(results))
    return folder


def said(study: Path) -> str:
    """The sentences on the formats."""
    return "\n".join(line for line in section(page_of(study), FORMATS).splitlines() if line.startswith("* Model"))


def claims(sentence: str) -> bool:
    return bool(re.search(r"beats|ahead", sentence))


# Grading rules


def test_a_format_that_is_better_under_every_rule_beats_the_other(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=(range(60), range(20)))
    assert "chat beats raw by 30.0 points" in said(tmp_path / "s")
    assert "no other grading rule contradicts" in said(tmp_path / "s")


@pytest.mark.parametrize("other", [(range(20), range(60)), (range(40), range(46))])
def test_where_another_rule_says_the_opposite_no_format_is_said_to_beat_the_other(tmp_path, other):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=other)
    assert not claims(said(tmp_path / "s"))
    assert "which of chat and raw is higher depends on the grading rule" in said(tmp_path / "s")


def test_the_rules_that_disagree_are_named_with_what_they_say(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=(range(20), range(60)))
    assert "chat is higher under committed (by 30.0*) and strict (by 30.0*)" in said(tmp_path / "s")
    assert "raw is higher under last_box (by 40.0*)" in said(tmp_path / "s")


def test_a_difference_that_the_default_rule_alone_does_not_show_depends_on_the_rule(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(52), range(50)), last_number=(range(70), range(40)))
    assert not claims(said(tmp_path / "s"))
    assert (
        "whether the difference between chat and raw is significant depends on the grading rule: chat is higher under"
        " committed (by 2.0), strict (by 2.0) and last_number (by 30.0*)"
    ) in said(tmp_path / "s")


def test_a_rule_that_does_not_read_one_side_leaves_the_sign_open_to_no_doubt(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=(range(1), range(30)))
    assert not claims(said(tmp_path / "s"))
    assert "depends on whether a grading rule reads the form of their answers: chat is higher" in said(tmp_path / "s")


def test_a_difference_of_five_questions_contradicts_nothing(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=(range(1), range(6)))
    assert "chat beats raw by 30.0 points" in said(tmp_path / "s")


def test_a_rule_without_a_right_answer_has_no_say_and_is_named(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=(range(0), range(0)))
    assert "chat beats raw" in said(tmp_path / "s")
    assert "(neither has a right answer under last_box)" in said(tmp_path / "s")
    assert "| base | chat against raw | +30.0* | +30.0* | \N{EN DASH} |" in section(page_of(tmp_path / "s"), FORMATS)


def test_a_model_without_any_right_answer_shows_no_difference(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(0), range(0)))
    assert "no difference between chat and raw can be told apart from chance" in said(tmp_path / "s")
    assert "(neither has a right answer under committed and strict)" in said(tmp_path / "s")


def test_rules_that_disagree_within_chance_claim_nothing(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(52), range(50)), last_box=(range(20), range(26, 52)))
    assert "no difference between chat and raw can be told apart from chance" in said(tmp_path / "s")


def test_contrasts_csv_has_a_row_for_each_contrast_and_rule(tmp_path):
    study = tmp_path / "s"
    add_model(study, "base", committed=(range(80), range(50)), last_box=(range(20), range(60)))
    add_model(study, "sft_chat_template", committed=(range(10), range(30)))
    write_report(study)
    frame = pandas.read_csv(study / "report/contrasts.csv")
    assert list(frame.columns) == [
        *("family", "group", "first", "second", "first_cell", "second_cell", "rule", "n", "accuracy_first"),
        *("accuracy_second", "difference", "ci_low", "ci_high", "only_first", "only_second", "p", "p_holm"),
        *("detectable", "seeds", "seed_sd", "bootstrap_low", "bootstrap_high"),
    ]
    rows = frame[frame["family"] == "formats"].set_index(["group", "rule"])
    assert list(rows.index) == [
        *(("sft_chat_template", "committed"), ("sft_chat_template", "strict")),
        *(("base", "committed"), ("base", "strict"), ("base", "last_box")),
    ]
    row = rows.loc[("base", "last_box")]
    assert (row["n"], row["accuracy_first"], row["accuracy_second"], row["difference"]) == (100, 0.2, 0.6, -0.4)
    assert (row["only_first"], row["only_second"]) == (0, 40)


def test_holms_adjustment_is_over_the_contrasts_under_one_rule(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(58), range(50)), last_box=(range(58), range(50)))
    add_model(tmp_path / "s", "sft_chat_template", committed=(range(60), range(52)))
    for contrast in compare_formats(collect_cells(tmp_path / "s")):
        for rule, found in contrast.by_rule.items():
            assert found.p_holm == pytest.approx(found.p * (1 if rule == "last_box" else 2))


def test_a_study_without_contrasts_has_an_empty_table_of_them(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(20))
    write_report(tmp_path / "s")
    assert len(pandas.read_csv(tmp_path / "s/report/contrasts.csv")) == 0


def test_every_cell_has_its_accuracy_under_every_rule_on_the_page_and_in_comparison_csv(tmp_path):
    study = add_model(tmp_path / "s", "base", committed=(range(80), range(50)), last_box=(range(20), range(60)))
    add_cell(study, "sft_chat_template", "chat", range(10))
    write_report(study)
    frame = pandas.read_csv(study / "report/comparison.csv").set_index("cell")
    assert frame["accuracy_last_box"].fillna(-1).to_dict() == {
        **{"sft_chat_template_eval_chat": -1, "base_eval_chat": 0.2, "base_eval_raw": 0.6}
    }
    found = section((study / "report/report.md").read_text(), "Grading rules")
    assert "| base in raw | 50.0 | 50.0 | 60.0 |" in found
    assert "| sft_chat_template in chat | 10.0 | 10.0 | \N{EN DASH} |" in found


def test_the_name_of_a_rule_is_shown_as_it_is(tmp_path):
    add_model(tmp_path / "s", "base", committed=(range(80), range(50)), **{HOSTILE: (range(20), range(60))})
    write_report(tmp_path / "s")
    assert shown((tmp_path / "s/report/report.md").read_text()).count(HOSTILE) == 3


@pytest.mark.parametrize(("n", "approximate"), [(199, True), (200, False)])
def test_with_few_questions_the_report_says_that_intervals_and_tests_are_approximate(tmp_path, n, approximate):
    for eval_format, right in (("chat", 80), ("raw", 50)):
        add_cell(tmp_path / "s", "base", eval_format, range(right), n=n)
    assert ("With fewer than 200 questions these are approximate" in page_of(tmp_path / "s")) == approximate


# Several answers to a question


def test_cells_with_several_answers_to_a_question_are_compared_by_the_questions_means(tmp_path):
    add_sampled(tmp_path / "s", "chat", [4, 3, 2, 1] * 25, 4)
    add_sampled(tmp_path / "s", "raw", [1, 2, 1, 1] * 25, 4)
    found = compare_formats(collect_cells(tmp_path / "s"))[0].by_rule["committed"]
    assert (found.n, found.difference) == (100, 0.3125)
    assert (found.only_first, found.only_second) == (75, 0)
    assert "chat beats raw by 31.2 points" in said(tmp_path / "s")


def test_cells_with_different_numbers_of_answers_are_compared(tmp_path):
    add_sampled(tmp_path / "s", "chat", [6, 8, 2, 0] * 25, 8)
    add_cell(tmp_path / "s", "base", "raw", range(50))
    found = compare_formats(collect_cells(tmp_path / "s"))[0].by_rule["committed"]
    assert (found.accuracy_first, found.accuracy_second, found.difference) == (0.5, 0.5, 0.0)


def test_pass_at_k_stands_on_the_page_with_its_interval(tmp_path):
    ends = {1: [0.2, 0.3], 4: [0.5, 0.625]}
    add_cell(tmp_path / "s", "base", "chat", range(25), num_samples=4, pass_at_k={1: 0.25, 4: 0.55}, pass_at_k_ci=ends)
    add_cell(tmp_path / "s", "base", "raw", range(25))
    found = shown(section(page_of(tmp_path / "s"), "Accuracy"))
    assert "pass@1 pass@4 base in chat 4 25.0 [20.0, 30.0] 55.0 [50.0, 62.5]" in found


def test_a_sweep_that_samples_several_answers_ends_in_a_report_that_compares_them(micro, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    sampling = ["eval.num_samples=4", "eval.temperature=1", "eval.max_tokens=64"]
    ended = command(*micro, "model=tiny", "-m", "method=none", "eval.format=chat,raw", *sampling, cwd=tmp_path)
    assert ended.status == 0, ended.err
    study = tmp_path / "outputs/few-tiny"
    [path] = study.glob("eval/base_eval_chat--*/summary.json")
    summary = json.loads(path.read_text())
    assert (summary["n"], summary["num_answers"]) == (8, 32)
    rows = pandas.read_csv(study / "report/contrasts.csv")
    assert set(rows["rule"]) == set(summary["accuracy_by_rule"])
    assert set(rows["n"]) == {8}
