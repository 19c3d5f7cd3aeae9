"""Models and data sets of the Hugging Face hub, which here is a server on the loopback address."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from conftest import run_main
from hub import Hub, serving

MAIN = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train.jsonl}
  - {split: test, path: main/test.jsonl}
- config_name: socratic
  data_files:
  - {split: test, path: socratic/socratic.jsonl}
---
"""
OTHER_FILES = ("pytorch_model.bin", "model.gguf", "README.md", "consolidated.safetensors", "onnx/config.json")
CODE = "modeling_micro.py"
TEMPLATE = "additional_chat_templates/tools.jinja"
WEIGHTS = "model.safetensors"
CELL = ["model.path=org/micro", "task=gsm8k", "task.source=org/sums", "train.method=none", "stage=eval"]
TRAINING = ["task=gsm8k", "train.method=sft", "sft.max_steps=1", "stage=train"]
NO_DATA = ["task=gsm8k", "task.source=org/none"]  # ends in an error as soon as the model is there
SMALL = ["engine.name=transformers", "device=cpu", "eval.max_tokens=4", "eval.batch_size=4", "study=s"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Ran:
    """A command that ended well, the folder that it ran in, and what it made the hub do."""

    folder: Path
    asked: list[str]
    fetched: list[str]

    def read(self, name: str) -> Any:
        """The one file of this name in the study."""
        (path,) = self.folder.glob(f"outputs/s/*/*/{name}")
        return json.loads(path.read_text())


def rows(split: str) -> list[dict[str, str]]:
    """Eight sums that no other split has."""
    left = len(split)
    return [{"question": f"{left} + {i}?", "answer": f"{left} + {i}\n#### {left + i}"} for i in range(8)]


def write_rows(folder: Path, *splits: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(split)))


@pytest.fixture(scope="module")
def hub(micro_model, tmp_path_factory) -> Iterator[Hub]:
    """`org/micro` with files of all kinds, `org/sums` with two configurations, and bad ones."""
    root = tmp_path_factory.mktemp("hub")
    model, data = root / "models/org", root / "datasets/org"
    shutil.copytree(micro_model, model / "micro")
    (model / "micro/onnx").mkdir()
    (model / "micro" / TEMPLATE).parent.mkdir()
    (model / "micro" / TEMPLATE).write_text("{{ tools }}")
    for name in (*OTHER_FILES, CODE, "onnx/export.py"):
        (model / "micro" / name).write_text("{}")
    write_rows(data / "sums/main", "train", "test")
    write_rows(data / "sums/socratic", "socratic")
    (data / "sums/README.md").write_text(MAIN)
    write_rows(data / "untested", "train")
    write_rows(data / "wrong", "train", "test")
    (data / "wrong/test.jsonl").write_text('{"question": "1?", "answer": "#### 1"}\n{"question": "2?", "answer": "2"}')
    for gated in (model / "gated", data / "gated"):
        shutil.copytree(model / "micro", gated, ignore=shutil.ignore_patterns("*.safetensors"))
    with serving(root) as server:
        server.gated.add("org/gated")
        yield server


@pytest.fixture(scope="module")
def run(hub, no_vllm) -> Iterator[Run]:
    """Run a command in a folder, with a cache of its own unless `HF_HOME` is given."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_"))]:
            patch.delenv(name)

        def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
            cwd.mkdir(exist_ok=True)
            defaults = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cwd / ".cache/huggingface"), "NO_PROXY": "127.0.0.1"}
            return run_main(*arguments, *SMALL, cwd=cwd, PYTHONPATH=no_vllm, **(defaults | environment))

        yield run


@pytest.fixture(scope="module")
def ran(run, hub, tmp_path_factory) -> Callable[..., Ran]:
    def ran(*arguments: str, **environment: str) -> Ran:
        folder, before = tmp_path_factory.mktemp("ran"), len(hub.asked)
        done = run(*arguments, cwd=folder, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        asked = hub.asked[before:]
        return Ran(folder, asked, hub.fetched(asked))

    return ran


@pytest.fixture(scope="module")
def cell(ran) -> Ran:
    """A model and a data set of the hub, downloaded and evaluated."""
    return ran(*CELL)


@pytest.fixture(scope="module")
def trained(ran, cell, closed) -> Ran:
    """A training on the files that `cell` downloaded, while the hub cannot be reached."""
    home = str(cell.folder / ".cache/huggingface")
    return ran("model.path=org/micro", "task.source=org/sums", *TRAINING, HF_HOME=home, HF_ENDPOINT=closed)


@pytest.fixture(scope="module")
def closed() -> str:
    """An address at which connections are refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closing() -> Iterator[str]:
    """An address at which connections are accepted and closed without an answer."""

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            if connection.recv(1) == b"x":
                return
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        socket.create_connection(server.getsockname()).send(b"x")
        thread.join()


