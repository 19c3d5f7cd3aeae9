"""The table at the end of a command."""

import io
import json
import re

import pytest
from rich.console import Console
from test_report import add_cell, page_of, section

from chattpl.report import print_table
from chattpl.report.study import Study


@pytest.fixture
def study(tmp_path):
    """Two models in two formats: chat beats raw clearly for the first, and not at all for the second."""
    for model, right in {"base": (39, 40), "sft_chat_template": (50, 80)}.items():
        for eval_format, each in zip(("raw", "chat"), right, strict=True):
            add_cell(tmp_path / "arithmetic-tiny", model, eval_format, range(each))
    return tmp_path / "arithmetic-tiny"


def printed(folder, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table(Study.read(folder), console)
    return console.file.getvalue()


def rewrite(cell, change) -> None:
    """Other results for a cell."""
    path = cell / "results.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def figures_of(lines: str, name: str) -> list[str]:
    """The last three columns of a cell."""
    return next(line for line in lines.splitlines() if line.startswith(name)).split()[-3:]


def test_the_last_columns_are_the_kinds_of_wrong_answers_of_the_report(study):
    rewrite(
        study / "eval/sft_chat_template_eval_chat",
        lambda results: [{**each, "run_on": each["index"] >= 70, "stop_reason": "length"} for each in results],
    )
    lines = printed(study)
    assert figures_of(lines, "sft_chat_template chat") == ["0.0", "0.0", "20.0"]
    assert "No answer, cut off, ran on: of wrong answers alone, each of them counted once" in lines
    found = section(page_of(study), "Why answers were lost")
    assert "| sft_chat_template in chat | 80.0 | 0.0 | 0.0 | 0.0 | 0.0 | 20.0 |" in found


def test_a_cell_whose_answers_cannot_be_read_has_no_kinds_of_them(study):
    (study / "eval/base_eval_chat/results.json").write_text("{")
    assert figures_of(printed(study), "base") == ["\N{EN DASH}"] * 3


def test_a_line_of_the_table_tells_the_cell(study):
    line = next(line for line in printed(study).splitlines() if line.startswith("sft_chat_template"))
    assert line.split() == ["sft_chat_template", "chat", "80.0*+", "[71,", "87]", "80.0", "0.0", "0.0", "0.0"]


def test_what_all_cells_share_stands_once_above_the_table(study):
    lines = printed(study).splitlines()
    assert lines[0] == "arithmetic-tiny: task arithmetic, split test, n 100, seed 0, engine vllm"
    assert printed(study).count("100") == 1


def test_a_format_is_marked_that_is_significantly_better_and_no_other(study):
    assert "80.0*" in printed(study)
    assert printed(study).count("*") == 2  # the cell and the legend


def test_a_model_is_marked_that_training_made_significantly_better_or_worse(tmp_path):
    for model, right in {"base": 50, "sft_chat_template": 80, "grpo_chat_template": 20, "grpo_no_chat": 52}.items():
        add_cell(tmp_path / "s", model, "chat", range(right))
    found = dict(re.findall(r"^(\S+) +chat +[\d.]+ ?(\S?) *\[", printed(tmp_path / "s"), re.MULTILINE))
    assert found == {"sft_chat_template": "+", "grpo_chat_template": "-", "grpo_no_chat": "", "base": ""}
    assert "+ better, - worse than the untrained model in the same format" in printed(tmp_path / "s")


def test_without_an_untrained_model_nothing_is_said_of_it(tmp_path):
    for eval_format, right in {"chat": 80, "raw": 20}.items():
        add_cell(tmp_path / "s", "sft_chat_template", eval_format, range(right))
    assert "untrained" not in printed(tmp_path / "s")
    assert re.search(r"80\.0\* +\[", printed(tmp_path / "s"))


def test_figures_stand_below_each_other_whatever_their_marks(study):
    lines = [line for line in printed(study).splitlines() if re.search(r"\[\d+, +\d+\]", line)]
    assert len({line.index(".") for line in lines}) == 1


def test_a_format_that_beats_one_of_two_others_is_not_marked(tmp_path):
    for eval_format, right in {"chat": 80, "raw": 78, "mine": 20}.items():
        add_cell(tmp_path / "s", "base", eval_format, range(right))
    assert printed(tmp_path / "s").count("*") == 1  # the legend


@pytest.mark.parametrize("eval_format", ["chat", "a_format_with_an_exceptionally_long_name"])
def test_long_names_and_large_figures_fit_in_80_columns(tmp_path, eval_format):
    for seed, n in enumerate((1319, 100)):
        changes = {"sft.learning_rate": 3e-5, "seed": seed}
        model = f"sft_chat_template_full_loss--sft.learning_rate=3e-05--seed={seed}"
        add_cell(tmp_path / "s", model, eval_format, range(n), n=n, changes=changes)
    for large in ({"extracted": None}, {"stop_reason": "length"}, {"run_on": True}):
        folder = add_cell(tmp_path / "s", "base", eval_format, range(0), suffix=f"--task.wording={next(iter(large))}")
        rewrite(folder, lambda results, large=large: [{**each, **large} for each in results])
    lines = printed(tmp_path / "s").splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert any("100.0 [100, 100]" in " ".join(line.split()) for line in lines)


def test_a_model_of_the_matrix_stands_on_one_line(tmp_path):
    for eval_format in ("chat", "raw"):
        add_cell(tmp_path / "s", "sft_chat_template_full_loss", eval_format, range(1200), n=1319)
    lines = printed(tmp_path / "s").splitlines()
    assert any(line.startswith("sft_chat_template_full_loss chat") for line in lines)
    assert len(lines) == 8  # what is shared, two lines of headings, the rule, two cells, the legend of two lines


def test_brackets_and_escapes_in_a_name_are_text(tmp_path):
    add_cell(tmp_path / "s", "m[red]x[bold]", "chat", range(5), n=10, engine="\x1b[31m")
    output = printed(tmp_path / "s")
    assert "m[red]x[bold]" in output
    assert "\x1b" not in output


def test_a_long_name_goes_on_beside_the_next_format_of_its_model(tmp_path):
    for learning_rate in ("1e-5", "3e-5"):
        for eval_format in ("chat", "raw"):
            model = f"sft_chat_template_full_loss--sft.learning_rate={learning_rate}"
            add_cell(tmp_path / "s", model, eval_format, range(50))
    lines = printed(tmp_path / "s").splitlines()[4:8]
    assert [line.split()[0] for line in lines] == [
        *("sft_chat_template_full_loss", "learning_rate=1e-5", "sft_chat_template_full_loss", "learning_rate=3e-5")
    ]


def test_marks_are_said_to_be_of_all_seeds_where_there_are_several(study, tmp_path):
    assert "seeds" not in printed(study)
    for seed in (0, 1):
        name = f"grpo_no_chat--seed={seed}" if seed else "grpo_no_chat"
        add_cell(study, name, "chat", range(50 + seed), seed=seed)
    assert "Marks are of all seeds of a model together" in printed(study)
