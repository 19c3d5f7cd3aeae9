"""The sweep as a user types it, on a model of one layer: what is done, what is kept, what stands in the folders."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended, command
from conftest import run_main

MATRIX = ["-m", "experiment=glob(*)", "eval.format=chat,raw"]
TRAINED = ["sft_chat_template", "grpo_chat_template", "sft_no_chat_full_loss", "sft_no_chat_mask_q", "grpo_no_chat"]
CELLS = sorted(f"{model}_eval_{form}" for model in [*TRAINED, "base"] for form in ("chat", "raw"))
OWN_TASK = """
from chattpl.tasks import Sample, Task

class Echo(Task):
    def __init__(self, path): self.words = open(path).read().split()
    def name(self): return "echo"
    def samples(self): return [Sample(f"Say {word}.", word, word) for word in self.words]
    def load_train(self): return self.samples()
    def load_test(self): return self.samples()[:2]
    def extract_answer(self, model_output): return model_output.strip() or None
    def check_answer(self, extracted, gold): return extracted == gold
"""


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


@pytest.fixture(scope="module")
def swept(micro, no_vllm, tmp_path_factory) -> tuple[Path, str]:
    """A folder in which the matrix was run, and what that printed."""
    folder = tmp_path_factory.mktemp("swept")
    secret = {"HF_TOKEN": "hf_secret_token", "PYTHONPATH": no_vllm}
    done = run_main(*micro, *MATRIX, "+hydra.job.env_set.OTHER=env_set_secret", cwd=folder, **secret)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def study_of(folder: Path, name: str = "few-micro") -> Path:
    return folder / "outputs" / name


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def work_done(printed: str) -> tuple[int, int, int]:
    """Trainings, evaluations and failures."""
    return tuple(map(int, re.search(r"(\d+) trained, (\d+) evaluated, (\d+) failed", printed).groups()))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file but the report's: when it was written, and which it is."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if "report" not in path.parts and path.is_file()
    }


def succeeded(ended: Ended) -> tuple[int, int, int]:
    assert ended.status == 0, ended.err
    return work_done(ended.out)


# --- the whole matrix


def test_the_matrix_is_twelve_cells_of_five_trainings(swept):
    folder, printed = swept
    assert work_done(printed) == (5, 12, 0)
    assert names(study_of(folder) / "models") == sorted(TRAINED)
    assert names(study_of(folder) / "eval") == CELLS
    assert names(folder) == ["outputs"]


def test_the_same_command_again_does_nothing_and_writes_nothing(swept, micro):
    folder, _ = swept
    before = snapshot(folder)
    assert succeeded(command(*micro, *MATRIX, cwd=folder)) == (0, 0, 0)
    assert snapshot(folder) == before


def test_dotted_keys_and_groups_name_the_same_cells(swept, micro):
    folder, _ = swept
    dotted = ["-m", "train.format=chat,raw", "train.method=sft,grpo", "eval.format=chat,raw"]
    groups = ["-m", "train_format=chat,raw", "method=sft,grpo", "masking=answer", "eval_format=chat,raw"]
    for arguments in (dotted, groups):
        ended = command(*micro, *arguments, cwd=folder)
        assert succeeded(ended) == (0, 0, 0)
        assert "8 jobs, 8 cells, 0 to be done" in ended.out


@pytest.mark.parametrize(
    "arguments",
    [
        "train.method=grpo train.format=raw eval.format=raw",
        "method=grpo train_format=raw eval_format=raw",
        "experiment=grpo_no_chat eval_format=raw",
        "method=grpo train.format=raw masking=full eval.format=raw sft.learning_rate=1",
        "method=none train.format=raw train.masking=full eval.format=raw grpo.beta=1 sft.max_steps=9",
        "eval.format=raw grpo.learning_rate=3 sft.save_steps=2 sft.logging_steps=3 engine.kv_cache_gib=3",
    ],
)
def test_what_means_nothing_to_a_method_makes_no_other_cell(swept, micro, arguments):
    assert succeeded(command(*micro, *arguments.split(), cwd=swept[0])) == (0, 0, 0)


def test_the_grid_of_sixteen_jobs_is_twelve_cells_of_six_trainings(swept, micro):
    grid = ["train.format=chat,raw", "train.method=sft,grpo", "train.masking=answer,full", "eval.format=chat,raw"]
    ended = command(*micro, "-m", *grid, cwd=swept[0])
    assert "16 jobs, 12 cells, 2 to be done" in ended.out
    assert succeeded(ended) == (1, 2, 0)  # the five of the matrix are there
    assert "sft_chat_template_full_loss" in names(study_of(swept[0]) / "models")


# --- what lies in the folders


@pytest.mark.parametrize("cell", CELLS)
def test_a_run_folder_holds_what_it_should_and_nothing_else(swept, cell):
    folder = study_of(swept[0]) / "eval" / cell
    assert names(folder) == [".hydra", "main.log", "results.json", "summary.json"]
    assert names(folder / ".hydra") == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    assert f"evaluating {cell}" in (folder / "main.log").read_text()


def test_a_summary_holds_the_figures_of_the_cell(swept):
    summary = read(study_of(swept[0]) / "eval" / "sft_no_chat_mask_q_eval_chat" / "summary.json")
    expected = {
        "study": "few-micro", "model_name": "sft_no_chat_mask_q", "task": "few", "train_format": "raw", "seed": 0,
        "train_method": "sft", "train_masking": "answer", "eval_format": "chat", "n": 8, "engine": "transformers",
    }  # fmt: skip
    assert expected.items() <= summary.items()
    figures = [
        "correct",
        "accuracy",
        "ci_low",
        "ci_high",
        "strict_accuracy",
        "no_answer_rate",
        "truncated_rate",
        "run_on_rate",
    ]
    others = [
        "mean_completion_tokens",
        "seconds",
        "tokens_per_second",
        "model_fingerprint",
        "prompt_fingerprint",
        "versions",
    ]
    assert {*figures, *others} <= summary.keys()


def test_a_result_holds_question_output_and_grade(swept):
    (first, *_) = read(study_of(swept[0]) / "eval" / "base_eval_raw" / "results.json")
    keys = ["index", "question", "gold", "output", "extracted", "correct", "strict", "stop_reason", "completion_tokens"]
    assert set(keys) <= first.keys()
    assert first["stop_reason"] in ("eos", "stop", "length")


@pytest.mark.parametrize("model", TRAINED)
def test_a_trained_model_says_what_it_was_made_from_and_how_it_went(swept, model):
    folder = study_of(swept[0]) / "models" / model
    report = read(folder / "train.json")
    inputs = ["base", "data", "formats.", "train.format", "train.method", "model.dtype", "seed", "task."]
    for wanted in inputs:
        assert any(key.startswith(wanted) for key in report["inputs"]), wanted
    keys = [
        "fingerprint",
        "inputs",
        "seconds",
        "steps",
        "tokens",
        "tokens_per_second",
        "device",
        "versions",
    ]
    assert set(keys) <= report.keys()
    assert report["steps"] == (2 if "grpo" in model else 4)
    assert report["mean_reward"] if "grpo" in model else report["loss"]
    expected = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert expected < set(names(folder))
    assert not [name for name in names(folder) if name.startswith((".", "checkpoint", "optimizer", "training_args"))]


def test_the_report_holds_one_row_for_each_cell_in_the_order_of_the_original_experiment(swept, micro):
    folder, _ = swept
    report = study_of(folder) / "report"
    expected = {"comparison.csv", "accuracy_bar.png", "accuracy_grouped.png", "eval_template_scatter.png", "report.md"}
    assert expected <= set(names(report))
    rows = (report / "comparison.csv").read_text().splitlines()[1:]
    assert len(rows) == len(names(study_of(folder) / "eval"))


def test_nothing_of_the_environment_is_written(swept):
    folder, _ = swept
    files = [path for path in (folder / "outputs").rglob("*") if path.is_file()]
    for secret in (b"hf_secret_token", b"env_set_secret"):
        assert not [path for path in files if secret in path.read_bytes()]


def test_only_locks_are_left_of_the_work(swept):
    left = [path.name for path in (study_of(swept[0]) / ".work").rglob("*") if path.is_file()]
    assert left
    assert all(name.endswith(".lock") for name in left)


# --- names


def test_what_was_changed_beside_the_axes_stands_in_the_name(swept, micro):
    changed = ["seed=1", "sft.learning_rate=3e-5", "eval.max_tokens=4"]
    assert succeeded(command(*micro, *changed, cwd=swept[0])) == (1, 1, 0)
    model = "sft_chat_template--seed=1--sft.learning_rate=3e-05"
    assert model in names(study_of(swept[0]) / "models")
    assert f"{model}_eval_chat--eval.max_tokens=4" in names(study_of(swept[0]) / "eval")


def test_a_study_and_an_output_root_of_ones_own(micro, tmp_path):
    ended = command(*micro, "method=none", "study=mine", f"output_root={tmp_path / 'elsewhere'}", cwd=tmp_path)
    assert succeeded(ended) == (0, 1, 0)
    assert names(tmp_path / "elsewhere" / "mine" / "eval") == ["base_eval_chat"]


def test_an_interpolation_on_the_command_line(micro, tmp_path):
    ended = command(*micro, "method=none", "study=${model.name}.${seed}", cwd=tmp_path)
    assert succeeded(ended) == (0, 1, 0)
    assert names(tmp_path / "outputs") == ["micro.0"]


# --- stages


def test_the_stages_one_after_the_other(micro, tmp_path):
    study = study_of(tmp_path)
    assert succeeded(command(*micro, "stage=train", cwd=tmp_path)) == (1, 0, 0)
    assert not (study / "eval").exists()
    assert not (study / "report").exists()
    assert succeeded(command(*micro, "-m", "stage=eval", "eval.format=chat,raw", cwd=tmp_path)) == (0, 2, 0)
    (study / "report" / "report.md").unlink()
    assert succeeded(command(*micro, "stage=report", cwd=tmp_path)) == (0, 0, 0)
    assert (study / "report" / "report.md").is_file()


# --- other inputs


@pytest.fixture
def changeable(micro, tmp_path) -> tuple[list[str], Path]:
    """A study with one cell, and its configuration, to be changed."""
    configuration = tmp_path / "conf"
    shutil.copytree(Path(micro[1]), configuration)
    options = ["--config-dir", str(configuration), *micro[2:]]
    assert succeeded(command(*options, cwd=tmp_path)) == (1, 1, 0)
    return options, configuration / "model" / "micro.yaml"


def test_another_fingerprint_in_the_same_folder_is_an_error_that_names_what_differs(changeable, tmp_path):
    options, configuration = changeable
    configuration.write_text(configuration.read_text().replace("max_steps: 4", "max_steps: 3"))
    before = snapshot(tmp_path)
    ended = command(*options, cwd=tmp_path)
    assert ended.status == 1
    for words in ("sft.max_steps: 4 -> 3", "study=", "overwrite=true", "command line"):
        assert words in ended.err
    assert len(ended.err.splitlines()) == 1
    assert snapshot(tmp_path) == before


def test_overwrite_replaces_the_model_and_then_its_cells(changeable, tmp_path):
    options, configuration = changeable
    configuration.write_text(configuration.read_text().replace("max_steps: 4", "max_steps: 3"))
    assert succeeded(command(*options, "overwrite=true", cwd=tmp_path)) == (1, 1, 0)
    model = read(study_of(tmp_path) / "models" / "sft_chat_template" / "train.json")
    cell = read(study_of(tmp_path) / "eval" / "sft_chat_template_eval_chat" / "summary.json")
    assert model["steps"] == 3
    assert cell["model_fingerprint"] == model["fingerprint"]
    assert succeeded(command(*options, "overwrite=true", cwd=tmp_path)) == (0, 0, 0)


def test_the_suffix_keeps_both(changeable, tmp_path):
    options, _ = changeable
    assert succeeded(command(*options, "sft.max_steps=3", cwd=tmp_path)) == (1, 1, 0)
    assert names(study_of(tmp_path) / "models") == ["sft_chat_template", "sft_chat_template--sft.max_steps=3"]


def test_the_same_files_elsewhere_are_the_same_model(changeable, micro_model, tmp_path):
    shutil.copytree(micro_model, tmp_path / "copy")
    assert succeeded(command(*changeable[0], f"model.path={tmp_path / 'copy'}", cwd=tmp_path)) == (0, 0, 0)


# --- one cell fails


def test_one_failing_cell_does_not_stop_the_others_and_is_listed(micro, tmp_path):
    # An end token that the model does not have is found out when the tokenizer is loaded.
    bad = ["+formats.bad={kind: raw, eos: '<nope>'}", "-m", "eval.format=bad,chat,raw"]
    ended = command(*micro, *bad, cwd=tmp_path)
    assert (ended.status, work_done(ended.out)) == (1, (1, 2, 1))
    *listed, last = [line for line in ended.err.splitlines() if line.startswith(("failed: ", "error: "))]
    assert len(listed) == 1
    assert "sft_chat_template_eval_bad" in listed[0]
    assert "'<nope>' is not one special token" in listed[0]
    assert last.startswith("error: 1 of 3 cells failed")
    assert "Traceback" not in ended.err
    assert (study_of(tmp_path) / "report" / "report.md").is_file()
    again = command(*micro, *bad, cwd=tmp_path)
    assert (again.status, work_done(again.out)) == (1, (0, 0, 1))
    fixed = ["+formats.bad={kind: raw}", *bad[1:]]
    assert succeeded(command(*micro, *fixed, cwd=tmp_path)) == (0, 1, 0)


def test_a_sweep_with_one_bad_value_does_the_rest(micro, tmp_path):
    ended = command(*micro, "-m", "method=none", "eval.format=chat,rawr", cwd=tmp_path)
    assert (ended.status, work_done(ended.out)) == (1, (0, 1, 1))
    assert "eval.format=rawr: no such value, did you mean 'raw'?" in ended.err


def test_a_cell_that_cannot_be_planned_is_told_before_the_others_begin(micro, tmp_path):
    ended = command(*micro, "-m", "method=none", "eval.format=chat,rawr", cwd=tmp_path)
    before = ended.out.partition("evaluating base_eval_chat")[0]
    assert "method=none eval.format=rawr: eval.format=rawr: no such value" in before


# --- a task and a format of one's own


def test_a_task_outside_the_package(micro, tmp_path, monkeypatch):
    (tmp_path / "echo_task.py").write_text(OWN_TASK)
    (tmp_path / "words.txt").write_text("one two three four")
    configuration = tmp_path / "conf"
    shutil.copytree(Path(micro[1]), configuration)
    (configuration / "task" / "echo.yaml").write_text(
        "_target_: echo_task.Echo\nname: echo\npath: words.txt\ninstruction: Say it.\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    ended = command("--config-dir", str(configuration), "model=micro", "task=echo", "sft.max_steps=1", cwd=tmp_path)
    assert succeeded(ended) == (1, 1, 0)
    results = read(
        study_of(tmp_path, "echo-micro") / "eval" / "sft_chat_template--sft.max_steps=1_eval_chat" / "results.json"
    )
    assert [entry["gold"] for entry in results] == ["one", "two"]


def test_a_format_on_the_command_line_is_a_value_of_both_axes(micro, tmp_path):
    mine = '+formats.mine={kind: raw, prompt: "Q: {question} A:"}'
    assert succeeded(command(*micro, mine, "train.format=mine", "-m", "eval.format=mine,chat", cwd=tmp_path)) == (
        1,
        2,
        0,
    )
    assert names(study_of(tmp_path) / "eval") == ["sft_mine_eval_chat", "sft_mine_eval_mine"]
    (row, *_) = read(study_of(tmp_path) / "eval" / "sft_mine_eval_mine" / "results.json")
    assert row["question"]


# --- launchers


def launched(launcher: list[str], micro: list[str], no_vllm: str, folder: Path) -> str:
    done = run_main(*micro, *MATRIX, *launcher, cwd=folder, PYTHONPATH=no_vllm)
    assert done.returncode == 0, done.stderr[-3000:]
    assert work_done(done.stdout) == (5, 12, 0)
    assert names(study_of(folder) / "eval") == CELLS
    assert names(study_of(folder) / "models") == sorted(TRAINED)
    rows = (study_of(folder) / "report" / "comparison.csv").read_text().splitlines()
    assert len(rows) == 13
    return done.stdout


def outputs(folder: Path) -> dict[str, list[str]]:
    """The answers of each cell."""
    cells = (study_of(folder) / "eval").glob("*/results.json")
    return {path.parent.name: [entry["output"] for entry in read(path)] for path in cells}


TWO_WORKERS = [
    "hydra.launcher.ray.remote.num_gpus=0",
    "+hydra.launcher.ray.remote.num_cpus=1",
    "+hydra.launcher.ray.init.num_cpus=2",
]
SHARED_CARD = ["gpu_share=0.5", "+hydra.launcher.ray.init.num_gpus=1", "+hydra.launcher.ray.init.num_cpus=1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"],
        ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"],
        ["hydra/launcher=ray_gpu", *TWO_WORKERS],
        ["hydra/launcher=ray_gpu", *SHARED_CARD],
    ],
    ids=["joblib", "submitit_local", "ray", "ray_gpu", "ray_gpu with more workers than cores"],
)
def test_a_launcher_does_five_trainings_twelve_evaluations_and_one_report(launcher, swept, micro, no_vllm, tmp_path):
    plugin = re.split("[=_]", launcher[0])[1]
    pytest.importorskip(plugin, reason=f"{plugin} is not installed (pip install -e '.[cluster]')")
    printed = launched(launcher, micro, no_vllm, tmp_path)
    assert printed.count("report.md") == 1
    mine, theirs = outputs(tmp_path), outputs(swept[0])
    assert mine == {cell: theirs[cell] for cell in mine}


DEADLY_TASK = """
import os
from chattpl.tasks.arithmetic import Arithmetic

