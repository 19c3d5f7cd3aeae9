"""The one engine of a process: when it is kept, replaced or refused. The engines themselves stand in test_engines."""

from pathlib import Path

import pytest

from chattpl.config import Config, EngineConfig
from chattpl.errors import UserError
from chattpl.generation import Engine, EnginePool, pool


class Idle(Engine):
    """An engine that only lives."""

    closed = False

    def generate(self, prompts, sampling, seeds):
        raise NotImplementedError

    def load_weights(self, weights):
        raise NotImplementedError

    def sleep(self):
        raise NotImplementedError

    def close(self):
        self.closed = True


@pytest.fixture
def device(monkeypatch) -> dict[str, str]:
    """What the machine is said to have."""
    chosen = {"device": "cpu"}
    monkeypatch.setattr(pool, "_make", lambda config, folder: Idle())
    monkeypatch.setattr(pool, "resolved_device", lambda name: chosen["device"])
    return chosen


def get(engines: EnginePool, model: str, name: str = "vllm") -> Engine:
    return engines.get(Config(engine=EngineConfig(name=name)), Path(model), model)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_one_model_is_served_by_one_engine(device, where):
    device["device"] = where
    engines = EnginePool()
    assert get(engines, "a") is get(engines, "a")


@pytest.mark.parametrize(("where", "name"), [("cpu", "vllm"), ("cuda", "transformers")])
def test_another_model_replaces_the_engine(device, where, name):
    device["device"] = where
    engines = EnginePool()
    first = get(engines, "a", name)
    assert get(engines, "b", name) is not first
    assert first.closed


def test_vllm_on_a_gpu_refuses_another_model_and_goes_on_with_the_first(device):
    device["device"] = "cuda"
    engines = EnginePool()
    first = get(engines, "a")
    with pytest.raises(UserError, match="the same command again goes on with what is missing"):
        get(engines, "b")
    assert get(engines, "a") is first
    assert not first.closed


def test_vllm_on_a_gpu_that_failed_to_start_is_not_tried_again(device, monkeypatch):
    device["device"] = "cuda"

    def fail(config, folder):
        raise UserError("too little memory")

    monkeypatch.setattr(pool, "_make", fail)
    engines = EnginePool()
    with pytest.raises(UserError, match="too little memory"):
        get(engines, "a")
    with pytest.raises(UserError, match="or failed"):
        get(engines, "a")
