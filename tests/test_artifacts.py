"""Finished or not: markers, publishing, locks."""

import json
import subprocess
import sys
import time

import pytest

from chattpl.artifacts import fingerprint, is_finished, locked, publish, read_marker, recover, write_json, write_text
from chattpl.errors import UserError

COVERS = {"seed": 0, "sft": {"learning_rate": 1e-4}}


def finish(folder, covers):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "train.json", {"fingerprint": fingerprint(covers), "made_from": covers})


def test_nothing_is_finished_before_its_marker_is_there(tmp_path):
    assert not is_finished(tmp_path / "model" / "train.json", COVERS, overwrite=False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_marker_is_no_marker(tmp_path, content):
    (tmp_path / "train.json").write_text(content)
    assert read_marker(tmp_path / "train.json") is None


def test_the_same_fingerprint_is_finished(tmp_path):
    finish(tmp_path, COVERS)
    assert is_finished(tmp_path / "train.json", COVERS, overwrite=False)
    assert is_finished(tmp_path / "train.json", COVERS, overwrite=True)


def test_another_fingerprint_is_an_error_that_names_key_old_and_new_value_and_the_ways_out(tmp_path):
    finish(tmp_path, COVERS)
    with pytest.raises(UserError) as caught:
        is_finished(tmp_path / "train.json", {"seed": 0, "sft": {"learning_rate": 3e-4}}, overwrite=False)
    message = str(caught.value)
    assert "sft.learning_rate: 0.0001 -> 0.0003" in message
    assert "seed" not in message
    assert "study=" in message
    assert "overwrite=true" in message
    assert "command line" in message


def test_overwrite_makes_another_fingerprint_unfinished(tmp_path):
    finish(tmp_path, COVERS)
    assert not is_finished(tmp_path / "train.json", {"seed": 1}, overwrite=True)


def test_publishing_replaces_the_whole_folder(tmp_path):
    final, staged = tmp_path / "models" / "m", tmp_path / "work" / "model"
    final.mkdir(parents=True)
    (final / "old").write_text("old")
    finish(staged, COVERS)
    publish(staged, final)
    assert [path.name for path in final.iterdir()] == ["train.json"]
    assert not list((tmp_path / "work").iterdir())


def test_what_was_completed_and_not_published_is_published_by_the_next(tmp_path):
    final, staged = tmp_path / "models" / "m", tmp_path / "work" / "model"
    finish(staged, COVERS)
    recover(staged, final, "train.json")
    assert is_finished(final / "train.json", COVERS, overwrite=False)


def test_what_was_not_completed_is_not_published(tmp_path):
    staged = tmp_path / "work" / "model"
    staged.mkdir(parents=True)
    (staged / "model.safetensors").write_bytes(b"half")
    recover(staged, tmp_path / "m", "train.json")
    assert not (tmp_path / "m").exists()


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
    assert f"waiting for the work: process {holder.pid} on" in caplog.text


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
