"""The report on made-up studies: what is read, in which order, what is said, and that nothing half-written is seen."""

import json
import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas
import pytest
from markdown_it import MarkdownIt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from chattpl.errors import UserError
from chattpl.report import write_report
from chattpl.report.collect import COMPARISON, collect_cells, to_frame
from chattpl.report.contrasts import compare_formats
from chattpl.report.families import FAMILIES
from chattpl.report.figures import FIGURES
from chattpl.report.heatmap import accuracy_heatmap
from chattpl.report.page import render
from chattpl.report.stats import mean_interval
from chattpl.report.study import Study
from chattpl.results import SCHEMA, Result, Summary
from chattpl.train_report import TrainReport

ROOT = Path(__file__).parents[1]
PICTURES = tuple(f"{name}.png" for name in FIGURES)
VECTORS = tuple(f"{name}.svg" for name in FIGURES)
TABLES = ("comparison.csv", "contrasts.csv", "gaps.csv", "samples.parquet")
FILES = (*TABLES, "report.md", "report.html", *PICTURES, *VECTORS)
TRAININGS = {
    "sft_chat_template": ("chat", "sft", "answer"),
    "grpo_chat_template": ("chat", "grpo", None),
    "sft_no_chat_full_loss": ("raw", "sft", "full"),
    "sft_no_chat_mask_q": ("raw", "sft", "answer"),
    "grpo_no_chat": ("raw", "grpo", None),
    "base": (None, "none", None),
    "sft_chat_template_full_loss": ("chat", "sft", "full"),
    "sft_mine": ("mine", "sft", "answer"),
    "grpo_mine": ("mine", "grpo", None),
    "m": ("mine", "sft", "answer"),
    "m[red]x[bold]": ("mine", "sft", "answer"),
}
FORMATS = FAMILIES["formats"].title
HOSTILE = "x|<img src=1 onerror=alert(1)>`[a](http://evil)*b*$y$"


def add_cell(
    study: Path, model: str, eval_format: str, right: range, n: int = 100, suffix: str = "", rules=None, **changes
) -> Path:
    """A finished cell that answered the samples in `right` correctly; `changes` are fields of its summary.

    `rules` has the samples that are right by the name of each further grading rule.
    """
    rules = {"committed": right, "strict": right} | (rules or {})
    results = [
        result_of(index, index in right, {name: index in each for name, each in rules.items()}) for index in range(n)
    ]
    correct = sum(result["correct"] for result in results)
    low, high = map(float, mean_interval([result["correct"] for result in results]))
    by_rule = {name: sum(result["rules"][name] for result in results) / n for name in rules}
    train_format, method, masking = TRAININGS[model.split("--")[0]]
    folder = study / "eval" / f"{model}_eval_{eval_format}{suffix}"
    fields = {
        **{
            "schema": SCHEMA,
            "study": study.name,
            "cell": folder.name,
            "group": model + suffix,
            "changes": changed(model + suffix),
        },
        **{"model_name": model, "task": "arithmetic", "split": "test", "eval_format": eval_format, "seed": 0},
        **{"train_format": train_format, "train_method": method, "train_masking": masking},
        **{"n": n, "correct": correct, "accuracy": correct / n, "ci_low": low, "ci_high": high},
        **{"accuracy_by_rule": by_rule, "strict_accuracy": by_rule["strict"]},
        **{"no_answer_rate": 0.0, "truncated_rate": 0.0, "run_on_rate": 0.0},
        **{"mean_completion_tokens": 31.5, "seconds": 2.0, "tokens_per_second": 640.0},
        **{
            "engine": "vllm",
            "device": "cpu",
            "hardware": "Xeon",
            "threads": 2,
            "stop": {"strings": []},
            "inputs": changed(suffix),
            "grader": "0" * 64,
            "fingerprint": f"{study.name:0<64}",
        },
        **{"model_fingerprint": f"{model:0<64}", "prompt_fingerprint": f"{eval_format:0<64}"},
        **{"weights": None if model == "base" else f"{model:0<64}"},
        **{"versions": {"torch": "2.13.0", "vllm": "0.31.0"}, **changes},
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "summary.json").write_text(json.dumps(Summary(**fields).to_json()))
    return folder


