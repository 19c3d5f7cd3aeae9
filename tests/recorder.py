"""An engine that remembers what passes through it, and a pool that holds an engine of the test's choice."""

from typing import Any

from chattpl.generation import Completion, Engine, Sampling
from chattpl.generation.pool import EnginePool


class Recorder:
    """Hands everything on to a real engine, and keeps the prompts and completions in order."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.prompts: list[list[int]] = []
        self.completions: list[Completion] = []

    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]) -> list[Completion]:
        completions = self._engine.generate(prompts, sampling, seeds)
        self.prompts += prompts
        self.completions += completions
        return completions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class Holding(EnginePool):
    """A pool whose engine is running already."""

    def __init__(self, engine: Any):
        super().__init__()
        self._given = engine

    def live(self, spec, base):
        return self._given

    def sleep(self):
        pass