class Deadly(Arithmetic):
    def grade(self, model_output, gold): os.kill(os.getpid(), 9)
"""


@pytest.fixture
def deadly(micro, no_vllm, tmp_path) -> tuple[list[str], str]:
    """Two jobs of which one ends its process, and the PYTHONPATH that they need."""
    (tmp_path / "deadly_task.py").write_text(DEADLY_TASK)
    shutil.copytree(micro[1], tmp_path / "conf")
    few = (tmp_path / "conf" / "task" / "few.yaml").read_text()
    text = few.replace("chattpl.tasks.arithmetic.Arithmetic", "deadly_task.Deadly").replace("few", "deadly")
    (tmp_path / "conf" / "task" / "deadly.yaml").write_text(text)
    jobs = ["--config-dir", "conf", "-m", "model=micro", "method=none", "task=deadly,few", "study=${task.name}"]
    return jobs, f"{tmp_path}:{no_vllm}"


@pytest.mark.slow
def test_a_worker_that_dies_is_told_in_the_list_of_what_failed(deadly, tmp_path):
    pytest.importorskip("joblib")
    jobs, path = deadly
    done = run_main(*jobs, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 1
    assert "the launcher gave up" in done.stderr
    assert "Traceback" not in done.stderr
    assert "base_eval_chat" in done.stderr
    assert not (study_of(tmp_path, "deadly") / "eval").exists()


@pytest.mark.slow
def test_another_worker_takes_the_place_of_one_that_dies(deadly, tmp_path):
    pytest.importorskip("ray")
    jobs, path = deadly
    one = [*TWO_WORKERS[:-1], "+hydra.launcher.ray.init.num_cpus=1"]
    done = run_main(*jobs, "hydra/launcher=ray_gpu", *one, cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, work_done(done.stdout)) == (1, (0, 1, 1))
    assert "base_eval_chat" in done.stderr
    assert "its worker died" in done.stderr
    assert "Traceback" not in done.stderr
    assert names(study_of(tmp_path, "few") / "eval") == ["base_eval_chat"]


@pytest.mark.slow
def test_workers_write_a_checkpoint_when_the_sweep_is_ended(micro, no_vllm, tmp_path):
    pytest.importorskip("ray")
    jobs = [*micro, "-m", "stage=train", "seed=0,1", "sft.max_steps=400", "sft.save_steps=400"]
    command = [sys.executable, "-m", "chattpl.main", *jobs, "hydra/launcher=ray_gpu", *TWO_WORKERS]
    environment = {**os.environ, "PYTHONPATH": no_vllm, "PYTHONUNBUFFERED": "1"}
    sweep = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    training: set[str] = set()
    while len(training) < 2:
        line = sweep.stdout.readline()
        training |= {line.partition(")")[0]} if "of 400:" in line else set()
    sweep.terminate()
    sweep.communicate(timeout=60)
    assert sweep.returncode == 143
    assert len(list((study_of(tmp_path) / ".work").rglob("checkpoint-*"))) == 2


def test_workers_that_share_a_folder_do_the_work_of_one(micro, no_vllm, tmp_path):
    pytest.importorskip("joblib")
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = run_main(*micro, "-m", "method=sft,none", "eval.format=chat,raw", *joblib, cwd=tmp_path, PYTHONPATH=no_vllm)
    assert done.returncode == 0, done.stderr[-3000:]
    assert work_done(done.stdout) == (1, 4, 0)