def local(root: Path) -> list[str]:
    """The folders that the hub serves, as local ones."""
    return [f"model.path={root}/models/org/micro", f"task.source={root}/datasets/org/sums/main"]


def needed(model: Path) -> list[str]:
    """The files of the model that make it one, apart from its weights."""
    files = {path.name for path in model.iterdir() if path.is_file()} - {*OTHER_FILES, CODE, WEIGHTS}
    return sorted(files | {TEMPLATE})


def test_the_samples_are_the_rows_of_the_asked_configuration_in_their_order(cell):
    assert [entry["question"] for entry in cell.read("results.json")] == [row["question"] for row in rows("test")]


def test_the_needed_files_are_downloaded_each_once_and_no_others(cell, micro_model):
    of_the_model = [name for name in cell.fetched if name.startswith("models/org/micro/")]
    assert of_the_model == sorted(f"models/org/micro/{name}" for name in [*needed(micro_model), WEIGHTS])


def test_the_data_are_downloaded_once_for_both_splits(cell):
    of_the_data = [name for name in cell.fetched if name.startswith("datasets/")]
    assert len(of_the_data) == len(set(of_the_data))
    assert {"datasets/org/sums/main/train.jsonl", "datasets/org/sums/main/test.jsonl"} <= set(of_the_data)


@pytest.fixture(scope="module")
def previewed(run, hub, tmp_path_factory) -> Ran:
    """A preview that got as far as the model."""
    folder, before = tmp_path_factory.mktemp("previewed"), len(hub.asked)
    run("model.path=org/micro", *NO_DATA, "stage=preview", cwd=folder)
    return Ran(folder, hub.asked[before:], hub.fetched(hub.asked[before:]))


def test_a_preview_downloads_no_weights(previewed, micro_model):
    assert previewed.fetched == [f"models/org/micro/{name}" for name in needed(micro_model)]


def test_weights_that_a_preview_left_out_are_missed_without_the_hub(run, previewed, closed):
    line = complaint_of(run("model.path=org/micro", *NO_DATA, cwd=previewed.folder, HF_ENDPOINT=closed))
    assert line.startswith("error: model.path=org/micro: the hub cannot be reached")


def test_code_is_downloaded_where_it_is_trusted(run, hub, tmp_path):
    before = len(hub.asked)
    run("model.path=org/micro", "model.trust_remote_code=true", *NO_DATA, cwd=tmp_path)
    fetched = hub.fetched(hub.asked[before:])
    assert f"models/org/micro/{CODE}" in fetched
    assert "models/org/micro/onnx/export.py" not in fetched


def test_a_model_is_trained_on_cached_files_while_the_hub_cannot_be_reached(trained):
    assert trained.read("train.json")["steps"] == 1


def test_a_trained_model_keeps_the_additional_chat_templates(trained):
    (copy,) = trained.folder.glob(f"outputs/s/models/*/{TEMPLATE}")
    assert copy.read_text() == "{{ tools }}"


def test_the_same_files_in_local_folders_find_the_training_done(run, hub, trained):
    before = trained.read("train.json")
    done = run(*local(hub.root), *TRAINING, cwd=trained.folder)
    assert (done.returncode, done.stderr, trained.read("train.json")) == (0, "", before)


