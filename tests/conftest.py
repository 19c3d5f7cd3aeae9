"""What several test files share: the models, the data outside the repository, the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chattpl.basemodel import EMBEDDED, declared_eos_ids
from chattpl.config import FormatConfig
from chattpl.formats import Format, StopPolicy, make_format, stop_policy

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
INSTRUCTION = "Work it out step by step and end with #### and the number."


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
    configs = {
        "chat": FormatConfig(kind="chat", template_kwargs={"enable_thinking": False}),
        "raw": FormatConfig(kind="raw"),
    }
    return {name: make_format(name, config, tiny_tokenizer, INSTRUCTION) for name, config in configs.items()}


@pytest.fixture(scope="session")
def tiny_stop(tiny_tokenizer, tiny_formats) -> StopPolicy:
    return stop_policy(tiny_tokenizer, declared_eos_ids(EMBEDDED), list(tiny_formats.values()), ["\nQuestion:"])


@pytest.fixture(scope="session")
def vllm_engine():
    """One real vLLM engine on the embedded model, for the whole test run."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from chattpl.generation.vllm import VLLMEngine

    engine = VLLMEngine(
        EMBEDDED,
        device="cpu",
        dtype="bfloat16",
        max_model_len=1024,
        gpu_memory_utilization=0.5,
        kv_cache_gib=0.25,
        enforce_eager=True,
        trust_remote_code=False,
    )
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def transformers_engine():
    from chattpl.generation.transformers import TransformersEngine

    return TransformersEngine(
        EMBEDDED,
        device="cpu",
        dtype="bfloat16",
        max_model_len=1024,
        attn_implementation=None,
        trust_remote_code=False,
    )


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
