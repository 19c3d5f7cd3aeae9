"""Every command that the documentation shows is run, as it is typed; what cannot run here is composed."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
from command_line import command
from conftest import MICRO_CONFIG, ROOT, SHARED

from chattpl import hydra_app

DOCS = ROOT / "docs"
RESULTS = DOCS / "results"  # pages of a script, which ran the commands that they hold
PAGES = [*sorted(page for page in DOCS.rglob("*.md") if RESULTS not in page.parents), ROOT / "README.md"]
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"\n]+)\")?\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
MATRIX = ["-m", "experiment=glob(*)", "eval.format=chat,raw"]
# What does not run here: another machine's launcher, a model that would be downloaded, a folder of the reader's.
LAUNCHERS = {"slurm_gpu": "submitit", "ray_gpu": "ray", "joblib_cpu": "joblib"}
ELSEWHERE = ("hydra/launcher=", "qwen3_", "Qwen/", "model.path=/models/")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, file name and content of each fenced block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    return [line for language, _, text in blocks(page) if language == "bash" for line in text.splitlines() if line]


SLOW = {f"docs/{name}.md": [pytest.mark.slow] for name in ("concepts/experiment", "howto/grid", "howto/search")}
NAMES = {page.relative_to(ROOT).as_posix(): page for page in PAGES if commands(page)}
WITH_COMMANDS = [pytest.param(page, id=name, marks=SLOW.get(name, [])) for name, page in NAMES.items()]


@pytest.fixture(scope="module")
def folder(micro_model, tmp_path_factory) -> Path:
    """Where all pages' commands run; in `conf`, the configuration on data of which a cell takes a second."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "conf", folder / "conf")
    tiny = MICRO_CONFIG.replace("name: micro", "name: tiny").replace("PATH", str(micro_model))
    (folder / "conf/model/tiny.yaml").write_text(tiny)
    for name, train, test in (("arithmetic", 600, 8), ("gsm8k", 16, 4)):
        path = folder / f"conf/task/{name}.yaml"
        text = re.sub(r"train_limit: .*", f"train_limit: {train}", path.read_text())
        path.write_text(re.sub(r"test_limit: .*", f"test_limit: {test}", text))
    return folder


@pytest.fixture
def small(folder, monkeypatch) -> Path:
    """The folder; commands run in it compose its configuration and find no vLLM."""
    monkeypatch.setattr(hydra_app, "configuration_folder", lambda: folder / "conf")
    monkeypatch.setitem(sys.modules, "vllm", None)
    return folder


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_of_a_page_runs(page, small, monkeypatch):
    monkeypatch.syspath_prepend(str(small))
    for _, name, text in blocks(page):
        if name:
            (small / name).parent.mkdir(parents=True, exist_ok=True)
            (small / name).write_text(text)
    for line in commands(page):
        run(line, small)


def run(line: str, folder: Path) -> None:
    """Run one command of a page, or what can be run of it here."""
    name, *arguments = shlex.split(line)
    if name == "./multirun.sh":
        assert os.access(ROOT / name, os.X_OK)
        if arguments != ["--setup"]:
            run_chattpl([*MATRIX, *arguments], folder)
    elif name == "chattpl":
        run_chattpl(arguments, folder)
    elif name == "eval":
        run_chattpl(["-sc", "install=bash"], folder)
    elif name == "pip":
        check_extra(arguments[-1])
    elif name in ("mkdir", "tar"):
        subprocess.run(line, shell=True, cwd=folder, check=True)
    else:
        assert line in ("source .venv/bin/activate", "tests/run.sh"), f"no test runs this: {line}"


def run_chattpl(arguments: list[str], folder: Path) -> None:
    if "task.source=data/gsm8k" in arguments and SHARED.is_dir():
        (folder / "data").symlink_to(SHARED / "data")
    elif any(word in argument for word in ELSEWHERE for argument in arguments):
        arguments = [*composable(arguments), "--cfg", "job"]
    elif "hydra/sweeper=optuna" in arguments:
        pytest.importorskip("optuna", reason="optuna is not installed")
    # A report takes longer than all the rest. It is written where a page asks for one, from all cells so far.
    reports = contextlib.nullcontext() if "stage=report" in arguments else mock.patch("chattpl.conclusion._report")
    with reports:
        ended = command(*arguments, cwd=folder)
    assert ended.status == 0, f"{shlex.join(arguments)}: {ended.err}"


def composable(arguments: list[str]) -> list[str]:
    """One job of a sweep; a launcher that is not installed here is left out with its keys."""
    chosen = next((each.partition("=")[2] for each in arguments if each.startswith("hydra/launcher=")), None)
    left_out = ("hydra",) if chosen and find_spec(LAUNCHERS[chosen]) is None else ()
    single = [each for each in arguments if each != "-m" and not any(word in each for word in ("glob", *left_out))]
    return [re.sub(r"^([\w.]+=[\w.]+),.*", r"\1", each) for each in single]


def check_extra(requirement: str) -> None:
    (name,) = re.findall(r"\[(\w+)\]$", requirement)
    assert name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
