"""What is tested in a study: the declared families, seeds taken together, and what is said of them."""

import itertools
import json
import math

import numpy
import pandas
import pytest
from command_line import command
from conftest import configuration
from test_report import TRAININGS, add_cell, page_of, section

from chattpl.report import write_report
from chattpl.report.brief import brief
from chattpl.report.collect import collect_cells
from chattpl.report.families import FAMILIES
from chattpl.report.findings import Findings, find
from chattpl.report.settings import FAMILIES as NAMES
from chattpl.report.settings import ReportConfig
from chattpl.report.study import Study

TRAINING = FAMILIES["training"].title
MATCHED = FAMILIES["matched"].title
INTERACTION = FAMILIES["interaction"].title
RAW = "eval/sft_chat_template_eval_raw/results.json"


@pytest.fixture
def study(tmp_path):
    """Each of two trainings is better in its own format; the untrained model is in between."""
    for model, in_chat, in_raw in (("sft_chat_template", 80, 50), ("sft_no_chat_mask_q", 40, 70), ("base", 60, 58)):
        add_cell(tmp_path / "s", model, "chat", range(in_chat))
        add_cell(tmp_path / "s", model, "raw", range(in_raw))
    return tmp_path / "s"


def add_seeds(study, model: str, eval_format: str, rights: list[range]) -> None:
    for seed, right in enumerate(rights):
        name = f"{model}--seed={seed}" if seed else model
        TRAININGS[name] = TRAININGS[model]
        add_cell(study, model if not seed else name, eval_format, right, seed=seed)


def found_in(study, *families: str) -> Findings:
    return find(collect_cells(study), ReportConfig(list(families), inspect=False))


def named(found: Findings) -> list[tuple[str, str, str]]:
    return [(contrast.group, contrast.first, contrast.second) for contrast in found.contrasts]


# What is declared


def test_the_configuration_declares_the_families_that_there_are():
    assert configuration().report == ReportConfig(list(FAMILIES), inspect=False)
    assert find([]).families == list(FAMILIES)
    assert tuple(FAMILIES) == NAMES


def test_an_unknown_family_is_refused(tmp_path):
    ended = command("report.families=[formats,trainings]", "stage=report", cwd=tmp_path)
    assert ended.err.startswith("error: report.families=trainings: no such value, did you mean 'training'?")
    assert len(ended.err.splitlines()) == 1


