"""Starts a `vllm.LLM`, with what vLLM itself cannot be told about how."""

import functools
import logging
from pathlib import Path
from typing import Any

from chattpl import ranks
from chattpl.basemodel import read_json
from chattpl.errors import UserError
from chattpl.generation.memory import GIB

logger = logging.getLogger(__name__)


def start_llm(arguments: dict[str, Any]) -> Any:
    """A `vllm.LLM`, with half the KV cache where memory does not suffice.

    Raises:
        UserError: it does not suffice for any.
    """
    from vllm import LLM

    _import_class(Path(arguments["model"]))
    _keep_logprobs_numbers()
    extend_second_runner()
    while True:
        try:
            return LLM(**arguments)
        except (RuntimeError, ValueError) as error:
            cache = arguments.get("kv_cache_memory_bytes", 0)
            if "memory" not in str(error).lower():
                raise
            if cache < GIB // 4 or ranks.count() > 1:  # the others do not start again
                raise UserError(
                    f"vLLM finds too little memory ({str(error).strip().splitlines()[0]}); set "
                    "engine.kv_cache_gib, engine.gpu_memory_utilization or engine.max_model_len lower"
                ) from error
            arguments = {**arguments, "kv_cache_memory_bytes": cache // 2}
            logger.warning("vLLM did not start with a KV cache of %.2f GiB, trying half of it", cache / GIB)


def _import_class(folder: Path) -> None:
    """Register the model's class itself, where vLLM knows only its name.

    To learn what a class it has never seen can do, vLLM imports it in a second process, and itself there once more.
    That is to keep CUDA out of a process that forks; this one does not.
    """
    from vllm import ModelRegistry

    for architecture in read_json(folder / "config.json").get("architectures") or ():
        known = ModelRegistry.models.get(architecture)
        if known is not None:
            ModelRegistry.register_model(architecture, known.load_model_cls())


def extend_second_runner() -> None:
    """Have vLLM's second model runner serve Qwen2 and Qwen2.5 too, which makes a small model's rollouts sooner.

    vLLM 0.24 takes it for the architectures of a list, Qwen3 and Llama among them; later versions for all.
    """
    from vllm.config import vllm

    known = getattr(vllm, "DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES", None)
    if known is not None:
        vllm.DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES = known | {"Qwen2ForCausalLM"}


@functools.cache
def _keep_logprobs_numbers() -> None:
    """Spare the text of each token beside its log-probability, which vLLM makes wherever it looks for stop strings."""
    from vllm.v1.engine.logprobs import LogprobsProcessor

    with_text = LogprobsProcessor.from_new_request
    LogprobsProcessor.from_new_request = lambda tokenizer, request: with_text(None, request)
