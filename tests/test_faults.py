"""Killed, interrupted, started twice, out of space: what was done is kept, and the end is the same."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Forked

from chattpl.evaluation import Answers
from chattpl.files import write_json
from chattpl.generation import Completion
from chattpl.training.callbacks import last_checkpoint

SWEEP = ["-m", "train.method=sft,grpo", "eval.format=chat,raw"]
MODELS, CELLS = 2, 4
STEPS = ["sft.max_steps=12", "grpo.max_steps=4"]


class Folder:
    """A folder in which commands are started, and what lies in it."""

    def __init__(self, path: Path, options: list[str]):
        self.path = path
        self.options = options
        self.commands = 0
        path.mkdir()

    def start(self, *arguments: str) -> Forked:
        self.commands += 1
        return Forked([*self.options, *arguments], self.path, self.path / f"command{self.commands}.log")

    def run(self, *arguments: str) -> str:
        forked = self.start(*arguments)
        assert forked.end() == 0, forked.printed
        return forked.printed

    @property
    def study(self) -> Path:
        return self.path / "outputs" / "few-micro"

    def find(self, pattern: str) -> list[Path]:
        return list(self.study.glob(pattern))

    def work(self, pattern: str) -> Callable[[], list[Path]]:
        return lambda: self.find(f".work/{pattern}")

    def printed(self) -> str:
        return "".join(path.read_text() for path in sorted(self.path.glob("command*.log")))


@pytest.fixture
def folder(micro, tmp_path) -> Folder:
    return Folder(tmp_path / "disturbed", [*micro, *STEPS])


@pytest.fixture(scope="module")
def undisturbed(micro, tmp_path_factory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("sweep") / "undisturbed", [*micro, *STEPS])
    folder.run(*SWEEP)
    return folder


def outputs(folder: Folder) -> dict[str, list[str]]:
    return {
        path.parent.name: [[entry["output"], entry["correct"]] for entry in json.loads(path.read_text())]
        for path in folder.find("eval/*/results.json")
    }


def weights(folder: Folder) -> dict[str, str]:
    """The hash of each model's weights."""
    paths = folder.find("models/*/model.safetensors")
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def train_json(folder: Folder) -> dict[str, Any]:
    (path,) = folder.find("models/*/train.json")
    return json.loads(path.read_text())


def published(folder: Folder) -> set[str]:
    paths = [path for kind in ("models", "eval") for path in (folder.study / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.study)) for path in paths}


def assert_same(disturbed: Folder, undisturbed: Folder) -> None:
    assert outputs(disturbed) == outputs(undisturbed)
    assert published(disturbed) == published(undisturbed)
    assert weights(disturbed) == weights(undisturbed)


def completed(folder: Folder) -> list[str]:
    return re.findall(r"trained (\S+) in", folder.printed())


# --- killed


def test_a_sweep_killed_at_every_kind_of_moment_ends_like_one_that_was_not(folder, undisturbed):
    moments = {
        "training": folder.work("models/sft*/run/checkpoint-3"),
        "checkpointing": folder.work("models/sft*/run/checkpoint-7/model.safetensors"),
        "saving": folder.work("models/sft*/staged/config.json"),
        "publishing": folder.work("models/sft*/staged/train.json"),
        "answering": folder.work("eval/sft*chat*/answers*.jsonl"),
        "writing": folder.work("eval/sft*raw*/staged/results.json"),
        "rolling out": folder.work("models/grpo*/run/checkpoint-2"),
        "reporting": lambda: folder.find("report/comparison.csv"),
    }
    killed = []
    for name, moment in moments.items():
        forked = folder.start(*SWEEP)
        if forked.until(moment):
            killed.append(name)
        forked.kill()
    folder.run(*SWEEP)
    assert len(killed) >= 6, killed
    assert len(completed(folder)) <= MODELS
    assert_same(folder, undisturbed)
    assert not folder.find(".work/*/*/run")


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_training_that_was_killed_goes_on_from_its_checkpoint(folder, undisturbed, method):
    forked = folder.start(f"train.method={method}", "stage=train")
    assert forked.until(folder.work("models/*/run/checkpoint-2/trainer_state.json"))
    forked.kill()
    printed = folder.run(f"train.method={method}", "stage=train")
    step = int(re.search(r"resuming from checkpoint-(\d+)", printed)[1])
    assert train_json(folder)["resumed_from_step"] == step >= 1
    ((name, mine),) = weights(folder).items()
    assert mine == weights(undisturbed)[name]


def test_a_resumed_training_counts_the_seconds_before_it_was_killed(folder):
    forked = folder.start("stage=train")
    assert forked.until(folder.work("models/*/run/checkpoint-2/trainer_state.json"))
    forked.kill()
    (run,) = folder.find(".work/models/*/run")
    path = last_checkpoint(run) / "trainer_state.json"
    state = json.loads(path.read_text())
    state["stateful_callbacks"]["Clock"]["attributes"]["seconds"] += 1000
    path.write_text(json.dumps(state))
    folder.run("stage=train")
    assert 1000 < train_json(folder)["seconds"] < 2000


def test_an_evaluation_that_was_killed_keeps_its_answers(folder, undisturbed):
    forked = folder.start("method=none", "eval.batch_size=1")
    assert forked.until(folder.work("eval/*/answers*.jsonl"))
    forked.kill()
    (answers,) = folder.find(".work/eval/*/answers*.jsonl")
    kept = answers.read_bytes().count(b"\n")
    printed = folder.run("method=none", "eval.batch_size=1")
    assert printed.count("answered") == 8 - kept


