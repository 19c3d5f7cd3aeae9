"""A training as data: written as JSON, run here or by a process of its own, with the same end."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import command
from conftest import ROOT, configuration, training_job

from chattpl.generation.pool import EnginePool
from chattpl.train_report import TrainReport
from chattpl.training.job import TrainingJob

SHORT = ["sft.max_steps=2", "sft.per_device_train_batch_size=4", "sft.save_strategy=no", "task.train_limit=16"]
ROLLOUTS = ["grpo.max_steps=1", "grpo.per_device_train_batch_size=8", "grpo.num_generations=4", "task.train_limit=16"]
METHODS = {"sft": SHORT, "grpo": [*ROLLOUTS, "grpo.max_completion_length=8"]}


def job_in(folder: Path, method: str) -> TrainingJob:
    return training_job(folder, f"method={method}", "engine.name=transformers", *METHODS[method])


def work(job: TrainingJob, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m chattpl.training.worker job.json` in a folder of its own."""
    (folder / "job.json").write_text(json.dumps(job.to_json()))
    arguments = [sys.executable, "-m", "chattpl.training.worker", "job.json"]
    threads = str(torch.get_num_threads())  # decides in which order sums are rounded
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": threads}
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_job_is_the_same_after_a_journey_as_json(tmp_path, method):
    job = job_in(tmp_path, method)
    assert TrainingJob.from_json(json.loads(json.dumps(job.to_json()))) == job


@pytest.fixture(scope="module", params=METHODS)
def worked(request, tmp_path_factory) -> TrainingJob:
    """A job that a worker has done."""
    folder = tmp_path_factory.mktemp("there")
    job = job_in(folder, request.param)
    done = work(job, folder)
    assert done.returncode == 0, done.stderr
    return job


def test_a_worker_trains_the_model_that_this_process_trains(worked, tmp_path):
    from chattpl.training.run import run_job

    here = replace(worked, work=str(tmp_path / "run"), output=str(tmp_path / "model"))
    run_job(here, EnginePool())
    one, two = (Path(job.output) / "model.safetensors" for job in (here, worked))
    assert one.read_bytes() == two.read_bytes()


def test_a_worker_leaves_a_model_folder_with_its_report(worked):
    report = TrainReport.from_json(json.loads((Path(worked.output) / "train.json").read_text()))
    assert report.steps == (2 if worked.method == "sft" else 1)
    assert report.inputs == worked.inputs
    assert (Path(worked.output) / "tokenizer.json").is_file()


def test_what_is_no_job_is_one_line(tmp_path):
    (tmp_path / "job.json").write_text('{"method": "sft"}')
    arguments = [sys.executable, "-m", "chattpl.training.worker", "job.json"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: job.json: is no training job")
    assert len(done.stderr.splitlines()) == 1


def test_the_job_that_a_cell_hands_to_its_training_is_kept_while_it_trains(micro, tmp_path, monkeypatch):
    from chattpl.training import run

    seen = {}
    monkeypatch.setattr(run, "save_model", lambda model, live, output: seen.update(_read_job(output.parent)))
    command(*micro, "stage=train", "engine.name=transformers", cwd=tmp_path)
    assert seen["method"] == "sft"
    assert seen["format"] == configuration().formats["chat"].to_dict()


def _read_job(work_folder: Path) -> dict:
    return json.loads((work_folder / "job.json").read_text())