def test_the_families_of_the_command_line_are_those_of_the_report(study, tmp_path):
    (tmp_path / "outputs").mkdir()
    study.rename(tmp_path / "outputs/s")
    ended = command("stage=report", "study=s", "report.families=[training]", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert set(pandas.read_csv(tmp_path / "outputs/s/report/contrasts.csv")["family"]) == {"training"}


def test_a_report_reads_no_data_of_the_task(study, tmp_path):
    (tmp_path / "outputs").mkdir()
    study.rename(tmp_path / "outputs/s")
    ended = command("stage=report", "study=s", "task=gsm8k", "task.source=elsewhere", cwd=tmp_path)
    assert ended.status == 0, ended.err


def test_each_trained_model_is_compared_with_the_untrained_one_in_the_same_format(study):
    assert named(found_in(study, "training")) == [
        (eval_format, model, "base")
        for model in ("sft_chat_template", "sft_no_chat_mask_q")
        for eval_format in ("chat", "raw")
    ]


def test_a_model_that_was_asked_otherwise_is_not_compared_with_the_untrained_one(study):
    add_cell(study, "grpo_no_chat", "chat", range(50), suffix="--eval.max_tokens=64")
    assert not any("grpo" in first for _, first, _ in named(found_in(study, "training")))


def test_a_models_own_format_is_compared_with_the_mean_of_the_others(study):
    add_cell(study, "sft_no_chat_mask_q", "mine", range(30, 60))
    groups = named(found_in(study, "matched"))
    assert groups == [
        ("sft_chat_template", "chat", "raw"),
        ("sft_no_chat_mask_q", "raw", "the mean of chat, mine"),
    ]
    contrast = found_in(study, "matched").contrasts[1].by_rule["committed"]
    assert contrast.difference == pytest.approx(0.7 - (0.4 + 0.3) / 2)


def test_the_interaction_is_of_trainings_that_differ_in_their_format_alone(study):
    add_cell(study, "sft_no_chat_full_loss", "chat", range(50))
    add_cell(study, "sft_no_chat_full_loss", "raw", range(50))
    found = found_in(study, "interaction")
    assert named(found) == [("chat less raw", "sft_chat_template", "sft_no_chat_mask_q")]
    assert found.contrasts[0].by_rule["committed"].difference == pytest.approx(0.3 - (-0.3))


def test_contrasts_csv_names_the_cells_that_are_added_and_subtracted(study):
    write_report(study, ReportConfig(["formats", "interaction"], inspect=False))
    frame = pandas.read_csv(study / "report/contrasts.csv").set_index("family")
    row = frame.loc["interaction"].iloc[0]
    assert row["first_cell"] == "sft_chat_template_eval_chat + sft_no_chat_mask_q_eval_raw"
    assert row["second_cell"] == "sft_chat_template_eval_raw + sft_no_chat_mask_q_eval_chat"
    assert frame.loc["formats"].iloc[0]["first_cell"] == "sft_chat_template_eval_chat"


def test_holms_adjustment_is_over_one_family(study):
    tests = {"formats": 3, "training": 4, "matched": 2, "interaction": 1}
    for family, members in itertools.groupby(find(collect_cells(study)).contrasts, lambda each: each.family):
        smallest = min((each.by_rule["committed"] for each in members), key=lambda each: each.p)
        assert smallest.p_holm == pytest.approx(smallest.p * tests[family])


def test_no_test_is_in_a_family_twice(study):
    add_cell(study, "base", "mine", range(30))
    add_cell(study, "sft_chat_template", "mine", range(30))
    tests = [(contrast.family, contrast.test) for contrast in find(collect_cells(study)).contrasts]
    assert len(set(tests)) == len(tests)


def test_a_family_without_a_contrast_says_so(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(20))
    for name in (TRAINING, MATCHED, INTERACTION):
        assert "nothing to compare" in section(page_of(tmp_path / "s"), name)


# Seeds


def test_cells_that_differ_in_their_seed_alone_are_taken_together(tmp_path):
    for eval_format, lowest in (("chat", 60), ("raw", 40)):
        add_seeds(tmp_path / "s", "sft_chat_template", eval_format, [range(lowest + seed) for seed in (0, 1, 4)])
    [contrast] = found_in(tmp_path / "s", "formats").contrasts
    found = contrast.by_rule["committed"]
    assert (contrast.group, found.seeds, found.difference) == ("sft_chat_template", 3, pytest.approx(0.2))


def test_the_untrained_model_stands_for_every_seed(tmp_path):
    add_seeds(tmp_path / "s", "sft_chat_template", "chat", [range(60), range(70), range(80)])
    add_cell(tmp_path / "s", "base", "chat", range(40))
    [contrast] = found_in(tmp_path / "s", "training").contrasts
    found = contrast.by_rule["committed"]
    assert (found.seeds, found.seed_sd) == (3, pytest.approx(0.1))
    assert (found.accuracy_first, found.accuracy_second) == pytest.approx((0.7, 0.4))


def test_only_the_seeds_that_both_have_are_compared(tmp_path):
    add_seeds(tmp_path / "s", "sft_chat_template", "chat", [range(60), range(70), range(80)])
    add_seeds(tmp_path / "s", "sft_chat_template", "raw", [range(40), range(50)])
    assert found_in(tmp_path / "s", "formats").contrasts[0].by_rule["committed"].seeds == 2


def test_trainings_without_a_common_seed_are_not_compared(tmp_path):
    add_seeds(tmp_path / "s", "sft_chat_template", "chat", [range(60), range(70)])
    TRAININGS["sft_chat_template--seed=7"] = TRAININGS["sft_chat_template"]
    add_cell(tmp_path / "s", "sft_chat_template--seed=7", "raw", range(50), seed=7)
    assert "are not compared, because the two have no seed in common" in page_of(tmp_path / "s")


def test_a_change_beside_the_seed_keeps_models_apart(tmp_path):
    add_seeds(tmp_path / "s", "sft_chat_template", "chat", [range(60)])
    other = "sft_chat_template--seed=1--sft.learning_rate=1"
    add_cell(tmp_path / "s", other, "chat", range(50), seed=1)
    assert found_in(tmp_path / "s", "formats").pools == []


@pytest.fixture
def seeds(tmp_path):
    """A model of three seeds beside the untrained one."""
    add_seeds(tmp_path / "s", "sft_chat_template", "chat", [range(50), range(60), range(70)])
    add_cell(tmp_path / "s", "base", "chat", range(40))
    return tmp_path / "s"


def test_accuracies_of_several_seeds_are_said_with_mean_spread_and_interval(seeds):
    page = page_of(seeds)
    found = section(page, "Accuracy")
    assert "| sft_chat_template | chat | 3 | 100 | 60.0 | [3" in found
    assert "| 10.0 | 50.0 | 70.0 |" in found
    assert "| base | chat | 1 | 100 | 40.0 | [30.9, 49.8] | – | – | – | – |" in found
    assert "| sft_chat_template in chat | 60.0 ± 10.0 |" in section(page, "Grading rules")


def test_the_cells_of_several_seeds_are_still_in_a_table(seeds):
    found = section(page_of(seeds), "Cells")
    assert "| sft_chat_template seed=2 | chat/sft/answer | chat | 2 | 70.0 |" in found


def test_the_page_says_how_many_models_there_are_but_for_their_seeds(seeds):
    assert "Cells: 4. Models: 2, with the seeds 0, 1, 2 taken together." in page_of(seeds)


def test_a_study_of_one_seed_has_one_table_of_cells_and_says_what_it_does_not_tell(study):
    page = page_of(study)
    assert "## Cells" not in page
    assert "Each model was trained once, with one seed" in section(page, "In short")
    assert "not what another training would" in section(page, "In short")


def test_with_several_seeds_the_spread_between_them_is_said_in_short(tmp_path):
    add_seeds(tmp_path / "s", "sft_chat_template", "chat", [range(50), range(60), range(70)])
    add_cell(tmp_path / "s", "base", "chat", range(20))
    found = section(page_of(tmp_path / "s"), "In short")
    assert "a standard deviation of 10.0 points" in found
    assert "trained once" not in found


# What is said


def test_a_training_that_helps_beats_the_untrained_model(study):
    said = section(page_of(study), TRAINING)
    assert "Evaluated in chat: sft_chat_template beats base by 20.0 points" in said
    assert "Evaluated in chat: base beats sft_no_chat_mask_q by 20.0 points" in said


def test_where_rules_disagree_no_training_is_said_to_beat_the_untrained_model(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(40), rules={"last_box": range(70)})
    add_cell(tmp_path / "s", "sft_chat_template", "chat", range(80), rules={"last_box": range(0)})
    said = section(page_of(tmp_path / "s"), TRAINING)
    assert "beats" not in said
    assert "base is higher under last_box (by 70.0*, finding no right answer of sft_chat_template)" in said


def test_the_interaction_is_said_in_a_sentence(study):
    said = section(page_of(study), INTERACTION)
    assert "the gap of sft_chat_template exceeds the gap of sft_no_chat_mask_q by 60.0 points [" in said


def test_a_test_that_was_told_is_not_told_again(study):
    assert "* Model" not in section(page_of(study), MATCHED)


def in_short(study) -> str:
    return section(page_of(study), "In short")


def test_in_short_says_whether_the_format_matters_and_which_is_better_for_what(study):
    assert (
        "**Does the format of the prompt matter?** In part: 2 of 3 differences are significant (30.0 points; p < 0.05"
        " after Holm's correction); chat is better than raw for sft_chat_template, raw is better than chat for"
        " sft_no_chat_mask_q."
    ) in in_short(study)


def test_in_short_says_yes_where_each_difference_is_significant(study):
    assert "trained in?** Yes: both differences are significant (30.0 points); its own format is" in in_short(study)
    assert "format of the training?** Yes: the one difference is significant (60.0 points)" in in_short(study)


def test_of_many_formats_it_says_how_often_each_is_better(tmp_path):
    for eval_format, right in (("chat", 80), ("raw", 50), ("mine", 20)):
        add_cell(tmp_path / "s", "base", eval_format, range(right))
    assert "chat is better for base, raw is better for base." in in_short(tmp_path / "s")


def test_a_training_that_does_harm_did_not_help(tmp_path):
    for model, right in (("sft_chat_template", 30), ("base", 60)):
        add_cell(tmp_path / "s", model, "chat", range(right))
    assert "**Did training help?** No: the one difference is significant" in in_short(tmp_path / "s")
    assert "the untrained model is better." in in_short(tmp_path / "s")


def test_in_short_claims_nothing_where_nothing_is_significant(tmp_path):
    for eval_format, right in (("chat", 50), ("raw", 51)):
        add_cell(tmp_path / "s", "base", eval_format, range(right))
    assert "Not that this study could show: the one difference is not significant." in in_short(tmp_path / "s")


def test_in_short_says_that_one_wording_tells_nothing_of_others(study):
    assert "wording of the instruction?** This study cannot tell" in in_short(study)


def add_wordings(study, eval_format: str, *rights: int) -> None:
    for name, right in zip(("hashes", "boxed", "none"), rights, strict=False):
        add_cell(study, "base", eval_format, range(right), suffix=f"--task.wording={name}")


def test_in_short_says_how_much_the_wording_matters_within_one_format(tmp_path):
    add_wordings(tmp_path / "s", "chat", 40, 50, 70)
    add_wordings(tmp_path / "s", "raw", 10, 11)
    found = in_short(tmp_path / "s")
    assert "instruction?** In part: in one format, a model's best and worst wording are 1.0 to 30.0 points" in found
    assert "apart, significantly in 1 of 2 cases" in found
    assert "most for base: 40.0 in chat, hashes; 70.0 in chat, none." in found


@pytest.mark.parametrize(("rights", "answer"), [((40, 80), "Yes"), ((40, 41), "Not that this study could show")])
def test_whether_it_depends_on_the_wording_is_answered_from_the_figures(tmp_path, rights, answer):
    add_wordings(tmp_path / "s", "chat", *rights)
    add_wordings(tmp_path / "s", "raw", *rights)
    assert f"**Does it depend on the wording of the instruction?** {answer}: in one format" in in_short(tmp_path / "s")


def test_wordings_in_different_formats_tell_nothing_of_wordings(tmp_path):
    for model in ("base", "sft_chat_template"):
        add_cell(tmp_path / "s", model, "chat", range(40), inputs={"task.wording": "boxed"})
        add_cell(tmp_path / "s", model, "raw", range(60), inputs={"task.wording": "none"})
    assert "This study cannot tell: no model was asked in several in one format" in in_short(tmp_path / "s")


def test_in_short_says_whether_form_or_reasoning_lost(study):
    for index, result in enumerate(results := json.loads((study / RAW).read_text())):
        result["run_on"] = index >= 50  # all that chat has right beyond raw
    (study / RAW).write_text(json.dumps(results))
    found = in_short(study)
    assert "ran on, were cut off or are missing: sft_chat_template in raw (50 % ran on)." in found
    assert "complete answers with a wrong result: sft_no_chat_mask_q in chat." in found


def test_a_study_of_one_cell_has_nothing_in_short(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(50))
    assert brief(Study.read(tmp_path / "s")) == ""


def test_in_short_has_a_sentence_for_each_question(study):
    lines = [line for line in in_short(study).splitlines() if line]
    assert len(lines) == 8
    assert all(line.startswith("* **") for line in lines)


def set_rule(study, rule: str, right: dict[str, range]) -> None:
    """What a rule finds right, by the name of the cell."""
    for cell, found in right.items():
        path = study / "eval" / cell / "results.json"
        results = json.loads(path.read_text())
        for result in results:
            result["rules"][rule] = result["index"] in found
        path.write_text(json.dumps(results))


def test_verdicts_of_a_rule_that_does_not_read_one_side_are_told_apart(tmp_path):
    add_cell(tmp_path / "s", "sft_chat_template", "chat", range(80))
    add_cell(tmp_path / "s", "base", "chat", range(40))
    set_rule(tmp_path / "s", "strict", {"sft_chat_template_eval_chat": range(5), "base_eval_chat": range(30)})
    page = page_of(tmp_path / "s")
    assert (
        "Not which side is higher, among rules that recognise the answers of both sides. In the one comparison" in page
    )
    assert "the verdict changes only under strict, which recognises hardly any right answer of one side" in page
    assert "base is higher under strict (by 25.0*, finding hardly any right answer of sft_chat_template)" in page


def test_verdicts_on_which_rules_disagree_that_read_both_sides_are_named(tmp_path):
    for model, in_chat, in_raw in (("sft_chat_template", 80, 50), ("base", 40, 70)):
        add_cell(tmp_path / "s", model, "chat", range(in_chat))
        add_cell(tmp_path / "s", model, "raw", range(in_raw))
    set_rule(tmp_path / "s", "strict", {"sft_chat_template_eval_chat": range(2), "base_eval_raw": range(20)})
    named = "chat against raw for base and sft_chat_template against base in raw. "
    assert f"changes with the grading rule in 2 of 4 comparisons: {named}" in in_short(tmp_path / "s")


def test_a_p_that_crosses_the_line_is_told_from_a_sign_that_changes(tmp_path):
    for model, right, strict in (("base", 40, 40), ("sft_chat_template", 43, 50), ("grpo_no_chat", 60, 20)):
        add_cell(tmp_path / "s", model, "chat", range(right), rules={"strict": range(strict)})
    found = in_short(tmp_path / "s")
    assert "graded?** In part: which side is higher changes with the grading rule in 1 of 2 comparisons:" in found
    assert "comparisons: grpo_no_chat against base in chat. Only whether the difference is significant" in found
    assert "changes with the grading rule in 1 of 2 comparisons: sft_chat_template against base in chat." in found


def test_where_no_sign_changes_that_is_said_first(tmp_path):
    for model, right, strict in (("base", 40, 40), ("sft_chat_template", 43, 50)):
        add_cell(tmp_path / "s", model, "chat", range(right), rules={"strict": range(strict)})
    found = in_short(tmp_path / "s")
    assert "**Does that depend on how answers are graded?** Not which side is higher" in found
    assert "Only whether the difference is significant changes with the grading rule in the one comparison" in found


def test_equal_differences_are_no_sign_that_an_interactions_rule_reads_nothing(study):
    for cell in ("sft_chat_template_eval_chat", "sft_chat_template_eval_raw"):
        set_rule(study, "strict", {cell: range(45)})
    said = section(page_of(study), INTERACTION)
    assert "finding no right answer" not in said
    assert "neither has a right answer" not in said


def test_in_short_says_how_many_verdicts_hang_on_the_grader(study):
    assert "No: every grading rule agrees with the 8 verdicts, or cannot tell." in in_short(study)
    for folder in study.glob("eval/base_eval_chat"):
        results = json.loads((folder / "results.json").read_text())
        for result in results:
            result["rules"]["strict"] = result["index"] < 20
        (folder / "results.json").write_text(json.dumps(results))
    assert "which side is higher changes with the grading rule in 1 of 8 comparisons" in in_short(study)
    assert "whether the difference is significant changes with the grading rule in 1 of 8" in in_short(study)


def test_of_very_many_comparisons_the_clearest_are_shown_and_all_are_in_the_file(tmp_path):
    for place, number in enumerate(range(10)):
        add_cell(tmp_path / "s", "base", f"format{number}", range(30 + 3 * place), n=60)
    page = page_of(tmp_path / "s")
    assert section(page, FAMILIES["formats"].title).count("* Model base") == 40
    assert "The 5 with the largest p are in contrasts.csv alone." in page
    assert len(found_in(tmp_path / "s", "formats").contrasts) == math.comb(10, 2)


def test_several_answers_to_a_question_count_by_question_in_every_family(study):
    for folder in study.glob("eval/*"):
        results = json.loads((folder / "results.json").read_text())
        random = numpy.random.default_rng(0)
        for result in results:
            answers = random.random(4) < (0.9 if result["correct"] else 0.1)
            result["answers"] = [
                {**result, "correct": bool(right), "rules": {"committed": bool(right), "strict": bool(right)}}
                for right in answers
            ]
        (folder / "results.json").write_text(json.dumps(results))
    contrasts = find(collect_cells(study)).contrasts
    assert {contrast.family for contrast in contrasts} == set(FAMILIES)
    for contrast in contrasts:
        found = contrast.by_rule["committed"]
        assert found.n == 100
        assert (found.p < 0.05) == (not found.ci_low <= 0 <= found.ci_high)
