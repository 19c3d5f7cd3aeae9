"""How far accuracies go over evaluation formats and wordings."""

import numpy
import pytest
from test_report import add_cell, page_of, section

from benchmarks.seeds import Studies
from chattpl.report.spread import spread_over
from chattpl.report.stats import difference_interval, mean_interval

TITLE = "Spread over formats and wordings"


def prompts(*accuracies: float, n: int = 100) -> numpy.ndarray:
    return numpy.array([[[1.0] * round(a * n) + [0.0] * (n - round(a * n))] for a in accuracies])


def test_lowest_median_highest_and_spread_are_those_of_the_prompts():
    found = spread_over(prompts(0.5, 0.2, 0.8, 0.6))
    values = (found.lowest, found.median, found.highest, found.spread)
    assert [value for value, _, _ in values] == pytest.approx([0.2, 0.55, 0.8, 0.6])
    assert all(low <= value <= high for value, low, high in values)


def test_two_prompts_far_apart_have_their_own_intervals():
    values = prompts(0.2, 0.8)
    found = spread_over(values)
    assert found.lowest[1:] == pytest.approx(mean_interval(values[0, 0]))
    assert found.highest[1:] == pytest.approx(mean_interval(values[1, 0]))
    assert found.spread[1:] == pytest.approx(difference_interval(values[1, 0], values[0, 0]))


def test_of_many_prompts_the_highest_of_all_has_to_be_lower_than_it_looks():
    few, many = spread_over(prompts(0.5, 0.6)), spread_over(prompts(*[0.5] * 9, 0.6))
    assert many.highest[1] < few.highest[1]
    assert many.highest[2] == pytest.approx(few.highest[2])


def test_prompts_that_are_all_the_same_have_no_spread():
    assert spread_over(prompts(0.5, 0.5, 0.5)).spread[:2] == (0, 0)


@pytest.mark.parametrize("accuracies", [[0.5, 0.5, 0.5], [0.4, 0.5, 0.6]])
def test_the_intervals_over_prompts_cover_at_least_95_percent(accuracies):
    assert min(Studies(500, seed=1).ranges(200, accuracies).values()) > 0.915


def test_a_model_in_two_formats_and_one_wording_has_no_spread_to_report(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(40))
    add_cell(tmp_path / "s", "base", "raw", range(40))
    assert TITLE not in page_of(tmp_path / "s")


def test_a_model_in_three_formats_has_its_range_in_the_report(tmp_path):
    for eval_format, right in (("chat", 40), ("raw", 60), ("mine", 20)):
        add_cell(tmp_path / "s", "base", eval_format, range(right))
    found = section(page_of(tmp_path / "s"), TITLE)
    assert "| base | 3 | 20.0 [" in found
    assert "| mine | raw |" in found
    assert "| base | 20.0 / 40.0 / 60.0 | 20.0 / 40.0 / 60.0 |" in found


IN_HASHES = {"inputs": {"task.wording": "hashes"}}


def test_wordings_are_prompts_too(tmp_path):
    for eval_format, right in (("chat", 40), ("raw", 60)):
        add_cell(tmp_path / "s", "base", eval_format, range(right), **IN_HASHES)
        add_cell(tmp_path / "s", "base", eval_format, range(right + 10), suffix="--task.wording=boxed")
    found = section(page_of(tmp_path / "s"), TITLE)
    assert "| base | 4 | 40.0 [" in found
    assert "| chat, hashes | raw, boxed |" in found


def test_a_changed_text_is_no_longer_called_by_its_wording(tmp_path):
    text, changed = {"wordings.hashes.instruction": "Write ####."}, {"task.instruction": "Say it."}
    for right, changes in ((40, {}), (50, text), (60, changed)):
        add_cell(
            tmp_path / "s", "base", "chat", range(right), suffix=f"--{right}" if changes else "",
            changes=changes, inputs={**IN_HASHES["inputs"], **changes},
        )  # fmt: skip
    assert "| chat, hashes | chat, own instruction |" in section(page_of(tmp_path / "s"), TITLE)


def test_a_trained_model_that_was_asked_in_several_wordings_is_one_model(tmp_path):
    add_cell(tmp_path / "s", "grpo_no_chat", "chat", range(60), **IN_HASHES)
    for right, name in ((40, "none"), (50, "boxed")):
        add_cell(tmp_path / "s", "grpo_no_chat", "chat", range(right), suffix=f"--eval.wording={name}")
    found = section(page_of(tmp_path / "s"), TITLE)
    assert "| grpo_no_chat | 3 | 40.0 [" in found
    assert "| chat, none | chat, hashes |" in found


def test_a_model_that_was_trained_with_another_wording_is_another_model(tmp_path):
    for suffix, right in (("", 20), ("--eval.wording=boxed", 30), ("--eval.wording=none", 40)):
        add_cell(tmp_path / "s", "sft_mine", "chat", range(right), suffix=suffix)
        add_cell(
            tmp_path / "s", "sft_mine--task.wording=number", "chat", range(right + 30), suffix=suffix,
            inputs={"task.wording": "number"} if not suffix else {"eval.wording": suffix.partition("=")[2]},
        )  # fmt: skip
    found = section(page_of(tmp_path / "s"), TITLE)
    assert "| sft_mine | 3 | 20.0 [" in found
    assert "| sft_mine task.wording=number | 3 | 50.0 [" in found


def test_a_row_is_not_called_by_one_of_its_wordings(tmp_path):
    for name in ("none", "boxed", "number"):
        add_cell(tmp_path / "s", "grpo_no_chat", "chat", range(40), suffix=f"--eval.wording={name}")
    assert "| grpo_no_chat | 3 |" in section(page_of(tmp_path / "s"), TITLE)


def test_another_change_is_no_prompt(tmp_path):
    for eval_format in ("chat", "raw"):
        add_cell(tmp_path / "s", "base", eval_format, range(40))
        add_cell(tmp_path / "s", "base", eval_format, range(50), suffix="--eval.max_tokens=64")
    assert TITLE not in page_of(tmp_path / "s")
