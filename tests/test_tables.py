"""Kinds of format, engines, methods and trackers are rows of tables: what a new row gets without further ado."""

import ast
import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from command_line import command
from conftest import ROOT, configuration

from chattpl.cell import Cell, cell_of
from chattpl.formats import KINDS, RawFields, RawFormat
from chattpl.generation import ENGINES, Completion, Engine
from chattpl.hashing import digest
from chattpl.report.figures import FIGURES
from chattpl.schema import MASKINGS
from chattpl.training import METHODS
from chattpl.training.trackers import TRACKERS, tracked

PACKAGE = ROOT / "chattpl"


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


# --- a new kind of format


@dataclass(frozen=True)
class LoudFields(RawFields):
    kind: str = "loud"
    volume: int = 1


class LoudFormat(RawFormat):
    Fields = LoudFields

    def _before(self, question: str) -> str:
        return super()._before(question) + "!" * self.fields.volume


@pytest.fixture
def loud(monkeypatch):
    monkeypatch.setitem(KINDS, "loud", LoudFormat)


def loud_cell(volume: int) -> Cell:
    mine = [f"+formats.mine={{kind: loud, volume: {volume}}}", "train.format=mine", "eval.format=mine"]
    return cell_of(configuration(*mine), configuration())


def test_the_own_fields_of_a_new_kind_are_in_the_fingerprints(loud):
    assert digest(loud_cell(1).model_keys) != digest(loud_cell(2).model_keys)
    assert digest(loud_cell(1).eval_keys) != digest(loud_cell(2).eval_keys)


def test_a_new_kind_runs_like_those_that_ship(loud, micro, tmp_path):
    mine = ["+formats.mine={kind: loud, volume: 3}", "train.format=mine", "eval.format=mine", "sft.max_steps=1"]
    ended = command(*micro, *mine, cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert "1 trained, 1 evaluated, 0 failed" in ended.out


def test_a_format_in_the_same_folder_with_other_fields_is_told_apart(loud, micro, tmp_path):
    for volume, status in ((1, 0), (2, 1)):
        mine = [f"+formats.mine={{kind: loud, volume: {volume}}}", "method=none", "eval.format=mine"]
        ended = command(*micro, *mine, cwd=tmp_path)
        assert ended.status == status
    assert "formats.mine.volume: 1 -> 2" in ended.err


# --- a new engine


class Echo(Engine):
    """The least that an engine may be: it answers with the end token."""

    def generate(self, prompts, sampling, seeds):
        return [Completion([sampling.stop.token_ids[0]], "eos") for _ in prompts]

    def close(self):
        pass


@pytest.fixture
def echo(monkeypatch):
    kind = replace(ENGINES["transformers"], target=f"{__name__}:Echo", live=False)
    monkeypatch.setitem(ENGINES, "echo", kind)


def test_an_engine_that_takes_no_live_weights_evaluates_untrained_and_trained_models(echo, micro, tmp_path):
    ended = command(*micro, "-m", "engine.name=echo", "method=none,sft", "sft.max_steps=1", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert "1 trained, 2 evaluated, 0 failed" in ended.out


def test_an_engine_that_takes_no_live_weights_is_refused_for_grpo_in_one_line(echo, micro, tmp_path):
    ended = command(*micro, "engine.name=echo", "method=grpo", cwd=tmp_path)
    assert ended.status == 1
    assert ended.err.startswith("error: engine.name=echo: cannot take the weights of a model in training")
    assert len(ended.err.splitlines()) == 1


# --- trackers


def test_a_tracker_that_is_not_installed_is_one_line_that_says_what_to_install(micro, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    ended = command(*micro, "tracker=wandb", cwd=tmp_path)
    assert ended.err == "error: tracker=wandb: wandb is not installed: pip install wandb\n"


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")
def test_tensorboard_shows_the_curve_of_each_model_in_a_folder_of_its_own(micro, tmp_path):
    ended = command(*micro, "-m", "tracker=tensorboard", "stage=train", "train.format=chat,raw", cwd=tmp_path)
    assert ended.status == 0, ended.err
    folder = tmp_path / "outputs/few-micro/tracking/tensorboard"
    assert {path.parent.name for path in folder.glob("*/events*")} == {"sft_chat_template", "sft_no_chat_mask_q"}


def test_a_tracker_is_told_its_place_for_one_training_only(monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    with tracked("tensorboard", "/folder", "study", "model"):
        import os

        assert os.environ["TENSORBOARD_LOGGING_DIR"] == "/folder/model"
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_a_place_that_the_user_set_stays(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with tracked("wandb", "/folder", "study", "model"):
        import os

        assert os.environ["WANDB_PROJECT"] == "mine"
    assert os.environ["WANDB_PROJECT"] == "mine"


# --- every row stands in conf, and nothing asks for a row by its name


@pytest.mark.parametrize(
    ("group", "rows"),
    [
        ("method", METHODS),
        ("masking", MASKINGS),
        ("tracker", TRACKERS),
        ("train_format", yaml.safe_load((ROOT / "conf/formats.yaml").read_text())),
        ("eval_format", yaml.safe_load((ROOT / "conf/formats.yaml").read_text())),
        ("wording", yaml.safe_load((ROOT / "conf/wordings.yaml").read_text())),
    ],
)
def test_every_row_is_a_choice_of_its_configuration_group(group, rows):
    assert {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} == set(rows)


def test_nobody_asks_for_a_method_a_kind_an_engine_or_a_figure_by_name():
    names = {*METHODS, *KINDS, *ENGINES, *FIGURES} - {"none"}
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.Is):
                constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
                found += [f"{path.name}:{node.lineno}" for value in constants if value in names]
    assert found == []


# --- the plan of the house


def sources() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if "plugins" not in path.parts]


def imports() -> dict[str, set[str]]:
    """Every module of the package and those of the package that it imports, wherever in it."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sources()
    }
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        found[module] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in modules:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found[module] |= (names & modules.keys()) or {node.module}
    return found


def test_no_module_imports_itself_by_way_of_others():
    graph, finished = imports(), set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in finished:
            for other in graph[module]:
                visit(other, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


def test_no_file_is_longer_than_some_220_lines():
    lengths = {path.name: path.read_text().count("\n") for path in sources()}
    assert {name: length for name, length in lengths.items() if length > 225} == {}


def test_the_rooms_downstairs_know_nothing_of_hydras_jobs():
    upstairs = {f"chattpl.{name}" for name in ("main", "job", "sweep", "conclusion", "run", "plan")}
    graph = imports()
    for room in ("formats", "tasks", "training", "generation", "report", "evaluation", "grading", "artifacts", "cell"):
        for module in (each for each in graph if each.startswith(f"chattpl.{room}")):
            assert not graph[module] & upstairs, module
