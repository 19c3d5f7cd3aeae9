"""An engine that remembers what passes through it."""

from typing import Any

from chattpl.generation import Completion, Engine, Sampling


class Recorder:
    """Hands everything on to a real engine, and keeps the prompts and completions in order."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.prompts: list[list[int]] = []
        self.completions: list[Completion] = []

    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[Completion]:
        completions = self._engine.generate(prompts, sampling, seeds)
        self.prompts += prompts
        self.completions += completions
        return completions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