def test_local_folders_ask_the_hub_for_nothing(run, hub, trained):
    before = len(hub.asked)
    run(*local(hub.root), *TRAINING, cwd=trained.folder)
    assert hub.asked[before:] == []


def test_an_evaluation_asks_the_hub_for_nothing_besides_the_files(cell):
    repositories = ("/api/models/org/micro/", "/api/datasets/org/sums/", "/org/micro/resolve/", "/datasets/org/sums/")
    assert len(cell.asked) == len(set(cell.asked))
    assert all(request.split()[1].startswith(repositories) for request in cell.asked)


def test_cached_files_are_taken_where_the_hub_closes_its_connections(run, cell, closing):
    line = complaint_of(run("model.path=org/micro", *NO_DATA, cwd=cell.folder, HF_ENDPOINT=closing))
    assert line.startswith("error: task.source=org/none: the hub cannot be reached")  # the model was found before


def test_the_hub_is_asked_for_nothing_where_the_client_is_told_to_be_offline(run, hub, cell):
    before = len(hub.asked)
    done = run(*CELL, cwd=cell.folder, HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stderr, hub.asked[before:]) == (0, "", [])


def complaint_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that failed."""
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    return lines[0]


def of(key: str, repo: str) -> list[str]:
    return [f"{key}={repo}", "task=gsm8k", "train.method=none"]


BOTH_KEYS = pytest.mark.parametrize("key", ["model.path", "task.source"])


@BOTH_KEYS
def test_a_repository_that_is_not_there_is_named_as_not_found(run, tmp_path, key):
    line = complaint_of(run(*of(key, "org/none"), cwd=tmp_path))
    assert line.startswith(f"error: {key}=org/none: not found")


@BOTH_KEYS
def test_a_gated_repository_is_said_to_be_restricted_with_the_page_to_ask_at(run, hub, tmp_path, key):
    line = complaint_of(run(*of(key, "org/gated"), cwd=tmp_path))
    page = f"{hub.url}/{'datasets/' if key == 'task.source' else ''}org/gated"
    assert line.startswith(f"error: {key}=org/gated: access is restricted; ask for it at {page}")


def test_a_token_that_the_hub_refuses_is_told(run, tmp_path):
    line = complaint_of(run(*of("model.path", "org/micro"), cwd=tmp_path, HF_TOKEN="hf_wrong"))
    assert line.startswith("error: model.path=org/micro: access is refused (status 401); set HF_TOKEN")


@BOTH_KEYS
def test_a_hub_that_cannot_be_reached_is_told_at_once(run, closed, tmp_path, key):
    begin = time.monotonic()
    line = complaint_of(run(*of(key, "org/micro"), cwd=tmp_path, HF_ENDPOINT=closed))
    assert line.startswith(f"error: {key}=org/micro: the hub cannot be reached")
    assert time.monotonic() - begin < 20  # the client's own retries take 24 seconds


@BOTH_KEYS
def test_what_is_not_cached_is_told_where_the_client_is_told_to_be_offline(run, tmp_path, key):
    line = complaint_of(run(*of(key, "org/micro"), cwd=tmp_path, HF_HUB_OFFLINE="1"))
    assert line.startswith(f"error: {key}=org/micro: not in the cache")
    assert "HF_HUB_OFFLINE" in line


def test_a_value_that_can_be_no_repository_is_told(run, tmp_path):
    line = complaint_of(run(*of("model.path", "o g/x"), cwd=tmp_path))
    assert line.startswith("error: model.path=o g/x: is neither a local folder nor the id of a repository")


def test_a_split_that_a_data_set_lacks_is_named(run, tmp_path):
    line = complaint_of(run(*of("task.source", "org/untested"), cwd=tmp_path))
    assert line.startswith("error: task.source=org/untested: split 'test' cannot be read")


def test_a_malformed_row_of_a_data_set_without_configurations_is_named_by_its_number(run, tmp_path):
    line = complaint_of(run(*of("task.source", "org/wrong"), cwd=tmp_path))
    assert line.startswith("error: org/wrong test, row 2: a sample without a gold answer")