def changed(name: str) -> dict[str, str]:
    """The changes that a cell's name shows."""
    return dict(part.partition("=")[::2] for part in name.split("--")[1:])


def result_of(index: int, correct: bool, rules: dict[str, bool]) -> dict:
    output = f"#### {index + 1}"
    return Result(
        **{"index": index, "question": f"{index} + 1?", "gold": str(index + 1), "output": output},
        **{"extracted": str(index + 1), "correct": correct, "strict": rules["strict"], "rules": rules},
        **{"run_on": False, "stop_reason": "eos", "completion_tokens": 9, "fits": True},
    ).to_json()


def make_study(folder: Path) -> Path:
    add_cell(folder, "base", "raw", range(39))
    add_cell(folder, "base", "chat", range(40))
    add_cell(folder, "sft_chat_template", "raw", range(50))
    add_cell(folder, "sft_chat_template", "chat", range(80))
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two models in two formats: chat beats raw clearly for the first, and not at all for the second."""
    return make_study(tmp_path / "arithmetic-tiny")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The report of such a study, to be looked at or written again."""
    study = make_study(tmp_path_factory.mktemp("written") / "arithmetic-tiny")
    write_report(study)
    return study / "report"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> tuple[Path, bool]:
    """The report of such a study by another process on another day, and whether that has loaded torch."""
    study = make_study(tmp_path_factory.mktemp("elsewhere") / "arithmetic-tiny")
    code = (
        "import sys, pathlib; from chattpl.report import write_report; write_report(pathlib.Path(sys.argv[1]));"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "86400", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(study)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return study / "report", done.stdout == "True\n"


def frame_of(study: Path) -> pandas.DataFrame:
    return to_frame(collect_cells(study))


def page_of(study: Path) -> str:
    """report.md without the pictures, which take longer."""
    return render(Study.read(study))


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n")[1].split("\n## ")[0]


def shown(page: str) -> str:
    """The text that a reader of the rendered page sees."""
    return " ".join(
        child.content for token in MarkdownIt().enable("table").parse(page) for child in token.children or []
    )


# What is read


def test_a_report_has_its_files_and_no_other(written):
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)


def test_a_study_without_a_finished_cell_is_a_user_error(tmp_path):
    (tmp_path / "empty/eval/base_eval_chat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^study empty holds nothing to report: no eval/\*/summary\.json[^\n]*$"):
        write_report(tmp_path / "empty")
    assert not (tmp_path / "empty/report").exists()


def test_a_cell_without_summary_is_not_reported(study):
    (study / "eval/base_eval_raw/summary.json").unlink()
    assert "base_eval_raw" not in set(frame_of(study)["cell"])


@pytest.mark.parametrize("damage", ["", '{"model_name": "ba', "[]", "null", '{"model_name": "base"}', "\x00"])
def test_a_damaged_summary_is_left_out_with_a_warning_that_names_it(study, caplog, damage):
    (study / "eval/base_eval_raw/summary.json").write_text(damage)
    with caplog.at_level(logging.WARNING):
        frame = frame_of(study)
    assert len(frame) == 3
    assert "base_eval_raw/summary.json" in caplog.text


def test_a_summary_with_a_figure_of_the_wrong_type_is_left_out(study):
    add_cell(study, "grpo_chat_template", "chat", range(5), accuracy="high")
    assert len(frame_of(study)) == 4


def test_a_study_whose_only_summary_is_damaged_is_a_user_error(tmp_path):
    (add_cell(tmp_path / "one", "base", "chat", range(5)) / "summary.json").write_text("{")
    with pytest.raises(UserError, match="nothing to report"):
        write_report(tmp_path / "one")


def set_in_summary(folder: Path, **changes) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_summary_of_another_version_is_left_out_with_a_warning_that_says_so(study, caplog):
    set_in_summary(study / "eval/base_eval_raw", schema=SCHEMA + 1, versions={"chattpl": "9.8"})
    with caplog.at_level(logging.WARNING):
        frame = frame_of(study)
    assert "base_eval_raw" not in set(frame["cell"])
    assert re.search(r"base_eval_raw/summary\.json is left out .*: it was written by chattpl 9\.8", caplog.text)


