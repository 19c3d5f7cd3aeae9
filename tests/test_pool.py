"""The one engine of a process: when it is kept, replaced or refused. The engines themselves stand in test_engines."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import spec

from chattpl import generation
from chattpl.errors import UserError
from chattpl.generation import ENGINES, Completion, Engine, LiveEngine
from chattpl.generation import pool as pools
from chattpl.generation.pool import EnginePool, Model

A, B, TRAINED = (Model(Path(name), name) for name in ("a", "b", "trained"))


class Idle(LiveEngine):
    """An engine that only lives."""

    closed = asleep = False
    took: tuple[Path, ...] = ()

    def generate(self, prompts, sampling, seeds):
        raise NotImplementedError

    def load_weights(self, weights):
        self.took = (*self.took, weights)
        self.asleep = False

    def sleep(self):
        self.asleep = True
        self.loaded = None

    def close(self):
        self.closed = True


class Plain(Engine):
    """An engine that does no more than it has to: it generates with the model that it was started with."""

    closed = False

    def __init__(self, folder, spec):
        super().__init__(folder, spec)
        self.folder = folder

    def generate(self, prompts, sampling, seeds):
        return [Completion([0], "eos") for _ in prompts]

    def close(self):
        self.closed = True


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(pools, "start_engines", lambda spec, folder: Idle(folder, spec))


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr(pools, "start_engines", lambda spec, folder: Plain(folder, spec))
    monkeypatch.setitem(ENGINES, "plain", replace(ENGINES["transformers"], live=False))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_one_base_model_is_served_by_one_engine(idle, device):
    engines, vllm = EnginePool(), spec("vllm", device=device)
    assert engines.live(vllm, A) is engines.live(vllm, A)


def test_a_trained_model_is_served_by_its_base_models_engine(idle):
    engines = EnginePool()
    engine = engines.live(spec("vllm"), A)
    assert engines.serving(spec("vllm"), A, TRAINED) is engine
    assert engine.took == (TRAINED.folder,)


def test_weights_that_are_loaded_are_not_loaded_again(idle):
    engines = EnginePool()
    for model in (A, TRAINED, TRAINED):
        engine = engines.serving(spec("vllm"), A, model)
    assert engine.took == (TRAINED.folder,)


@pytest.mark.parametrize(("device", "name"), [("cpu", "vllm"), ("cuda", "transformers")])
def test_another_base_model_replaces_the_engine(idle, device, name):
    engines, settings = EnginePool(), spec(name, device=device)
    first = engines.live(settings, A)
    assert engines.live(settings, B) is not first
    assert first.closed


def test_vllm_on_a_gpu_refuses_another_base_model_and_goes_on_with_the_first(idle):
    engines, vllm = EnginePool(), spec("vllm", device="cuda")
    first = engines.live(vllm, A)
    with pytest.raises(UserError, match="run the same command again for what is missing"):
        engines.live(vllm, B)
    assert engines.live(vllm, A) is first
    assert not first.closed


def test_vllm_on_a_gpu_that_failed_to_start_is_not_tried_again(monkeypatch):
    def fail(spec, folder):
        raise UserError("too little memory")

    monkeypatch.setattr(pools, "start_engines", fail)
    engines, vllm = EnginePool(), spec("vllm", device="cuda")
    with pytest.raises(UserError, match="too little memory"):
        engines.live(vllm, A)
    with pytest.raises(UserError, match="or failed"):
        engines.live(vllm, A)


def test_an_engine_without_live_weights_is_started_anew_for_each_model(plain):
    engines = EnginePool()
    first = engines.serving(spec("plain"), A, A)
    second = engines.serving(spec("plain"), A, TRAINED)
    assert (first.closed, second.folder) == (True, TRAINED.folder)
    assert engines.serving(spec("plain"), A, TRAINED) is second


def test_an_engine_without_live_weights_makes_no_rollouts(plain):
    with pytest.raises(UserError, match=r"engine\.name=plain: cannot take the weights of a model in training"):
        EnginePool().live(spec("plain"), A)


def test_an_engine_that_cannot_sleep_is_ended_while_a_model_trains(plain):
    engines = EnginePool()
    first = engines.serving(spec("plain"), A, A)
    engines.sleep()
    assert first.closed


def test_the_row_of_an_engine_says_whether_it_takes_live_weights():
    for kind in ENGINES.values():
        module, _, name = kind.target.partition(":")
        pytest.importorskip(module)
        assert issubclass(getattr(__import__(module, fromlist=[name]), name), LiveEngine) == kind.live


def test_auto_is_the_first_engine_that_is_installed(monkeypatch):
    monkeypatch.setattr(generation.importlib.util, "find_spec", lambda package: package == "transformers" or None)
    assert generation.resolved_engine("auto") == "transformers"
