"""The one engine of a process: started once, handed from cell to cell."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from chattpl import progress
from chattpl.display import paused
from chattpl.errors import UserError
from chattpl.generation import ENGINES
from chattpl.generation.base import Engine, EngineSpec, LiveEngine
from chattpl.generation.parallel import start_engines

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model that can be asked: its folder, and the fingerprint of what it is."""

    folder: Path
    fingerprint: str


class EnginePool:
    """Holds at most one engine. Another architecture or other settings replace it; other weights only where they must.

    An engine that takes live weights is started on the base model and serves all that is trained from it. One that
    does not is started anew for each model.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._key: tuple[EngineSpec, str] | None = None
        self._holds_gpu = False

    def serving(self, spec: EngineSpec, base: Model, model: Model) -> Engine:
        """An engine that generates with `model`, which has the architecture of `base`.

        Raises:
            UserError: it would have to be started a second time in this process, and cannot.
        """
        if not ENGINES[spec.name].live:
            return self._started(spec, model)
        engine = self.live(spec, base)
        engine.take(model.folder, model.fingerprint)
        return engine

    def live(self, spec: EngineSpec, base: Model) -> LiveEngine:
        """An engine for models trained from `base`, with whatever weights it holds.

        Raises:
            UserError: the engine does not take live weights, or cannot be started a second time in this process.
        """
        engine = self._started(spec, base)
        if not isinstance(engine, LiveEngine):
            raise UserError(f"engine.name={spec.name}: cannot take the weights of a model in training, as GRPO needs")
        return engine

    def sleep(self) -> None:
        """Give the engine's memory back while something else needs it."""
        if isinstance(self._engine, LiveEngine):
            self._engine.sleep()
        else:
            self.close()

    def close(self) -> None:
        """End the engine, if one runs."""
        if self._engine is not None:
            self._engine.close()
            self._engine = self._key = None

    def _started(self, spec: EngineSpec, model: Model) -> Engine:
        key = (spec, model.fingerprint)
        if self._engine is None or self._engine.broken or key != self._key:
            self._refuse_a_second_one(spec)
            with paused(), progress.current().once():  # native code writes to the terminal meanwhile
                self._start(spec, model)
        assert self._engine is not None
        return self._engine

    def _start(self, spec: EngineSpec, model: Model) -> None:
        self.close()
        self._holds_gpu = ENGINES[spec.name].one_per_gpu_process and spec.device == "cuda"
        started = time.monotonic()
        logger.info("starting the engine: %s on %s", spec.name, spec.device)
        self._engine, self._key = start_engines(spec, model.folder), (spec, model.fingerprint)
        if isinstance(self._engine, LiveEngine):
            self._engine.loaded = model.fingerprint
        logger.info("the engine is up after %.1f s", time.monotonic() - started)

    def _refuse_a_second_one(self, spec: EngineSpec) -> None:
        if self._holds_gpu:
            raise UserError(
                f"engine.name={spec.name}: starts once in a process on a GPU, and it did for another model or other "
                "settings, or failed: run the same command again for what is missing"
            )
