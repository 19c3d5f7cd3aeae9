"""`grpo_preset`: the settings of a paper, all of them TRL's own fields."""

from dataclasses import replace

import pytest
from conftest import ROOT, configuration, spec, training_job
from recorder import Holding

from chattpl.basemodel import files_fingerprint
from chattpl.cell import cell_of
from chattpl.generation.starting import start
from chattpl.training.run import run_job

PRESETS = {
    "trl": {},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"epsilon_high": 0.28, "mask_truncated_completions": True},
    "gspo": {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4, "loss_type": "grpo"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0, "scale_rewards": "batch"},
}


@pytest.fixture(scope="module")
def engine(micro_model):
    return start(spec("transformers"), micro_model)


def test_every_preset_is_listed_here():
    assert {path.stem for path in (ROOT / "conf/grpo_preset").glob("*.yaml")} == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_what_its_paper_says(preset):
    grpo = configuration(f"grpo_preset={preset}").grpo
    assert {key: grpo[key] for key in PRESETS[preset]} == PRESETS[preset]


def test_gspo_trains_in_four_steps_on_each_batch_of_rollouts():
    grpo = configuration("grpo_preset=gspo", "grpo.gradient_accumulation_steps=3").grpo
    assert grpo["steps_per_generation"] == 12


def test_a_value_on_the_command_line_counts_more_than_the_preset():
    assert configuration("grpo_preset=dapo", "grpo.epsilon_high=0.3").grpo["epsilon_high"] == 0.3


def test_the_name_of_a_model_says_what_the_preset_changed():
    def name(*overrides: str) -> str:
        config = configuration("method=grpo", *overrides)
        return cell_of(config, configuration()).model_name

    assert name("grpo_preset=trl") == "grpo_chat_template"
    assert name("grpo_preset=dapo") == (
        "grpo_chat_template--grpo.epsilon_high=0.28--grpo.mask_truncated_completions=true"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains(preset, micro_model, tmp_path, engine, monkeypatch):
    monkeypatch.setattr(
        "chattpl.training.grpo._reward", lambda *_: lambda completion_ids, **_: [sum(ids) % 2 for ids in completion_ids]
    )
    short = ["max_steps=4", "per_device_train_batch_size=8", "num_generations=4", "max_completion_length=40"]
    overrides = [f"grpo.{each}" for each in short]
    job = training_job(
        tmp_path, "method=grpo", f"grpo_preset={preset}", "train.format=raw", "task.train_limit=16",
        "engine.name=transformers", "grpo.save_strategy=no", "grpo.learning_rate=1e-3", *overrides,
    )  # fmt: skip
    base = {"base": str(micro_model), "inputs": {**job.inputs, "base": files_fingerprint(micro_model, False)}}
    report = run_job(replace(job, **base), Holding(engine))
    assert report.steps == 4
    assert report.changed_weights["trained"] > 0.5
