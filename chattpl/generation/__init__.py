"""Engines: token ids in, token ids out, on weights that can be exchanged while the engine runs."""

from chattpl.generation.base import Completion, Engine, Sampling
from chattpl.generation.pool import EnginePool, resolved_device, resolved_engine

__all__ = ["Completion", "Engine", "EnginePool", "Sampling", "resolved_device", "resolved_engine"]
