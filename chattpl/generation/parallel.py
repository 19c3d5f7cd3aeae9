"""Data-parallel generation: several engines, each in a process with cards of its own, that share out the prompts.

Separate engines, because vLLM's own data parallelism in one job ends with an error where one rank has no more prompts
than the others.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chattpl.errors import UserError
from chattpl.generation import ENGINES
from chattpl.generation.base import Completion, Engine, EngineSpec, LiveEngine, Sampling
from chattpl.generation.cards import VISIBLE, take_cards
from chattpl.generation.starting import engine_class, start
from chattpl.hashing import seed_of

if TYPE_CHECKING:
    from torch import Tensor


def start_engines(spec: EngineSpec, folder: Path) -> Engine:
    """The engine of a cell: with several cards one on each of them, or one on as many as the model needs."""
    if spec.gpus == 1:
        return start(spec, folder)
    cards = take_cards(spec.gpus)
    if engine_class(spec.name).cards_for(folder, spec) > 1:
        return start(spec, folder)
    return ParallelEngine(folder, replace(spec, gpus=1), shares(cards, spec.gpus))


def shares(cards: Sequence[str], count: int) -> list[str]:
    """Equal shares of the cards for `count` engines, each as in CUDA_VISIBLE_DEVICES."""
    each = len(cards) // count
    return [",".join(cards[number * each : (number + 1) * each]) for number in range(count)]


class ParallelEngine(LiveEngine):
    """Engines with the same model, as one. It takes the weights of a folder, not of a model in training.

    Args:
        folder: of the model.
        spec: of each engine.
        cards: for each engine the GPUs that it sees, as in CUDA_VISIBLE_DEVICES; empty names on a CPU.
    """

    def __init__(self, folder: Path, spec: EngineSpec, cards: Sequence[str]):
        super().__init__(folder, spec)
        context = multiprocessing.get_context("spawn")
        self._members = [_Member(context, folder, spec, each) for each in cards]
        for member in self._members:  # they start at the same time
            member.answer()

    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]) -> list[Completion]:
        self.broken = True
        asked = self._shared_out(prompts, sampling, seeds)
        for member, part in asked:
            member.ask("generate", *part)
        completions = [each for member, _ in asked for each in member.answer()]
        self.broken = False
        return completions

    def _shared_out(
        self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]
    ) -> list[tuple["_Member", tuple[Any, ...]]]:
        """Which engine is asked what: equal shares, in the order of the prompts.

        What is drawn must not depend on the number of engines. Where it depends on the prompts that are computed
        together, one engine computes all.
        """
        members = self._members
        if sampling.temperature > 0 and "eval.batch_size" in ENGINES[self.spec.name].decided_by:
            members = members[:1]
        bounds = [len(prompts) * number // len(members) for number in range(len(members) + 1)]
        parts = []
        for number, member in enumerate(members):
            part = slice(bounds[number], bounds[number + 1])
            drawn = seed_of(seeds, number) if isinstance(seeds, int) else seeds[part]
            if prompts[part]:
                parts.append((member, (prompts[part], sampling, drawn)))
        return parts

    def load_weights(self, weights: "Path | Iterable[tuple[str, Tensor]]") -> None:
        assert isinstance(weights, Path), "other processes take weights from a folder alone"
        self._ask_all("load_weights", weights)
        self.loaded = None

    def sleep(self) -> None:
        self._ask_all("sleep")
        self.loaded = None

    def close(self) -> None:
        for member in self._members:
            member.end()

    def _ask_all(self, *request: Any) -> None:
        for member in self._members:
            member.ask(*request)
        for member in self._members:
            member.answer()


class _Member:
    """One engine in its process, as the process that asks it sees it."""

    def __init__(self, context: Any, folder: Path, spec: EngineSpec, cards: str):
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, folder, spec, cards), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def ask(self, *request: Any) -> None:
        """Send a request; one that cannot be sent has no answer."""
        with contextlib.suppress(BrokenPipeError):
            self._ours.send(request)

    def answer(self) -> Any:
        """What the process returned.

        Raises:
            UserError: what it raised.
            RuntimeError: any other error there, or it died.
        """
        try:
            error, value = self._ours.recv()
        except (EOFError, ConnectionResetError) as end:
            raise RuntimeError("a process with an engine died") from end
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        self._ours.close()
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.kill()


def _serve(pipe: Connection, folder: Path, spec: EngineSpec, cards: str) -> None:
    """Start an engine and do what is asked, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the one that asks ends
    if cards:
        os.environ[VISIBLE] = cards
    engine = _answer(pipe, lambda: start(spec, folder), told=False)
    while engine is not None:
        try:
            verb, *arguments = pipe.recv()
        except EOFError:
            engine.close()
            return
        _answer(pipe, functools.partial(getattr(engine, verb), *arguments))


def _answer(pipe: Connection, work: Any, told: bool = True) -> Any:
    """Do the work and send what it returned (where `told`), or the error that it raised."""
    try:
        value = work()
    except UserError as error:
        pipe.send((error, None))
    except Exception:
        pipe.send((RuntimeError(f"in a process with an engine:\n{traceback.format_exc()}"), None))
    else:
        pipe.send((None, value if told else None))
        return value
    return None
