"""`multirun.sh`: what it types for its user on machines with more or fewer GPUs."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT


@pytest.fixture
def typed(tmp_path):
    """Runs the script on a machine with so many GPUs; what it has Python do. Nothing is installed or computed."""
    shutil.copy(ROOT / "multirun.sh", tmp_path)
    tools = tmp_path / "bin"
    for folder in (tools, tmp_path / ".venv" / "bin"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / ".venv" / "pyproject.installed")
    (tmp_path / ".venv" / "bin" / "python").write_text('#!/bin/sh\necho "$@"\n')

    def run(gpus: int, *arguments: str, **environment: str) -> str:
        cards = "\n".join(f"echo 'GPU {index}: NVIDIA H200 (UUID: GPU-{index})'" for index in range(gpus))
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{cards or 'exit 9'}\n")
        for tool in (tools / "nvidia-smi", tmp_path / ".venv" / "bin" / "python"):
            tool.chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        environment = {**inherited, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", **environment}
        command = ["bash", tmp_path / "multirun.sh", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    return run


MATRIX = "-m chattpl.main -m experiment=glob(*) eval.format=chat,raw"


@pytest.mark.parametrize("gpus", [0, 1])
def test_one_gpu_or_none_is_one_process(typed, gpus):
    assert typed(gpus, "seed=1") == f"{MATRIX} seed=1"


def test_several_gpus_are_a_worker_each(typed):
    assert typed(8, "seed=1") == f"{MATRIX} hydra/launcher=ray_gpu seed=1"


@pytest.mark.parametrize(("visible", "workers"), [("3", False), ("2,5", True), ("", False)])
def test_the_gpus_that_are_visible_count(typed, visible, workers):
    assert ("ray_gpu" in typed(8, CUDA_VISIBLE_DEVICES=visible)) == workers


def test_a_launcher_that_is_named_stays(typed):
    assert typed(8, "hydra/launcher=joblib_cpu") == f"{MATRIX} hydra/launcher=joblib_cpu"
