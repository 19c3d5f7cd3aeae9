"""What several test files share: the models, the data outside the repository, the command line."""

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import composing
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from chattpl import hydra_app
from chattpl.basemodel import EMBEDDED, declared_eos_ids
from chattpl.cell import cell_of
from chattpl.config import checked_config
from chattpl.formats import ChatFields, Format, RawFields, StopPolicy, make_format, stop_policy
from chattpl.generation import Engine, EngineSpec, max_model_len, resolved_engine
from chattpl.generation.starting import start
from chattpl.plan import CellPlan
from chattpl.schema import Config
from chattpl.training.job import TrainingJob

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
INSTRUCTION = "Work it out step by step and end with #### and the number."

# The files that take longest. They begin, so that the workers of `tests/run.sh` end at about the same time.
LONG = ("ranks", "faults", "hub", "bad_input", "sweep", "report", "hydra", "docs", "resume", "engines", "cell")
LONG += ("answers", "worker", "display", "grpo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and models that lie beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (real data and models), which is not there")
    return SHARED


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(EMBEDDED)


@pytest.fixture(scope="session")
def tiny_formats(tiny_tokenizer) -> dict[str, Format]:
    kinds = {"chat": ChatFields(), "raw": RawFields()}
    return {name: make_format(name, fields, tiny_tokenizer, INSTRUCTION) for name, fields in kinds.items()}


@pytest.fixture(scope="session")
def tiny_stop(tiny_tokenizer, tiny_formats) -> StopPolicy:
    return stop_policy(tiny_tokenizer, declared_eos_ids(EMBEDDED))


def spec(name: str, **changes) -> EngineSpec:
    """An engine for the embedded model on the CPU."""
    settings = {"device": "cpu", "dtype": "bfloat16", "attn_implementation": None, "trust_remote_code": False}
    return EngineSpec(name, **{**settings, "max_model_len": 1024, "kv_cache_gib": 0.25, **changes})


@pytest.fixture(scope="session")
def vllm_engine() -> Iterator[Engine]:
    """One real vLLM engine on the embedded model, for the whole test run."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    engine = start(spec("vllm", enforce_eager=True), EMBEDDED)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def transformers_engine() -> Engine:
    return start(spec("transformers"), EMBEDDED)


def takes_less_than_a_second(work: Callable[[], object]) -> bool:
    """Of the processor, at best of three times: a machine that does other things takes longer at times."""

    def seconds() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return any(seconds() < 1 for _ in range(3))


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """What Hydra composes from `overrides`; it takes a third of a second, so once a session."""
    hydra_app.register()
    with initialize_config_dir(str(hydra_app.configuration_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def configuration(*overrides: str) -> Config:
    """What the command line composes from `overrides`, checked."""
    config = checked_config(composed(*overrides))
    config.engine.name = resolved_engine(config.engine.name)
    config.engine.max_model_len = max_model_len(config.engine.max_model_len, EMBEDDED)
    return config


def training_job(folder: Path, *overrides: str, engine: EngineSpec | None = None, **changes) -> TrainingJob:
    """The job that the command line with `overrides` would make for the embedded model, working in `folder`."""
    config = configuration(*overrides)
    lora = [each for each in overrides if each.startswith("lora=")]
    cell = cell_of(config, configuration(*lora))
    plan = CellPlan(config, cell, EMBEDDED)
    assert plan.model is not None
    job = plan.training_job(plan.model)
    return replace(job, work=str(folder / "run"), output=str(folder / "model"), engine=engine or job.engine, **changes)


MICRO_CONFIG = """
# @package _global_
model: {name: micro, path: PATH}
sft: {max_steps: 4, learning_rate: 1.0e-3, per_device_train_batch_size: 4, gradient_accumulation_steps: 1,
      gradient_checkpointing: false, bf16: false, max_length: 512, save_steps: 1, logging_steps: 1}
grpo: {max_steps: 2, learning_rate: 1.0e-3, per_device_train_batch_size: 8, gradient_accumulation_steps: 1,
       num_generations: 4, max_completion_length: 8, gradient_checkpointing: false, bf16: false, save_steps: 1}
eval: {max_tokens: 8, batch_size: 4}
"""
FEW_CONFIG = """
_target_: chattpl.tasks.arithmetic.Arithmetic
name: few
instruction: null
train_limit: 16
test_limit: 8
"""


@pytest.fixture(scope="session", autouse=True)
def settled() -> None:
    """The same bits from every test, whichever comes first."""
    from chattpl import vectormath

    vectormath.settle()


@pytest.fixture(scope="session", autouse=True)
def _composed_quickly() -> Iterator[None]:
    with composing.quickly():
        yield


@pytest.fixture(scope="session")
def micro_model(tmp_path_factory) -> Path:
    """The embedded model's tokenizer with one layer of random weights: a cell of it takes seconds."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("micro") / "model"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "layer_types": ["full_attention"]}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_window_layers": 1}
    torch.manual_seed(0)
    config = Qwen3Config.from_pretrained(EMBEDDED, **settings, **heads)
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def micro(micro_model, tmp_path_factory) -> list[str]:
    """Options that choose `model=micro task=few` of a configuration folder outside the package."""
    folder = tmp_path_factory.mktemp("conf")
    for group, name, text in (("model", "micro", MICRO_CONFIG), ("task", "few", FEW_CONFIG)):
        (folder / group).mkdir()
        (folder / group / f"{name}.yaml").write_text(text.replace("PATH", str(micro_model)))
    return ["--config-dir", str(folder), "model=micro", "task=few"]


@pytest.fixture(scope="session")
def no_vllm(tmp_path_factory) -> str:
    """A PYTHONPATH on which vLLM is not installed, as on many machines: the transformers engine starts at once."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['vllm'] = None\n")
    return f"{folder}{os.pathsep}{ROOT}"


def run_main(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m chattpl.main ARGUMENTS` as a user types it, in the folder `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "chattpl.main", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