def test_a_study_whose_summaries_are_all_of_another_version_is_a_user_error_that_says_so(tmp_path):
    for eval_format in ("chat", "raw"):
        set_in_summary(add_cell(tmp_path / "old", "base", eval_format, range(5)), schema=SCHEMA - 1)
    with pytest.raises(UserError, match=r"^study old holds nothing to report: .* 2 written by another version[^\n]*$"):
        write_report(tmp_path / "old")


def test_a_summary_that_lacks_a_field_is_left_out_with_a_warning_that_names_the_field(study, caplog):
    path = study / "eval/base_eval_raw/summary.json"
    content = json.loads(path.read_text())
    del content["group"]
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert len(frame_of(study)) == 3
    assert "group is missing" in caplog.text


def test_a_cell_whose_folder_was_renamed_is_still_grouped_by_its_summary(study):
    (study / "eval/base_eval_raw").rename(study / "eval/kept--seed=9_eval_chat")
    pairs = [(pair.group, pair.first, pair.second) for pair in compare_formats(collect_cells(study))]
    assert pairs == [("sft_chat_template", "chat", "raw"), ("base", "chat", "raw")]


def test_a_cell_whose_folder_was_renamed_keeps_its_place(study):
    (study / "eval/sft_chat_template_eval_chat").rename(study / "eval/zzz")
    assert frame_of(study)["cell"].iloc[0] == "zzz"


def test_importing_the_report_loads_neither_torch_nor_matplotlib_nor_pandas():
    code = (
        "import sys, chattpl.report; sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_writing_a_report_never_loads_torch(elsewhere):
    assert elsewhere[1] is False


# The comparison


def test_cells_stand_in_the_order_of_the_experiment(tmp_path):
    models = ["sft_mine", "base--seed=1", "base", "grpo_no_chat", "sft_no_chat_mask_q", "grpo_mine"]
    models += ["sft_chat_template_full_loss", "sft_no_chat_full_loss", "grpo_chat_template", "sft_chat_template"]
    for model in models:
        add_cell(tmp_path / "s", model, "chat", range(5), n=10)
    assert list(frame_of(tmp_path / "s")["model_name"]) == [
        *("sft_chat_template", "grpo_chat_template", "sft_no_chat_full_loss", "sft_no_chat_mask_q", "grpo_no_chat"),
        *("base", "base--seed=1", "sft_chat_template_full_loss", "grpo_mine", "sft_mine"),
    ]


def test_seeds_stand_in_the_order_of_their_numbers(tmp_path):
    for seed in (10, 0, 9):
        add_cell(tmp_path / "s", f"base--seed={seed}", "chat", range(5), n=10, seed=seed)
    assert list(frame_of(tmp_path / "s")["seed"]) == [0, 9, 10]


def test_formats_stand_in_the_order_chat_raw_others_and_a_variant_after_the_plain_evaluation(tmp_path):
    for eval_format in ("zero", "alpha", "raw", "chat"):
        add_cell(tmp_path / "s", "base", eval_format, range(5), n=10)
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10, suffix="--eval.max_tokens=64")
    names = [name.removeprefix("base_eval_") for name in frame_of(tmp_path / "s")["cell"]]
    assert names == ["chat", "raw", "alpha", "zero", "chat--eval.max_tokens=64"]


def test_comparison_csv_holds_the_figures_of_the_summaries(written):
    row = pandas.read_csv(written / "comparison.csv").set_index("cell").loc["sft_chat_template_eval_chat"]
    assert (row["n"], row["correct"], row["accuracy"], row["train_masking"]) == (100, 80, 0.8, "answer")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(mean_interval([True] * 80 + [False] * 20))


def test_a_masking_that_means_nothing_is_empty_in_comparison_csv(written):
    frame = pandas.read_csv(written / "comparison.csv").set_index("cell")
    assert pandas.isna(frame.loc["base_eval_chat", "train_masking"])


