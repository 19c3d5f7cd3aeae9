"""Engines: token ids in, token ids out. `ENGINES` says what there is to know of one without importing it."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from chattpl.basemodel import context_length
from chattpl.errors import UserError
from chattpl.generation.base import Completion, Engine, EngineSpec, LiveEngine, Sampling
from chattpl.generation.device import resolved_device

__all__ = ["ENGINES", "Completion", "Engine", "EngineSpec", "LiveEngine", "Sampling", "resolved_device"]

# A longer context costs KV cache and is rarely needed; engine.max_model_len sets another.
DEFAULT_CONTEXT = 8192


@dataclass(frozen=True)
class EngineKind:
    """One engine.

    Attributes:
        target: `module:class`; imported only when an engine is started.
        package: what must be installed.
        install: the extra of this package that brings it, by platform.
        live: whether its weights can be exchanged, that is, whether the class is a `LiveEngine`.
        one_per_gpu_process: it cannot be started a second time in a process on a GPU.
        decided_by: configuration keys outside `engine` that decide what it generates.
    """

    target: str
    package: str
    install: str
    live: bool
    one_per_gpu_process: bool = False
    decided_by: frozenset[str] = frozenset()


# In the order in which `auto` looks for one that is installed.
ENGINES: dict[str, EngineKind] = {
    "vllm": EngineKind(
        target="chattpl.generation.vllm:VLLMEngine",
        package="vllm",
        install="pip install 'chattpl[gpu]', or 'chattpl[cpu]' without a GPU",
        live=True,
        one_per_gpu_process=True,  # the memory that lets it sleep is not given back before the process ends
    ),
    "transformers": EngineKind(
        target="chattpl.generation.transformers:TransformersEngine",
        package="transformers",
        install="pip install chattpl",
        live=True,
        # Its attention is the one configured, and what it draws depends on which prompts are computed together.
        decided_by=frozenset({"model.attn_implementation", "eval.batch_size"}),
    ),
}


def resolved_engine(name: str) -> str:
    """`auto` is the first engine that is installed.

    Raises:
        UserError: the engine asked for by name is not installed.
    """
    installed = [each for each, kind in ENGINES.items() if importlib.util.find_spec(kind.package) is not None]
    if name == "auto":
        return installed[0]
    if name in ENGINES and name not in installed:
        raise UserError(f"engine.name={name}: {ENGINES[name].package} is not installed: {ENGINES[name].install}")
    return name


def max_model_len(configured: int | None, folder: Path) -> int:
    """The longest sequence that an engine takes, in tokens: as configured, else the model's own up to 8,192.

    Raises:
        UserError: more is asked for than the model's context.
    """
    longest = context_length(folder) or DEFAULT_CONTEXT
    if configured and configured > longest:
        raise UserError(f"engine.max_model_len={configured}: the model's context is {longest} tokens")
    return configured or min(longest, DEFAULT_CONTEXT)
