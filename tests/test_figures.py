"""What the report's figures show; that they are whole and the same each time is in test_report.py."""

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.collections import LineCollection, PolyCollection
from test_report import TRAININGS, add_cell, add_training, field_texts, row_labels

from chattpl.report.bars import accuracy_bar, accuracy_grouped
from chattpl.report.canvas import HATCHES, MARKERS, looks
from chattpl.report.collect import Cell
from chattpl.report.contrasts import compare_formats
from chattpl.report.curves import FEW_TRAININGS, training_curves
from chattpl.report.heatmap import accuracy_heatmap
from chattpl.report.losses import LOOKS
from chattpl.report.matrix import MOST_CELLS, paired_matrix
from chattpl.report.scatter import eval_template_scatter
from chattpl.report.split import KINDS
from chattpl.report.study import Study

BOTH = ("chat", "raw")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model trained in chat, one trained in raw, and base, each in both formats."""
    right = {"sft_chat_template": (80, 50), "grpo_no_chat": (40, 70), "base": (39, 36)}
    for model, each in right.items():
        for eval_format, count in zip(BOTH, each, strict=True):
            add_cell(tmp_path / "s", model, eval_format, range(count))
    return tmp_path / "s"


@pytest.fixture
def study(folder) -> Study:
    return Study.read(folder)


def large_study(folder: Path, models: int, formats: int) -> Study:
    """Made-up cells without results, from one on the disk."""
    add_cell(folder, "sft_chat_template", "chat", range(10), n=10)
    [cell] = Study.read(folder).cells
    cells = []
    for seed, number in itertools.product(range(models), range(formats)):
        model = f"sft_chat_template--seed={seed}"
        fields = {"group": model, "model_name": model, "eval_format": f"a_format_{number}", "changes": {"seed": seed}}
        cells.append(Cell(folder / "eval" / f"{model}_eval_{number}", replace(cell.summary, **fields)))
    return Study("s", cells)


def bars_of(figure) -> list[PolyCollection]:
    return [each for each in figure.axes[0].collections if isinstance(each, PolyCollection)]


def base_lines(figure) -> set[float]:
    """Where the lines of base are, in percent."""
    return {
        round(100 * segment[0][0], 6)
        for lines in figure.axes[0].collections
        if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
        if len(segment) and segment[0][0] == segment[1][0]
    }


@pytest.mark.parametrize("draw", [accuracy_bar, accuracy_grouped])
def test_bars_have_a_line_where_base_is_in_the_same_format(study, draw):
    assert {39.0, 36.0} <= base_lines(draw(study))
    legend = draw(study).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()][-1] == "base in the same format"


def test_a_study_without_base_has_no_line_of_it(tmp_path):
    add_cell(tmp_path / "s", "sft_chat_template", "chat", range(80))
    legend = accuracy_bar(Study.read(tmp_path / "s")).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["eval.format=chat"]


def test_the_scatter_has_lines_at_base_in_both_formats(study):
    lines = [line for line in eval_template_scatter(study).axes[0].lines if line.get_linestyle() == ":"]
    assert {(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in lines} >= {((0.36, 0.36), (0, 1))}
    assert {(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in lines} >= {((0, 1), (0.39, 0.39))}


def test_the_scatter_has_no_lines_where_base_was_asked_in_several_ways(folder):
    for eval_format in BOTH:
        add_cell(folder, "base", eval_format, range(20), suffix="--task.wording=boxed")
    [ax] = eval_template_scatter(Study.read(folder)).axes
    assert not [line for line in ax.lines if line.get_linestyle() == ":"]
    assert "base, untrained" not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_format_has_one_colour_in_bars_and_points(study):
    bars = {tuple(colour[:3]) for each in bars_of(accuracy_grouped(study)) for colour in each.get_facecolor()}
    assert bars == {tuple(study.looks[name].colour) for name in BOTH}
    points = [line.get_color() for line in eval_template_scatter(study).axes[0].lines if line.get_marker() in MARKERS]
    assert {tuple(colour) for colour in points if not isinstance(colour, str)} == bars


def test_chat_and_raw_look_the_same_in_every_study(tmp_path):
    add_cell(tmp_path / "s", "grpo_no_chat", "raw", range(8), n=10)
    add_cell(tmp_path / "t", "grpo_no_chat", "chat", range(8), n=10)
    add_cell(tmp_path / "t", "m", "raw", range(8), n=10)
    assert Study.read(tmp_path / "s").looks["raw"] == Study.read(tmp_path / "t").looks["raw"]


def test_forty_formats_have_forty_looks_and_ten_have_ten_hatches_and_markers():
    found = [look for name, look in looks(map(str, range(40))).items() if name]
    assert len(set(found)) == 40
    assert len({look.hatch for look in found[:10]}) == len({look.marker for look in found[:10]}) == 10
    assert len(HATCHES) == 10


def test_the_kinds_of_answers_differ_without_colour():
    assert len({LOOKS[kind].hatch for kind in KINDS}) == len(KINDS)


# The matrix


def matrix_texts(study: Study) -> dict[tuple[int, int], str]:
    """The text of each field by row and column."""
    texts = paired_matrix(study).axes[0].texts
    places = [(int(text.get_position()[1]), int(text.get_position()[0])) for text in texts]
    return {place: text.get_text() for place, text in zip(places, texts, strict=True) if text.get_text()}


def test_the_matrix_says_difference_wins_and_p_of_each_pair(study):
    texts = matrix_texts(study)
    assert len(texts) == 6 * 5
    assert texts[0, 1] == "+30.0*\np<.001"  # 80 against 50
    assert texts[1, 0].splitlines()[0] == "0 : 30"  # the row, in raw, alone got none right
    assert texts[4, 5] == "+3.0\np=.250"  # base: 39 against 36, three discordant


def test_the_matrix_says_what_difference_could_have_been_seen(study):
    found = {each.group: each for each in compare_formats(study.cells)}["base"].by_rule["committed"]
    assert matrix_texts(study)[5, 4].splitlines()[1] == f"min {100 * found.detectable:.1f}"


def test_cells_without_common_questions_have_empty_fields(study, folder):
    path = folder / "eval/base_eval_raw/results.json"
    path.write_text(path.read_text().replace(" + 1?", " - 1?"))
    assert not [place for place in matrix_texts(study) if 5 in place]


def test_of_many_cells_the_best_are_set_against_each_other(tmp_path):
    for seed in range(MOST_CELLS + 2):
        add_cell(tmp_path / "s", f"base--eval.max_tokens={seed}", "chat", range(seed), n=40)
    [ax] = paired_matrix(Study.read(tmp_path / "s")).axes
    assert len(ax.get_yticklabels()) == MOST_CELLS
    assert f"the best {MOST_CELLS} of {MOST_CELLS + 2}" in ax.get_title()


def test_a_single_cell_has_no_matrix_and_the_picture_says_so(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10)
    [ax] = paired_matrix(Study.read(tmp_path / "s")).axes
    assert [text.get_text() for text in ax.texts] == ["No two cells answered the same questions."]


# Training curves


def test_every_training_has_its_curves_in_one_figure(folder):
    rates = {"mean_reward": [[1, 0.1], [2, 0.3]], "truncated": [[1, 0.5], [2, 0.2]], "discarded": [[1, 0.0]]}
    add_training(folder, "sft_chat_template", loss=[[1, 2.0], [2, 1.0]])
    add_training(folder, "grpo_no_chat", loss=[[1, 0.01]], **rates)
    figure = training_curves(Study.read(folder))
    shown = {ax.get_title(): [list(line.get_ydata()) for line in ax.lines] for ax in figure.axes if ax.lines}
    assert shown == {
        "loss (sft)": [[2.0, 1.0]],
        "loss (grpo)": [[0.01]],
        "mean reward of the rollouts": [[0.1, 0.3]],
        "rollouts cut off (%)": [[0.5, 0.2]],
        "rollouts discarded (%)": [[0.0]],
    }
    legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    assert [[text.get_text() for text in each.get_texts()] for each in legends] == [
        ["sft_chat_template", "grpo_no_chat"]
    ]


def test_each_training_looks_different_without_colour(tmp_path):
    models = [
        f"{model}--seed={each}" for model in ("sft_mine", "sft_chat_template", "grpo_no_chat") for each in range(10)
    ]
    for number, model in enumerate(models):
        changes = {"sft.learning_rate": number}
        add_cell(tmp_path / "s", model, "chat", range(5), n=10, changes=changes)
        add_training(tmp_path / "s", model, loss=[[1, 2.0], [2, 1.0]])
    lines = [line for ax in training_curves(Study.read(tmp_path / "s")).axes for line in ax.lines]
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines) == len(models)


def test_a_study_without_trainings_says_so(study):
    assert "No model" in training_curves(study).axes[0].texts[0].get_text()


# Seeds


@pytest.fixture
def seeds(tmp_path) -> Study:
    """A training of three seeds in both formats, and base."""
    for eval_format, rights in {"chat": (70, 75, 80), "raw": (40, 50, 60)}.items():
        for seed, right in enumerate(rights):
            name = f"sft_chat_template--seed={seed}" if seed else "sft_chat_template"
            add_cell(tmp_path / "s", name, eval_format, range(right), seed=seed)
        add_cell(tmp_path / "s", "base", eval_format, range(30))
    return Study.read(tmp_path / "s")


@pytest.mark.parametrize("draw", [accuracy_bar, accuracy_grouped])
def test_seeds_are_one_bar_at_their_mean_with_a_point_for_each(seeds, draw):
    [ax] = draw(seeds).axes
    ends = [bar.vertices[:, 0].max() for each in bars_of(ax.figure) for bar in each.get_paths()]
    assert sorted(round(end, 6) for end in ends) == [0.3, 0.3, 0.5, 0.75]
    points = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert points == [[0.7, 0.75, 0.8], [0.4, 0.5, 0.6]]
    assert "each seed" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert "mean over seeds" in ax.get_title()


def test_seeds_are_one_row_of_the_heat_map(seeds):
    [ax] = accuracy_heatmap(seeds).axes
    assert [label.get_text() for label in row_labels(ax)] == ["sft_chat_template", "base"]
    assert list(field_texts(ax.figure).values()) == ["75.0", "50.0", "30.0", "30.0"]


def test_seeds_are_one_row_of_the_matrix_and_no_row_is_left_out_for_them(seeds):
    texts = matrix_texts(seeds)
    assert len(texts) == 4 * 3
    assert texts[0, 1].startswith("+25.0")
    found = {each.group: each for each in compare_formats(seeds.cells)}["sft_chat_template"].by_rule["committed"]
    assert texts[1, 0] == f"0 : 40\nmin {100 * found.detectable:.1f}"


def test_a_seed_that_cannot_be_read_keeps_the_others_apart(seeds, tmp_path):
    (tmp_path / "s/eval/sft_chat_template--seed=1_eval_chat/results.json").write_text("{")
    [ax] = accuracy_bar(Study.read(tmp_path / "s")).axes
    labels = [label.get_text() for label in row_labels(ax)]
    assert labels[:3] == [f"sft_chat_template seed={seed} in chat" for seed in (2, 1, 0)]
    assert "sft_chat_template in raw" in labels


def test_text_on_a_field_is_black_or_white_whichever_can_be_read(study):
    [ax] = paired_matrix(study).axes
    colours = {text.get_text().split("\n")[0]: text.get_color() for text in ax.texts}
    assert colours["+3.0"] == "black"  # 39 against 36: nearly white
    assert colours["+44.0*"] == "white"  # the largest difference: dark purple


def test_seeds_have_one_curve_their_mean_before_what_each_logged(seeds, tmp_path):
    for name, last in (("sft_chat_template", 1.0), ("sft_chat_template--seed=1", 0.5)):
        add_training(tmp_path / "s", name, loss=[[1, 2.0], [2, last]])
    [ax] = training_curves(Study.read(tmp_path / "s")).axes
    *pale, mean = ax.lines
    assert [list(line.get_ydata()) for line in pale] == [[2.0, 1.0], [2.0, 0.5]]
    assert list(mean.get_ydata()) == [2.0, 0.75]
    assert {line.get_color() for line in pale} == {mean.get_color()}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sft_chat_template"]


def test_a_long_log_has_a_smooth_curve_over_what_was_logged(folder):
    noisy = [[step, 1.0 + (-1) ** step] for step in range(1, 201)]
    add_training(folder, "sft_chat_template", loss=noisy)
    [ax] = training_curves(Study.read(folder)).axes
    logged, curve = ax.lines
    assert list(logged.get_ydata()) == [value for _, value in noisy]
    assert all(0.8 < value < 1.2 for value in curve.get_ydata()[5:-5])
    assert list(curve.get_xdata()) == list(range(1, 201))


# Ten formats, thirty models


def test_thirty_models_in_ten_formats_can_be_read_in_the_heat_map(tmp_path):
    figure = accuracy_heatmap(large_study(tmp_path / "s", 30, 10))
    [ax] = figure.axes
    for labels in (ax.texts, ax.get_xticklabels(), row_labels(ax)):
        boxes = [label.get_window_extent(figure.canvas.get_renderer()) for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_thirty_models_in_ten_formats_can_be_read_as_bars(tmp_path):
    figure = accuracy_bar(large_study(tmp_path / "s", 30, 10))
    [ax] = figure.axes
    labels = row_labels(ax)
    assert len(labels) == 300
    boxes = [label.get_window_extent(figure.canvas.get_renderer()) for label in labels]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    assert max(figure.get_size_inches()) < 60


def test_no_figure_stands_on_the_line_of_base(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(63))
    for right, model in enumerate(("sft_chat_template", "grpo_chat_template", "grpo_no_chat", "m"), start=10):
        add_cell(tmp_path / "s", model, "chat", range(4 * right))
    figure = accuracy_bar(Study.read(tmp_path / "s"))
    [ax] = figure.axes
    line = ax.transData.transform((0.63, 0))[0]
    boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in ax.texts]
    assert not any(box.x0 <= line <= box.x1 for box in boxes)


def test_numbers_of_thirty_models_stand_on_no_other(tmp_path):
    rng = random.Random(0)
    models = list(TRAININGS)[:7]
    for seed in range(30):
        for eval_format in BOTH:
            right = range(rng.randrange(30, 70))
            add_cell(tmp_path / "s", f"{models[seed % 7]}--sft.learning_rate={seed}", eval_format, right, n=100)
    figure = eval_template_scatter(Study.read(tmp_path / "s"))
    boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in figure.axes[0].texts]
    assert len(boxes) == 30
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_curves_of_many_trainings_have_larger_panels(tmp_path):
    for count in (FEW_TRAININGS, FEW_TRAININGS + 1):
        for seed in range(count):
            model = f"sft_chat_template--sft.learning_rate={seed}"
            add_cell(tmp_path / f"s{count}", model, "chat", range(5), n=10)
            add_training(tmp_path / f"s{count}", model, loss=[[1, 2.0], [2, 1.0]])
    few, many = (
        training_curves(Study.read(tmp_path / f"s{count}")).axes[0].bbox.height
        for count in (FEW_TRAININGS, FEW_TRAININGS + 1)
    )
    assert many > 1.5 * few


def test_ten_formats_stand_in_three_columns_of_panels(tmp_path):
    figure = eval_template_scatter(large_study(tmp_path / "s", 5, 10))
    assert len([ax for ax in figure.axes if ax.axison]) == 9
    assert figure.get_size_inches()[0] < 20


def test_results_are_kept_as_they_were_read(folder):
    study = Study.read(folder)
    first = study.results["base_eval_raw"]
    (folder / "eval/base_eval_raw/results.json").write_text(json.dumps([]))
    assert study.results["base_eval_raw"] is first
