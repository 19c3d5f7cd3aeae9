"""What is installed: one wheel, one top-level package, one command, with everything that it needs inside."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT

LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


def run(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def knows_setuptools() -> bool:
    """Whether this environment can build the wheel itself, without fetching anything."""
    wanted = re.search(r'"setuptools>=(\d+)"', (ROOT / "pyproject.toml").read_text())
    try:
        return int(metadata.version("setuptools").partition(".")[0]) >= int(wanted[1])
    except metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built from a copy because setuptools leaves folders behind."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("chattpl", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    isolation = ["--no-build-isolation"] if knows_setuptools() else []
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", *isolation, "--wheel-dir", folder / "dist", folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """`bin` of an environment of its own that holds the wheel, and borrows from this one what the wheel depends on.

    A `.pth` file lends this environment's packages. Those of its own `.pth` files, an editable install's among them,
    are not read there, so the checkout cannot be imported.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    lent = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "lent.pth").write_text("\n".join(lent))
    return folder / "bin"


def files(folder: Path) -> set[str]:
    """The files below a folder that belong into the wheel, by their paths in it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def from_elsewhere(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command as a user types it in a folder that has nothing to do with the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return run(command, *arguments, cwd=cwd, env=environment)


def test_the_wheel_installs_one_top_level_package(contents):
    tops = {name.partition("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"chattpl"}


def test_the_wheel_holds_every_file_of_the_package(contents):
    assert {f"chattpl/{name}" for name in files(ROOT / "chattpl")} <= contents


def test_the_wheel_holds_the_whole_configuration_inside_the_package(contents):
    inside = {name.removeprefix("chattpl/conf/") for name in contents if name.startswith("chattpl/conf/")}
    assert inside == files(ROOT / "conf")


def test_the_wheel_brings_the_command(wheel, contents):
    (name,) = (name for name in contents if name.endswith(".dist-info/entry_points.txt"))
    points = configparser.ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        points.read_string(archive.read(name).decode())
    assert dict(points["console_scripts"]) == {"chattpl": "chattpl.main:main"}


def test_an_installed_chattpl_is_the_wheels_own(installed, tmp_path):
    program = "import chattpl, chattpl.hydra_app; print(chattpl.__file__, chattpl.hydra_app.configuration_folder())"
    package, folder = from_elsewhere(installed / "python", "-c", program, cwd=tmp_path).stdout.split()
    assert Path(package).is_relative_to(installed.parent)
    assert folder == str(Path(package).parent / "conf")


def test_the_installed_command_shows_its_configuration_from_any_folder(installed, tmp_path):
    shown = from_elsewhere(installed / "chattpl", "--cfg", "job", cwd=tmp_path).stdout
    assert "study: ${task.name}-${model.name}" in shown
    assert not list(tmp_path.iterdir())


def test_the_installed_version_is_the_one_in_the_projects_file(installed, tmp_path):
    program = "from importlib import metadata; print(metadata.version('chattpl'))"
    version = from_elsewhere(installed / "python", "-c", program, cwd=tmp_path).stdout.strip()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_the_installed_command_finishes_a_cell_in_any_folder(installed, tmp_path):
    arguments = ["train.method=none", "task.test_limit=5", "engine.name=transformers"]
    from_elsewhere(installed / "chattpl", *arguments, cwd=tmp_path)
    (summary,) = tmp_path.glob("outputs/arithmetic-tiny/eval/*/summary.json")
    assert json.loads(summary.read_text())["n"] == 5


@pytest.mark.slow
def test_the_installed_command_sweeps_with_its_own_sweeper(installed, tmp_path):
    arguments = ["-m", "experiment=glob(base)", "eval.format=chat,raw", "stage=preview"]
    from_elsewhere(installed / "chattpl", *arguments, cwd=tmp_path)
    assert len(list(tmp_path.glob("outputs/arithmetic-tiny/eval/*/preview.json"))) == 2
