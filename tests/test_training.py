"""Real trainers on the embedded model, for a few steps."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, training_job
from recorder import Holding
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from chattpl.basemodel import EMBEDDED
from chattpl.generation.pool import EnginePool
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.training.live import LiveJob, save_model

SAMPLES = Arithmetic().load_train()[:64]


@pytest.fixture
def make_job(tmp_path):
    def make(*overrides: str) -> LiveJob:
        return replace(LiveJob.of(training_job(tmp_path, *overrides)), samples=SAMPLES)

    return make


@pytest.fixture
def sft(make_job):
    from chattpl.training.sft import train_sft

    def train(*overrides: str):
        live = make_job("sft.max_steps=4", "sft.per_device_train_batch_size=8", "sft.logging_steps=1", *overrides)
        return (*train_sft(live, EnginePool()), live)

    return train


def test_sft_learns_what_it_is_shown(make_job):
    from chattpl.training.sft import train_sft

    same_batch = [
        "sft.max_steps=4",
        "sft.per_device_train_batch_size=8",
        "sft.logging_steps=1",
        "sft.warmup_steps=0",
        "sft.learning_rate=2e-5",
    ]
    live = replace(make_job("train.masking=full", *same_batch), samples=SAMPLES[:8])
    _, report = train_sft(live, EnginePool())
    losses = [loss for _, loss in report["loss"]]
    assert losses == sorted(losses, reverse=True)


def test_sft_says_how_it_went(sft):
    _, report, _ = sft()
    assert report["steps"] == 4
    assert report["samples"] == 64
    assert report["tokens"] > 0
    json.dumps(report)


def test_the_loss_on_everything_is_another_loss(sft):
    answer, everything = (sft(f"train.masking={masking}")[1]["loss"][0] for masking in ("answer", "full"))
    assert answer != everything


def test_a_sample_that_does_not_fit_is_counted(sft):
    _, report, _ = sft("sft.max_length=110")
    assert report["dropped_samples"] > 0
    assert report["samples"] + report["dropped_samples"] == 64


def test_the_published_model_is_a_plain_hugging_face_folder(sft, tmp_path, tiny_stop):
    model, _, live = sft()
    folder = tmp_path / "published"
    save_model(model, live, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in EMBEDDED.iterdir()}
    generation = GenerationConfig.from_pretrained(folder)
    assert sorted(generation.eos_token_id) == list(tiny_stop.token_ids)
    assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(EMBEDDED).chat_template
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32


def test_plain_transformers_stops_where_chattpl_stops(sft, tmp_path, tiny_formats, tiny_stop, transformers_engine):
    from chattpl.generation import Sampling

    model, _, live = sft("train.format=raw", "sft.max_steps=8")
    folder = tmp_path / "published"
    save_model(model, live, folder)
    prompts = [tiny_formats["raw"].prompt_ids(sample.question) for sample in SAMPLES[:4]]
    transformers_engine.load_weights(folder)
    ours = transformers_engine.generate(prompts, Sampling(96, 0.0, 1.0, tiny_stop), [0] * 4)
    transformers_engine.load_weights(EMBEDDED)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    for prompt, completion in zip(prompts, ours, strict=True):
        output = plain.generate(torch.tensor([prompt]), max_new_tokens=96, do_sample=False)
        assert output[0, len(prompt) :].tolist()[-1] in tiny_stop.token_ids
        assert completion.stop_reason == "eos"


def test_grpo_trains_on_the_warm_vllm_engine_with_the_graders_reward(make_job, vllm_engine):
    from chattpl.training.grpo import train_grpo

    sizes = ["grpo.per_device_train_batch_size=16", "grpo.num_generations=4", "grpo.max_steps=2"]
    _, report = train_grpo(make_job("method=grpo", *sizes), Holding(vllm_engine))
    assert [step for step, _ in report["mean_reward"]] == [1, 2]
    assert all(0 <= reward <= 1 for _, reward in report["mean_reward"])
    corrected = [entry["sampling/importance_sampling_ratio/mean"] for entry in report["log"] if "reward" in entry]
    assert all(abs(ratio - 1) < 0.1 for ratio in corrected)


BESIDE_AN_ENGINE = """
import torch
from conftest import EMBEDDED, spec, start

engine = start(spec("vllm", enforce_eager=True), EMBEDDED)
print(torch.get_num_threads())
engine.close()
"""


def test_a_training_uses_every_core_beside_a_running_engine():
    pytest.importorskip("vllm", reason="vLLM is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run([sys.executable, "-c", BESIDE_AN_ENGINE], env=environment, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == [str(len(os.sched_getaffinity(0)))], done.stderr


def test_the_base_model_is_left_as_it_was(sft):
    before = {path.name: path.stat().st_mtime_ns for path in Path(EMBEDDED).iterdir()}
    sft()
    assert {path.name: path.stat().st_mtime_ns for path in Path(EMBEDDED).iterdir()} == before
