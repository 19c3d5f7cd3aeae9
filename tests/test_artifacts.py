"""Finished or not: manifests, publishing, locks."""

import json
import subprocess
import sys
import time

import pytest

from chattpl.artifacts import Artifact, locked, publish, read_manifest
from chattpl.errors import UserError
from chattpl.files import write_json, write_text
from chattpl.results import SCHEMA

INPUTS = {"seed": 0, "sft.learning_rate": 1e-4}


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    return of(tmp_path, INPUTS)


def of(study, inputs) -> Artifact:
    return Artifact.at(study, "models", "m", "train.json", inputs, "the training of m")


def finish(folder, inputs, **changes):
    fingerprint = of(folder, inputs).fingerprint
    write_json(folder / "train.json", {"schema": SCHEMA, "fingerprint": fingerprint, "inputs": inputs, **changes})


def test_nothing_is_finished_before_its_manifest_is_there(artifact):
    artifact.folder.mkdir(parents=True)
    assert not artifact.is_finished(overwrite=False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_manifest_is_no_manifest(tmp_path, content):
    (tmp_path / "train.json").write_text(content)
    assert read_manifest(tmp_path / "train.json") is None


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_fingerprint_is_finished(artifact, overwrite):
    finish(artifact.folder, INPUTS)
    assert artifact.is_finished(overwrite)


def test_other_inputs_are_an_error_that_names_key_old_and_new_value_and_the_ways_out(artifact, tmp_path):
    finish(artifact.folder, INPUTS)
    with pytest.raises(UserError) as caught:
        of(tmp_path, {**INPUTS, "sft.learning_rate": 3e-4}).is_finished(overwrite=False)
    message = str(caught.value)
    assert "sft.learning_rate: 0.0001 -> 0.0003" in message
    assert "seed" not in message
    assert "study=" in message
    assert "overwrite=true" in message
    assert "command line" in message


def test_overwrite_makes_other_inputs_unfinished(artifact, tmp_path):
    finish(artifact.folder, INPUTS)
    assert not of(tmp_path, {"seed": 1}).is_finished(overwrite=True)


OLD = {"fingerprint": "f" * 64, "made_from": INPUTS, "versions": {"chattpl": "0.1.0"}}  # as version 0.1 wrote it


def test_what_another_version_wrote_is_an_error_that_says_so_and_what_to_do(artifact):
    write_json(artifact.folder / "train.json", OLD)
    with pytest.raises(UserError, match=r"written by chattpl 0\.1\.0.*study=NAME.*overwrite=true"):
        artifact.is_finished(overwrite=False)


def test_what_another_version_wrote_is_neither_overwritten_nor_taken_for_finished(artifact):
    write_json(artifact.folder / "train.json", {**OLD, "fingerprint": artifact.fingerprint})
    with pytest.raises(UserError):
        artifact.produce(lambda: pytest.fail("it was made anew"), overwrite=False)
    assert json.loads((artifact.folder / "train.json").read_text())["made_from"] == INPUTS


def test_producing_publishes_what_was_staged_and_leaves_nothing_of_the_work(artifact):
    def make():
        (artifact.work / "run").mkdir(parents=True)
        (artifact.work / "log").write_text("log")
        finish(artifact.staged, INPUTS)

    assert artifact.produce(make, overwrite=False)
    assert [path.name for path in artifact.folder.iterdir()] == ["train.json"]
    assert not artifact.work.exists()


def test_what_another_process_made_in_the_meantime_is_not_made_again(artifact):
    finish(artifact.folder, INPUTS)
    artifact.work.mkdir(parents=True)
    assert not artifact.produce(lambda: pytest.fail("it was made anew"), overwrite=False)
    assert not artifact.work.exists()


def test_what_was_completed_and_not_published_is_published_and_not_made_again(artifact):
    finish(artifact.staged, INPUTS)
    assert not artifact.produce(lambda: pytest.fail("it was made anew"), overwrite=False)
    assert artifact.is_finished(overwrite=False)


def test_what_was_not_completed_is_not_published(artifact):
    artifact.staged.mkdir(parents=True)
    (artifact.staged / "model.safetensors").write_bytes(b"half")

    def fail():
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        artifact.produce(fail, overwrite=False)
    assert not artifact.folder.exists()
    assert (artifact.staged / "model.safetensors").is_file()


def test_publishing_replaces_the_whole_folder(tmp_path):
    final, staged = tmp_path / "models" / "m", tmp_path / "work" / "staged"
    final.mkdir(parents=True)
    (final / "old").write_text("old")
    finish(staged, INPUTS)
    publish(staged, final)
    assert [path.name for path in final.iterdir()] == ["train.json"]
    assert not list((tmp_path / "work").iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


HOLDER = """
import sys, time
from pathlib import Path
from chattpl.artifacts import locked
with locked(Path(sys.argv[1]), "the work"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_waiting_process_says_for_whom_and_goes_on_when_the_lock_is_free(tmp_path, caplog):
    holder = hold(tmp_path / "a.lock", 1.0)
    with caplog.at_level("INFO"), locked(tmp_path / "a.lock", "the work"):
        assert holder.wait() == 0
    assert f"waiting for the work, running in process {holder.pid} on" in caplog.text


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    holder = hold(tmp_path / "a.lock", 60.0)
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with locked(tmp_path / "a.lock", "the work"):
        assert time.monotonic() - started < 5


def test_json_is_written_for_a_person_to_read(tmp_path):
    write_json(tmp_path / "a.json", {"text": "½ ü"})
    assert "½ ü" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"text": "½ ü"}
