"""What somebody who knows Hydra expects of a Hydra app."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from command_line import command
from conftest import ROOT, run_main
from omegaconf import OmegaConf

from chattpl.hashing import flat
from chattpl.schema import schema_node

TWO = ["-m", "method=none", "eval.format=chat,raw"]
CALLBACK = """
import json
from hydra.experimental.callback import Callback

class Notes(Callback):
    def __init__(self, path): self.path = path
    def on_job_end(self, config, job_return, **kwargs):
        value = job_return._return_value
        with open(self.path, "a") as file:
            print(json.dumps([job_return.status.name, value if isinstance(value, float) else None]), file=file)
"""


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Overrides for a callback of the user's own, and what it wrote down of each job: status and return value."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "noting.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    path = tmp_path / "notes"
    overrides = ["+hydra.callbacks.notes._target_=noting.Notes", f"+hydra.callbacks.notes.path={path}"]
    return overrides, lambda: [json.loads(line) for line in path.read_text().splitlines()]


def work_done(printed: str) -> tuple[int, ...]:
    return tuple(map(int, re.search(r"(\d+) trained, (\d+) evaluated, (\d+) failed", printed).groups()))


def summaries(folder: Path, study: str = "few-micro") -> dict[str, dict]:
    paths = (folder / "outputs" / study / "eval").glob("*/summary.json")
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


# --- the command line


@pytest.mark.parametrize(
    "order",
    [
        ["-m", "seed=0,1", "~experiment", "--config-dir", "DIR", "model=micro", "task=few"],
        ["model=micro", "--config-dir", "DIR", "task=few", "-m", "~experiment", "seed=0,1"],
        ["--config-dir=DIR", "~experiment", "seed=0,1", "--multirun", "model=micro", "task=few"],
    ],
)
def test_options_and_overrides_stand_in_any_order(micro, tmp_path, order):
    arguments = [argument.replace("DIR", micro[1]) for argument in order]
    ended = command(*arguments, "method=none", "stage=train", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert "2 jobs, 1 cells" in ended.out


def test_the_last_of_two_overrides_counts(micro, tmp_path):
    ended = command(*micro, *TWO, "eval.format=raw", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert list(summaries(tmp_path)) == ["base_eval_raw"]


def test_the_parameters_of_the_sweeper_are_swept_over(micro, tmp_path):
    params = ["+hydra.sweeper.params={eval.format: 'chat,raw'}", "hydra.sweeper.max_batch_size=1"]
    ended = command(*micro, "-m", "method=none", *params, cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert sorted(summaries(tmp_path)) == ["base_eval_chat", "base_eval_raw"]


# --- sweepers and callbacks


def test_a_job_returns_its_accuracy(micro, notes, tmp_path):
    overrides, noted = notes
    assert command(*micro, *overrides, "method=none", cwd=tmp_path).status == 0
    assert noted() == [["COMPLETED", summaries(tmp_path)["base_eval_chat"]["accuracy"]]]


def test_the_objective_is_any_figure_of_the_summary(micro, notes, tmp_path):
    overrides, noted = notes
    command(*micro, *overrides, "method=none", "objective=mean_completion_tokens", cwd=tmp_path)
    assert noted() == [["COMPLETED", summaries(tmp_path)["base_eval_chat"]["mean_completion_tokens"]]]


def test_a_finished_cell_returns_its_number_again(micro, notes, tmp_path):
    overrides, noted = notes
    for _ in range(2):
        command(*micro, *overrides, "method=none", cwd=tmp_path)
    assert noted()[0] == noted()[1]


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_job_that_fails_is_failed_to_callbacks(micro, notes, tmp_path, sweep):
    overrides, noted = notes
    bad = ["method=none", "+formats.bad={kind: raw, eos: '<nope>'}", "eval.format=bad"]
    ended = command(*micro, *overrides, *sweep, *bad, cwd=tmp_path)
    assert ended.status == 1
    assert noted() == [["FAILED", None]]
    assert ended.err.splitlines()[-1].startswith("error: formats.bad.eos")


def test_a_failure_is_told_when_it_happens(micro, tmp_path):
    bad = ["method=none", "+formats.bad={kind: raw, eos: '<nope>'}", "eval.format=bad,chat"]
    printed = command(*micro, "-m", *bad, cwd=tmp_path).out
    assert "failed: base_eval_bad: formats.bad.eos" in printed.partition("evaluating base_eval_chat")[0]


def test_a_sweep_without_the_callback_that_tells_of_failures_is_refused(micro, tmp_path):
    ended = command(*micro, "-m", "~hydra.callbacks.chattpl", cwd=tmp_path)
    assert ended.status == 1
    assert "hydra.callbacks.chattpl: cannot be removed" in ended.err


def test_hydras_own_sweeper_ends_with_the_report_and_the_count(micro, tmp_path):
    ended = command(*micro, *TWO, "hydra/sweeper=basic", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert work_done(ended.out) == (0, 2, 0)
    assert (tmp_path / "outputs/few-micro/report/report.md").is_file()


def test_a_sweeper_that_gives_up_at_a_failure_still_ends_with_the_report_and_the_list(micro, tmp_path):
    formats = ["+formats.bad={kind: raw, eos: '<nope>'}"]
    sweep = ["-m", "hydra/sweeper=basic", "method=none", "eval.format=bad,chat,raw"]
    ended = command(*micro, *formats, *sweep, cwd=tmp_path)
    assert (ended.status, work_done(ended.out)) == (1, (0, 2, 1))
    assert "failed: base_eval_bad" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: 1 of 3 cells failed")
    assert (tmp_path / "outputs/few-micro/report/report.md").is_file()
    assert not list((tmp_path / "outputs/.sweep").glob("*/jobs"))


OPTUNA = ["-m", "hydra/sweeper=optuna", "method=sft", "stage=all", "sft.max_steps=1"]


def test_optuna_searches_over_a_hyperparameter(micro, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `search`")
    search = ["sft.learning_rate=tag(log,interval(1e-6,1e-4))", "hydra.sweeper.n_trials=2"]
    ended = command(*micro, *OPTUNA, *search, cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert work_done(ended.out) == (2, 2, 0)
    (best,) = (tmp_path / "outputs/.sweep").glob("*/optimization_results.yaml")
    values = [summary["accuracy"] for summary in summaries(tmp_path).values()]
    assert yaml.safe_load(best.read_text())["best_value"] == max(values)


def test_trials_of_optuna_that_fail_are_listed_and_do_not_stop_the_others(micro, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `search`")
    formats = ["+formats.bad={kind: raw, eos: '<nope>'}"]
    search = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=10"]
    values = ["method=none", "eval.format=choice(chat,raw,bad)", "eval.temperature=interval(0.1,1)"]
    ended = command(*micro, *formats, "-m", *search, "hydra.sweeper.sampler.seed=3", *values, cwd=tmp_path)
    assert ended.status == 1
    assert work_done(ended.out) == (0, 8, 2)
    assert ended.err.count("failed: base_eval_bad") == 2
    assert "Traceback" not in ended.err


# --- what Hydra's keys say


def test_verbose_shows_what_is_only_told_in_detail(micro, tmp_path):
    ended = command(*micro, "method=none", "hydra.verbose=true", cwd=tmp_path)
    assert "the evaluation of base_eval_chat: fingerprint" in ended.out


def test_another_logging_configuration_is_obeyed(micro, tmp_path):
    ended = command(*micro, "method=none", "hydra/job_logging=default", cwd=tmp_path)
    assert "[chattpl.run][INFO] - evaluating base_eval_chat" in ended.out
    assert "[chattpl.run][INFO] - evaluating base_eval_chat" in (tmp_path / "chattpl.log").read_text()


def test_the_recorded_configuration_composes_the_cell_again(micro, tmp_path):
    ended = command(*micro, "method=none", "eval.max_tokens=4", cwd=tmp_path)
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "outputs/few-micro/eval").glob("*/.hydra")
    overrides = yaml.safe_load((folder / "overrides.yaml").read_text())
    assert overrides == ["model=micro", "task=few", "method=none", "eval.max_tokens=4"]
    assert OmegaConf.load(folder / "config.yaml").eval.max_tokens == 4
    assert OmegaConf.load(folder / "hydra.yaml").hydra.job.name == "chattpl"
    assert (
        command("--config-dir", micro[1], *overrides, cwd=tmp_path).out.count("0 trained, 0 evaluated, 0 failed") == 1
    )


def test_the_schema_holds_no_default_so_that_each_stands_once_in_conf():
    values = flat(OmegaConf.to_container(schema_node(), throw_on_missing=False))
    assert {key: value for key, value in values.items() if value not in ("???", {})} == {}


def test_every_key_of_the_engine_stands_in_conf():
    written = yaml.safe_load((ROOT / "conf" / "engine.yaml").read_text())
    assert written.keys() == schema_node().engine.keys()


# --- two cells, one folder


def test_a_format_that_is_named_like_another_model_runs_as_a_cell_of_its_own(micro, tmp_path):
    sweep = ["+formats.no_chat_mask_q={kind: raw, prompt: 'Q {question} A'}", "-m", "train.format=raw,no_chat_mask_q"]
    ended = command(*micro, *sweep, "stage=train", "sft.max_steps=1", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert work_done(ended.out) == (2, 0, 0)
    assert len(list((tmp_path / "outputs/few-micro/models").iterdir())) == 2


def test_of_two_different_cells_of_a_sweep_that_need_one_folder_the_second_says_so(micro, micro_model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(micro_model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    ended = command(*micro, "-m", "method=none", f"model.path={micro_model},{other}", cwd=tmp_path)
    assert (ended.status, work_done(ended.out)) == (1, (0, 1, 1))
    assert "another cell of this sweep needs the same folder (model:" in ended.err
    assert "study=" in ended.err


def test_the_untrained_model_is_evaluated_once_whatever_the_seeds(micro, tmp_path):
    ended = command(*micro, "-m", "method=none", "seed=0,1,2", cwd=tmp_path)
    assert "3 jobs, 1 cells, 1 to be done" in ended.out
    assert list(summaries(tmp_path)) == ["base_eval_chat"]


# --- how generation ends


ODD = "+formats.odd={kind: raw, eos: '<|im_start|>'}"


def end_tokens(folder: Path) -> list[int]:
    (path,) = folder.glob("outputs/few-micro/models/*/generation_config.json")
    return json.loads(path.read_text())["eos_token_id"]


def test_all_cells_of_a_model_stop_alike(micro, tmp_path):
    ended = command(*micro, ODD, "-m", "method=none", "eval.format=chat,odd", cwd=tmp_path)
    assert ended.status == 0, ended.err
    stops = [summary["stop"] for summary in summaries(tmp_path).values()]
    assert stops[0] == stops[1]


def test_a_published_models_end_tokens_do_not_depend_on_how_it_is_evaluated(micro, tmp_path):
    for number, evaluation in enumerate(["eval.format=chat", "eval.format=odd"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert command(*micro, ODD, "stage=train", "sft.max_steps=1", evaluation, cwd=folder).status == 0
    assert end_tokens(tmp_path / "0") == end_tokens(tmp_path / "1")


def test_a_published_model_stops_at_the_end_token_that_it_was_taught(micro, tmp_path, tiny_tokenizer):
    odd = ["train.format=odd", "stage=train", "sft.max_steps=1"]
    assert command(*micro, ODD, *odd, cwd=tmp_path).status == 0
    assert tiny_tokenizer.convert_tokens_to_ids("<|im_start|>") in end_tokens(tmp_path)


# --- what the version before left behind


def test_outputs_of_the_version_before_are_known_as_such_and_kept(micro, tmp_path):
    command(*micro, "sft.max_steps=1", cwd=tmp_path)
    study = tmp_path / "outputs" / "few-micro"
    manifests = [*study.glob("models/*/train.json"), *study.glob("eval/*/summary.json")]
    for path in manifests:
        manifest = json.loads(path.read_text())
        del manifest["schema"]
        manifest |= {"made_from": manifest.pop("inputs"), "versions": {"chattpl": "0.1.0"}}
        path.write_text(json.dumps(manifest))
    before = [path.read_bytes() for path in manifests]
    ended = command(*micro, "sft.max_steps=1", cwd=tmp_path)
    assert ended.status == 1
    assert re.fullmatch(r"error: .*written by chattpl 0\.1\.0.*study=NAME.*overwrite=true.*\n", ended.err)
    assert [path.read_bytes() for path in manifests] == before


# --- words


def test_the_original_experiment_is_not_called_a_paper():
    files = [ROOT / "README.md", ROOT / "multirun.sh", *(ROOT / "conf").rglob("*.yaml")]
    assert not [path.name for path in files if re.search(r"\b(the|its) paper", path.read_text())]


def test_no_state_of_one_command_reaches_the_next_in_the_same_process(micro, tmp_path):
    bad = command(*micro, "-m", "method=none", "eval.format=chat,rawr", cwd=tmp_path)
    good = command(*micro, "-m", "method=none", "eval.format=chat", cwd=tmp_path)
    assert (bad.status, good.status, good.err) == (1, 0, "")


def test_the_command_ends_without_a_traceback_where_nobody_reads_on(tmp_path):
    done = run_main("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "experiment" in done.stdout