def test_comparison_csv_has_the_columns_that_a_person_compares(written):
    columns = pandas.read_csv(written / "comparison.csv").columns
    assert tuple(columns) == (*COMPARISON, "accuracy_committed", "accuracy_strict")


def test_optional_figures_have_a_column_where_a_cell_has_them(study):
    add_cell(study, "grpo_chat_template", "chat", range(5), not_fitting=3)
    assert frame_of(study).set_index("cell")["not_fitting"]["grpo_chat_template_eval_chat"] == 3


# What is said


def test_a_clear_winner_is_named_with_points_interval_and_p(study):
    found = section(page_of(study), FORMATS)
    assert re.search(r"sft_chat_template: chat beats raw by 30\.0 points \[\d+\.\d, \d+\.\d\], p < 0\.001,", found)


def test_the_winner_may_be_raw(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(50))
    add_cell(tmp_path / "s", "base", "raw", range(80))
    assert "raw beats chat by 30.0 points [" in page_of(tmp_path / "s")


def test_a_difference_within_chance_is_not_called_one(study):
    found = section(page_of(study), FORMATS)
    assert "Model base: no difference between chat and raw can be told apart from chance at n=100" in found


def test_a_difference_that_holms_adjustment_takes_away_is_said_to_be_possible_chance(study):
    add_cell(study, "grpo_chat_template", "chat", range(50))
    add_cell(study, "grpo_chat_template", "raw", range(44))
    found = section(page_of(study), FORMATS)
    assert "chat is ahead of raw by 6.0 points" in found
    assert "p = 0.062 among 3 comparisons it may be chance" in found


def test_all_pairs_of_formats_are_compared_chat_against_raw_first(study):
    add_cell(study, "base", "mine", range(30))
    pairs = [(pair.first, pair.second) for pair in compare_formats(collect_cells(study)) if pair.group == "base"]
    assert pairs == [("chat", "raw"), ("chat", "mine"), ("raw", "mine")]


def test_a_variant_of_the_evaluation_is_compared_with_its_like_alone(study):
    for eval_format in ("chat", "raw"):
        add_cell(study, "base", eval_format, range(20), suffix="--eval.max_tokens=64")
    groups = [pair.group for pair in compare_formats(collect_cells(study))]
    assert groups == ["sft_chat_template", "base", "base max_tokens=64"]


def test_samples_whose_text_is_no_utf_8_are_paired(study):
    for eval_format in ("chat", "raw"):
        path = study / f"eval/base_eval_{eval_format}/results.json"
        path.write_text(path.read_text().replace("0 + 1?", "\\ud800"))
    assert compare_formats(collect_cells(study))[1].by_rule["committed"].n == 100


def test_samples_are_paired_by_index_not_by_place(study):
    path = study / "eval/base_eval_raw/results.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    comparison = compare_formats(collect_cells(study))[1].by_rule["committed"]
    assert (comparison.n, comparison.only_first, comparison.only_second) == (100, 1, 0)


def test_only_the_samples_that_both_cells_answered_are_compared(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(40), n=50)
    add_cell(tmp_path / "s", "base", "raw", range(40), n=100)
    assert compare_formats(collect_cells(tmp_path / "s"))[0].by_rule["committed"].n == 50


@pytest.mark.parametrize(
    "damage", [None, "{", '[{"index": 0}]', '[{"index":0,"question":"","gold":"","correct":"yes"}]']
)
def test_a_cell_with_damaged_results_is_reported_but_not_compared(study, damage):
    path = study / "eval/base_eval_raw/results.json"
    path.unlink() if damage is None else path.write_text(damage)
    page = page_of(study)
    assert "chat and raw are not compared, because results.json of base_eval_raw cannot be read" in page
    assert "| base | \N{EN DASH}/none/\N{EN DASH} | raw |" in section(page, "Accuracy")


def test_a_model_in_one_format_alone_has_nothing_to_compare(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(20))
    assert "there is nothing to compare" in section(page_of(tmp_path / "s"), FORMATS)


