"""Several engines as one: real processes with real engines on a model of one layer."""

import contextlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import EMBEDDED, spec

from chattpl.errors import UserError
from chattpl.generation import EngineSpec, Sampling, parallel, starting
from chattpl.generation.parallel import ParallelEngine

FLOAT32 = spec("transformers", dtype="float32")


@pytest.fixture(scope="module")
def two(micro_model):
    engine = ParallelEngine(micro_model, FLOAT32, ["", ""])
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def one(micro_model):
    return starting.start(FLOAT32, micro_model)


@pytest.fixture(scope="module")
def prompts(tiny_formats) -> list[list[int]]:
    return [tiny_formats["chat"].prompt_ids(f"What is {number} + {number * 7}?") for number in range(5)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("count", [5, 1])
def test_two_engines_answer_as_one(two, one, prompts, tiny_stop, temperature, count):
    sampling, seeds = Sampling(12, temperature, 1.0, tiny_stop), list(range(count))
    assert two.generate(prompts[:count], sampling, seeds) == one.generate(prompts[:count], sampling, seeds)


def test_all_engines_take_other_weights(two, one, prompts, tiny_stop, other_weights):
    sampling, seeds = Sampling(12, 0.0, 1.0, tiny_stop), [0] * 5
    before = two.generate(prompts, sampling, seeds)
    for engine in (two, one):
        engine.take(other_weights, "other")
    after = two.generate(prompts, sampling, seeds)
    assert after == one.generate(prompts, sampling, seeds)
    assert all(a != b for a, b in zip(after, before, strict=True))


@pytest.fixture(scope="module")
def other_weights(micro_model, tmp_path_factory) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("other")
    model = AutoModelForCausalLM.from_pretrained(micro_model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("needed", "started"), [(1, ["0", "1"]), (2, "one")])
def test_a_model_that_fits_on_a_card_gets_an_engine_on_each(monkeypatch, needed, started):
    asked = EngineSpec("transformers", "cuda", "bfloat16", None, False, 512, gpus=2)
    monkeypatch.setattr(parallel, "take_cards", lambda count: ("0", "1"))
    monkeypatch.setattr(parallel, "start", lambda spec, folder: "one")
    monkeypatch.setattr(parallel, "ParallelEngine", lambda folder, spec, cards: cards)
    kind = SimpleNamespace(cards_for=lambda folder, spec: needed)
    monkeypatch.setattr(parallel, "engine_class", lambda name: kind)
    assert parallel.start_engines(asked, EMBEDDED) == started


@pytest.mark.parametrize(("count", "expected"), [(4, ["0", "1", "2", "3"]), (2, ["0,1", "2,3"]), (1, ["0,1,2,3"])])
def test_cards_are_shared_out_equally(count, expected):
    assert parallel.shares("0123", count) == expected


def served(monkeypatch, start_engine, *requests) -> list:
    """What a process with an engine answers to the requests; played in this one."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(parallel, "start", start_engine)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    ours, theirs = multiprocessing.Pipe()
    for request in requests:
        ours.send(request)
    try:
        with contextlib.suppress(SystemExit):
            parallel._serve(theirs, EMBEDDED, FLOAT32, "2,3")
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    return list(iter_until_end(ours))


def iter_until_end(pipe):
    with contextlib.suppress(EOFError):
        while True:
            yield pipe.recv()


def test_each_engine_is_started_with_its_own_cards_in_sight(monkeypatch):
    engine = SimpleNamespace(visible=lambda: os.environ["CUDA_VISIBLE_DEVICES"], stop=sys.exit)
    answers = served(monkeypatch, lambda spec, folder: engine, ("visible",), ("stop",))
    assert answers == [(None, None), (None, "2,3")]


def test_a_user_error_of_an_engine_stays_one_line(monkeypatch):
    def fail(spec, folder):
        raise UserError("too little memory")

    ((error, _),) = served(monkeypatch, fail)
    assert isinstance(error, UserError)
    assert str(error) == "too little memory"


def test_any_other_error_shows_where_it_came_from(monkeypatch):
    engine = SimpleNamespace(divide=lambda: 1 // 0, stop=sys.exit)
    _, (error, _) = served(monkeypatch, lambda spec, folder: engine, ("divide",), ("stop",))
    assert "ZeroDivisionError" in str(error)


def test_a_process_that_dies_is_an_error_and_no_endless_wait(two, prompts, tiny_stop):
    os.kill(two._members[1]._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="a process with an engine died"):
        two.generate(prompts, Sampling(4, 0.0, 1.0, tiny_stop), [0] * 5)
    assert two.broken
