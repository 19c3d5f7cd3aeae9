"""The start of an engine in this process."""

import importlib
from pathlib import Path

from chattpl.generation import ENGINES
from chattpl.generation.base import Engine, EngineSpec
from chattpl.generation.cards import take_cards


def engine_class(name: str) -> type[Engine]:
    """The class of a row of `ENGINES`, with what it imports."""
    module, _, kind = ENGINES[name].target.partition(":")
    found: type[Engine] = getattr(importlib.import_module(module), kind)
    return found


def start(spec: EngineSpec, folder: Path) -> Engine:
    """A new engine with the model in `folder`, on as many cards as `spec` says."""
    from chattpl import vectormath

    vectormath.settle()
    if spec.device == "cuda":
        take_cards(spec.gpus)
    return engine_class(spec.name)(folder, spec)