def test_cells_that_agree_are_like_for_like(study):
    assert section(page_of(study), "Like for like?").strip().startswith("All cells agree")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n": 50}, "The number of samples n differs: 50 in grpo_chat_template_eval_raw; 100 in the other 4."),
        ({"split": "validation"}, "The split differs: validation in grpo_chat_template_eval_raw; test in the other 4."),
        ({"grader": "f" * 64}, "The grader differs: ffffffff"),
        ({"engine": "transformers"}, "The engine differs: transformers in grpo_chat_template_eval_raw; vllm in"),
        (
            {"device": "cuda"},
            "The device of evaluation differs: cuda in grpo_chat_template_eval_raw; cpu in the",
        ),
        ({"hardware": "EPYC"}, "The hardware of evaluation differs: EPYC in grpo_chat_template_eval_raw; Xeon in"),
        ({"threads": 1}, "The number of threads of evaluation differs: 1 in grpo_chat_template_eval_raw; 2 in"),
        ({"versions": {"torch": "2.12.0"}}, "The version of torch differs: 2.12.0 in grpo_chat_template_eval_raw;"),
        ({"prompt_fingerprint": "f" * 64}, "The fingerprint of the raw prompts differs: ffffffffffff in grpo_chat"),
        ({"not_fitting": 3}, "Cell grpo_chat_template_eval_raw: 3 prompts did not fit"),
    ],
)
def test_what_is_not_like_for_like_is_said(study, changes, line):
    add_cell(study, "grpo_chat_template", "raw", range(20), **changes)
    assert line in section(page_of(study), "Like for like?")


def add_training(study: Path, model: str, **changes) -> None:
    """The manifest of the model that its cells say they evaluated; `changes` are its fields."""
    fields = {
        **{"schema": SCHEMA, "fingerprint": f"{model:0<64}", "inputs": {}, "versions": {}, "seconds": 2.0, "steps": 4},
        **{"resumed_from_step": None, "device": "cpu", "hardware": "Xeon", "threads": 2, "gpus": 1, "samples": 8},
        **{"dropped_samples": 0, "tokens": 800, "tokens_per_second": 400.0, "end_token": {}, "loss": [], "log": []},
        **{"trained_parameters": 1, "changed_weights": None, "relative_distance": None, "weights": f"{model:0<64}"},
    }
    folder = study / "models" / model
    folder.mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps(TrainReport(**fields | changes).to_json()))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"device": "cuda"},
            "The device of training differs: cuda in grpo_chat_template_eval_chat; cpu in the",
        ),
        ({"hardware": "EPYC"}, "The hardware of training differs: EPYC in grpo_chat_template_eval_chat; Xeon in"),
        ({"threads": 1}, "The number of threads of training differs: 1 in grpo_chat_template_eval_chat; 2 in"),
        ({"gpus": 2}, "The number of gpus of training differs: 2 in grpo_chat_template_eval_chat; 1 in"),
        ({"gpu_share": 0.5}, "The gpu_share of training differs: 0.5 in grpo_chat_template_eval_chat; 1.0 in"),
    ],
)
def test_a_training_under_other_conditions_is_not_like_for_like(study, changes, line):
    add_cell(study, "grpo_chat_template", "chat", range(20))
    add_training(study, "sft_chat_template")
    add_training(study, "grpo_chat_template", **changes)
    assert line in section(page_of(study), "Like for like?")


@pytest.mark.parametrize("changes", [{"fingerprint": "f" * 64}, {"schema": SCHEMA + 1}])
def test_a_training_of_another_model_or_version_says_nothing_of_a_cell(study, changes):
    add_cell(study, "grpo_chat_template", "chat", range(20))
    add_training(study, "sft_chat_template")
    add_training(study, "grpo_chat_template", hardware="EPYC", **changes)
    assert section(page_of(study), "Like for like?").strip().startswith("All cells agree")


def test_the_threads_beside_a_gpu_do_not_matter(tmp_path):
    for threads, eval_format in enumerate(("chat", "raw"), start=1):
        add_cell(tmp_path / "s", "base", eval_format, range(20), device="cuda", threads=threads)
    assert section(page_of(tmp_path / "s"), "Like for like?").strip().startswith("All cells agree")