def test_overwriting_keeps_the_old_model_until_the_new_one_is_there(folder):
    folder.run("stage=train")
    (old,) = weights(folder).values()
    configuration = folder.path / "conf"
    shutil.copytree(folder.options[1], configuration)
    model = configuration / "model" / "micro.yaml"
    model.write_text(model.read_text().replace("learning_rate: 1.0e-3", "learning_rate: 2.0e-3"))
    again = ["--config-dir", str(configuration), *folder.options[2:], "stage=train", "overwrite=true"]
    folder.options = []
    forked = folder.start(*again)
    assert forked.until(folder.work("models/*/run/checkpoint-2"))
    forked.kill()
    assert list(weights(folder).values()) == [old]
    folder.run(*again)
    assert list(weights(folder).values()) != [old]


def test_a_model_that_was_complete_but_not_in_place_is_published_and_not_trained_again(folder, undisturbed):
    folder.run("stage=train")
    (final,) = folder.find("models/*")
    (lock,) = folder.find(".work/models/*.lock")
    work = lock.with_suffix("")
    work.mkdir()
    final.rename(work / "staged")
    (work / "staged" / ".train.json.abc.partial").write_text("half")
    (work / "retired").mkdir()
    (work / "retired" / "old").write_text("old")
    printed = folder.run("stage=train")
    assert "0 trained, 0 evaluated, 0 failed" in printed
    assert sorted(path.name for path in final.iterdir() if path.name.startswith(".")) == []
    assert not work.exists()


# --- interrupted


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_keeps_its_last_step(folder, undisturbed, signum, status):
    forked = folder.start("stage=train", "sft.save_steps=1000")
    assert forked.until(lambda: "step 1 of" in forked.printed)
    forked.send(signum)
    assert forked.end() == status
    assert "interrupted; run the same command again to resume" in forked.printed
    assert "Traceback" not in forked.printed
    (checkpoint,) = folder.find(".work/models/*/run/checkpoint-*")
    assert not folder.find(".work/models/*.holder")
    printed = folder.run("stage=train", "sft.save_steps=1000")
    assert f"resuming from {checkpoint.name}" in printed
    ((name, mine),) = weights(folder).items()
    assert mine == weights(undisturbed)[name]


def test_an_interrupted_sweep_stops_at_once(folder):
    forked = folder.start("-m", "method=none,sft", "eval.format=chat,raw")
    assert forked.until(lambda: "evaluating" in forked.printed)
    forked.send(signal.SIGTERM)
    assert forked.end() == 143
    assert "Traceback" not in forked.printed
    assert not folder.find(".work/*/*.holder")


# --- side by side


def test_one_waits_and_says_so_and_takes_over_when_the_other_dies(folder):
    first = folder.start("stage=train")
    assert first.until(folder.work("models/*/run/checkpoint-2"))
    first.send(signal.SIGSTOP)
    second = folder.start("stage=train")
    assert second.until(lambda: "waiting for the training of sft_chat_template" in second.printed)
    assert re.search(r"running in process \d+ on \S+", second.printed)
    first.kill()
    assert second.end() == 0
    assert "resuming from checkpoint-" in second.printed
    assert "1 trained, 0 evaluated, 0 failed" in second.printed


def test_two_sweeps_at_once_do_the_work_of_one(folder, undisturbed):
    both = [folder.start(*SWEEP) for _ in range(2)]
    assert [forked.end() for forked in both] == [0, 0], folder.printed()
    done = re.findall(r"(\d+) trained, (\d+) evaluated, 0 failed", folder.printed())
    assert [sum(map(int, column)) for column in zip(*done, strict=True)] == [MODELS, CELLS]
    assert_same(folder, undisturbed)


# --- half-written


def test_a_checkpoint_without_its_last_file_is_not_gone_on_from(tmp_path):
    for step in (10, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
        write_json(tmp_path / f"checkpoint-{step}" / "trainer_state.json", {"global_step": step})
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").touch()
    (tmp_path / "checkpoint-30").mkdir()
    (tmp_path / "checkpoint-40").mkdir()
    (tmp_path / "checkpoint-40" / "trainer_state.json").write_text('{"global_step": 4')
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-20"
    assert not (tmp_path / "checkpoint-30").exists()


def test_half_a_line_of_answers_is_not_taken(tmp_path):
    path = tmp_path / "answers.jsonl"
    Answers(path).add([(0, 0)], [Completion([5], "eos")], 1.0)
    with path.open("a") as file:
        file.write('{"seconds": 1, "answers": [[1, 0, [5')
    answers = Answers(path)
    assert list(answers.completions) == [(0, 0)]
    answers.add([(1, 0)], [Completion([6], "eos")], 1.0)
    assert list(Answers(path).completions) == [(0, 0), (1, 0)]


# --- out of space


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_one_clear_line_and_loses_nothing(folder, small_disk, undisturbed):
    command = [*SWEEP, f"output_root={small_disk}"]
    full = folder.start(*command)
    assert full.end() == 1
    assert "no space left" in full.printed
    assert "make room and run the same command again" in full.printed
    assert "Traceback" not in full.printed
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    folder.run(*command)
    (folder.path / "outputs").symlink_to(small_disk)
    assert_same(folder, undisturbed)
