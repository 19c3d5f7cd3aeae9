"""What the report's figures show; that they are whole and the same each time is in test_report.py."""

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.collections import LineCollection, PolyCollection
from test_report import TRAININGS, add_cell, add_training, row_labels

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


def test_a_format_has_one_colour_in_bars_and_points(study):
    drawn = [each for each in accuracy_grouped(study).axes[0].collections if isinstance(each, PolyCollection)]
    bars = {tuple(colour[:3]) for each in drawn for colour in each.get_facecolor()}
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
    assert matrix_texts(study)[5, 4].splitlines()[1] == f"\N{PLUS-MINUS SIGN}{100 * found.detectable:.1f}"


def test_cells_without_common_questions_have_empty_fields(study, folder):
    path = folder / "eval/base_eval_raw/results.json"
    path.write_text(path.read_text().replace(" + 1?", " - 1?"))
    assert not [place for place in matrix_texts(study) if 5 in place]


def test_of_many_cells_the_best_are_set_against_each_other(tmp_path):
    for seed in range(MOST_CELLS + 2):
        add_cell(tmp_path / "s", f"base--seed={seed}", "chat", range(seed), n=40)
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


def test_a_study_without_trainings_says_so(study):
    assert "No model" in training_curves(study).axes[0].texts[0].get_text()


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
            add_cell(tmp_path / "s", f"{models[seed % 7]}--seed={seed}", eval_format, right, n=100, seed=seed)
    figure = eval_template_scatter(Study.read(tmp_path / "s"))
    boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in figure.axes[0].texts]
    assert len(boxes) == 30
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_curves_of_many_trainings_have_larger_panels(tmp_path):
    for count in (FEW_TRAININGS, FEW_TRAININGS + 1):
        for seed in range(count):
            model = f"sft_chat_template--seed={seed}"
            add_cell(tmp_path / f"s{count}", model, "chat", range(5), n=10, seed=seed)
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