def test_the_page_shows_the_pictures(study):
    page = page_of(study)
    assert all(f"]({name})" in page for name in PICTURES)


def test_hostile_names_are_shown_as_they_are_and_nothing_else(tmp_path):
    add_cell(tmp_path / "s", "m", "chat", range(5), n=10, task=HOSTILE, engine=HOSTILE)
    add_cell(tmp_path / "s", "m", "raw", range(5), n=10, versions={HOSTILE: HOSTILE}, train_method=HOSTILE)
    page = page_of(tmp_path / "s")
    kinds = {child.type for token in MarkdownIt().enable("table").parse(page) for child in token.children or []}
    assert kinds == {"text", "image"}
    assert shown(page).count(HOSTILE) >= 4
    assert "<img" not in page


def test_a_newline_in_a_name_breaks_no_table(tmp_path):
    add_cell(tmp_path / "s", "m", "chat", range(5), n=10, engine="a\n\n# b\n| c |")
    page = page_of(tmp_path / "s")
    assert "\n# b" not in page
    assert "a # b | c |" in shown(page)


def test_an_output_never_reaches_the_page(study):
    path = study / "eval/base_eval_raw/results.json"
    path.write_text(path.read_text().replace("#### 1", "<script>alert(1)</script>"))
    assert "script" not in page_of(study)


def test_the_same_study_gives_the_same_bytes(written):
    first = {name: (written / name).read_bytes() for name in FILES}
    write_report(written.parent)
    assert {name: (written / name).read_bytes() for name in FILES} == first


def test_another_process_on_another_day_draws_the_same_bytes(written, elsewhere):
    for name in (*PICTURES, *VECTORS):
        assert (elsewhere[0] / name).read_bytes() == (written / name).read_bytes(), name


# Pictures


def test_the_pictures_that_users_were_promised_are_there_as_png_and_as_svg(written):
    promised = {"accuracy_bar", "accuracy_grouped", "eval_template_scatter"}
    for suffix in ("png", "svg"):
        assert promised <= {path.stem for path in written.glob(f"*.{suffix}")}


def test_a_further_row_of_the_table_is_a_further_picture_on_the_page(study, monkeypatch):
    monkeypatch.setitem(FIGURES, "mine", replace(FIGURES["accuracy_bar"], section="Like for like?", caption="my own"))
    write_report(study)
    assert (study / "report/mine.svg").is_file()
    assert "![my own](mine.png)" in section((study / "report/report.md").read_text(), "Like for like?")


def dark_ink_at_edge(path: Path) -> bool:
    """Whether something other than white touches the edge: a label that was cut."""
    image = Image.open(path).convert("L")
    width, height = image.size
    edges = [(0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)]
    return any(image.crop(box).getextrema()[0] < 250 for box in edges)


@pytest.mark.parametrize("eval_formats", [["chat"], ["raw"], ["chat", "raw"], ["chat", "raw", "mine", "yours"]])
def test_pictures_are_whole_for_any_number_of_formats(tmp_path, eval_formats):
    for eval_format in eval_formats:
        add_cell(tmp_path / "s", "base", eval_format, range(20))
        add_cell(tmp_path / "s", "sft_chat_template", eval_format, range(100))
    write_report(tmp_path / "s")
    for name in PICTURES:
        Image.open(tmp_path / "s/report" / name).verify()


def test_long_and_hostile_names_are_not_cut_in_the_pictures(tmp_path):
    model = "sft_chat_template--seed=1--" + "k" * 90 + "=$x_1$ \\frac"
    for eval_format in ("chat", "_raw$"):
        add_cell(tmp_path / "s", model, eval_format, range(20))
    write_report(tmp_path / "s")
    assert not any(dark_ink_at_edge(tmp_path / "s/report" / name) for name in PICTURES)


def test_hostile_names_leave_the_svg_files_well_formed(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(20), group=f"{HOSTILE}--></svg>&\x00\ud800")
    write_report(tmp_path / "s")
    for name in VECTORS:
        assert ElementTree.parse(tmp_path / "s/report" / name).getroot().tag.endswith("}svg")


def test_pictures_have_150_dots_per_inch(written):
    assert Image.open(written / "accuracy_bar.png").info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_cells_without_any_sample_can_be_drawn(tmp_path):
    for eval_format in ("chat", "raw"):
        add_cell(tmp_path / "s", "base", eval_format, range(5), n=10, accuracy=float("nan"))
    write_report(tmp_path / "s")
    assert "| \N{EN DASH} |" in (tmp_path / "s/report/report.md").read_text()


# The heat map


@pytest.fixture
def three_models(tmp_path: Path) -> Study:
    """Trained in chat, in raw and not at all; base was not evaluated in raw."""
    add_cell(tmp_path / "s", "sft_chat_template", "chat", range(80))
    add_cell(tmp_path / "s", "sft_chat_template", "raw", range(50))
    add_cell(tmp_path / "s", "grpo_no_chat", "chat", range(40))
    add_cell(tmp_path / "s", "grpo_no_chat", "raw", range(70))
    add_cell(tmp_path / "s", "base", "chat", range(39))
    return Study.read(tmp_path / "s")


def row_labels(ax: Axes) -> list[Text]:
    """What is written left of the axes."""
    return [text for text in ax.texts if text.get_horizontalalignment() == "right"]


def field_texts(figure: Figure) -> dict[tuple[int, int], str]:
    """What stands in each field, by row and column."""
    [ax] = figure.axes
    texts = [text for text in ax.texts if text not in row_labels(ax)]
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in texts}


def framed_fields(figure: Figure) -> set[tuple[int, int]]:
    return {(int(frame.get_y()), int(frame.get_x())) for frame in figure.axes[0].patches}


def test_the_heat_map_has_a_row_for_each_model_and_a_column_for_each_format_in_order(three_models):
    [ax] = accuracy_heatmap(three_models).axes
    assert [label.get_text() for label in row_labels(ax)] == ["sft_chat_template", "grpo_no_chat", "base"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["chat", "raw"]


def test_each_field_of_the_heat_map_says_its_accuracy_in_percent(three_models):
    texts = field_texts(accuracy_heatmap(three_models))
    assert texts == {(0, 0): "80.0", (0, 1): "50.0", (1, 0): "40.0", (1, 1): "70.0", (2, 0): "39.0"}


def test_the_field_of_the_format_that_a_model_was_trained_in_is_framed(three_models):
    assert framed_fields(accuracy_heatmap(three_models)) == {(0, 0), (1, 1)}


def test_a_field_of_the_heat_map_that_nobody_measured_is_grey(three_models):
    [ax] = accuracy_heatmap(three_models).axes
    drawn = ax.collections[0].get_array()
    assert drawn.mask.reshape(3, 2).tolist() == [[False, False], [False, False], [False, True]]
    assert len(set(ax.get_facecolor()[:3])) == 1


def test_a_copied_cell_stands_once_in_the_heat_map(study):
    shutil.copytree(study / "eval/base_eval_raw", study / "eval/copy")
    assert len(field_texts(accuracy_heatmap(Study.read(study)))) == 4


def test_the_heat_map_of_cells_without_any_sample_is_empty(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10, accuracy=float("nan"))
    assert field_texts(accuracy_heatmap(Study.read(tmp_path / "s"))) == {}


# Writing


def write_often(study: Path) -> None:
    for _ in range(2):
        write_report(study)


def test_two_processes_at_once_leave_whole_files_and_a_reader_sees_no_half(written):
    expected = {name: (written / name).read_bytes() for name in FILES}
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(written.parent,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert {name: (written / name).read_bytes() for name in FILES} == expected
        time.sleep(0.01)  # leaves the processors to the writers
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)


def test_the_leftover_of_a_killed_writer_is_removed(study):
    (study / "report").mkdir()
    leftover = study / "report/.report.md.0.tmp"
    leftover.write_text("half")
    os.utime(leftover, (0, 0))
    write_report(study)
    assert not leftover.exists()
