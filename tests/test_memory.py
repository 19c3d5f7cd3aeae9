"""How much memory an engine is given: pure arithmetic on the shapes of real models and cards."""

import pytest

from chattpl.basemodel import EMBEDDED
from chattpl.errors import UserError
from chattpl.generation.memory import (
    ADAPTER,
    GIB,
    SEQUENCES,
    Shape,
    cpu_cache,
    gpu_memory,
    model_config,
    weight_bytes,
)

CARDS = (24, 80, 141)
SHAPES = {
    "0.5B": (0.92, {"num_hidden_layers": 24, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
                    "num_key_value_heads": 2, "head_dim": None, "vocab_size": 151936}),
    "4B": (7.5, {"num_hidden_layers": 36, "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32,
                 "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}),
    "14B": (27.5, {"num_hidden_layers": 40, "hidden_size": 5120, "intermediate_size": 17408, "num_attention_heads": 40,
                   "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}),
}  # fmt: skip
FIT = [(name, card) for name in SHAPES for card in CARDS if (name, card) != ("14B", 24)]


def chosen(name: str, card: float, max_model_len: int = 8192, free: float = 1.0):
    weights, config = SHAPES[name]
    return gpu_memory(int(card * GIB), int(card * free * GIB), int(weights * GIB), config, max_model_len)


@pytest.mark.parametrize(("name", "card"), FIT)
def test_an_engine_fits_on_the_card_and_holds_a_sequence_of_full_length(name, card):
    memory, (weights, config) = chosen(name, card), SHAPES[name]
    assert memory.cache >= 8192 * Shape.of(config).bytes_per_token
    assert memory.cache + weights * GIB < memory.utilization * card * GIB < card * GIB


@pytest.mark.parametrize(("name", "card"), [("0.5B", 24), ("0.5B", 80), ("4B", 80), ("4B", 141)])
def test_a_training_with_master_weights_fits_beside_it(name, card):
    weights, _ = SHAPES[name]
    assert chosen(name, card).utilization * card + 7 * weights < card


def test_a_small_model_takes_no_more_than_a_full_batch():
    full = SEQUENCES * 512 * 2 * 24 * 2 * 64 * 2
    assert chosen("0.5B", 80).cache == chosen("0.5B", 141).cache == full


def test_short_sequences_need_a_smaller_cache():
    assert chosen("0.5B", 80, max_model_len=256).cache == chosen("0.5B", 80).cache // 2


@pytest.mark.parametrize(("name", "card"), [("4B", 40), ("14B", 80), ("14B", 141)])
def test_an_adapter_on_its_base_fits_beside_it_where_a_full_training_does_not(name, card):
    memory, (weights, config) = chosen(name, card), SHAPES[name]
    assert memory.utilization * card + (1 + ADAPTER) * weights < card
    assert memory.cache >= 32 * 512 * Shape.of(config).bytes_per_token


def test_a_model_too_large_to_be_trained_there_takes_what_is_free():
    assert chosen("14B", 40).utilization > 0.9


def test_a_little_more_in_use_does_not_change_the_cache():
    assert chosen("4B", 80, free=0.99).cache == chosen("4B", 80, free=0.9899).cache


def test_what_others_use_is_left_to_them():
    assert chosen("14B", 80, free=0.6).utilization < 0.6


def test_a_model_that_does_not_fit_is_refused_with_the_figures():
    with pytest.raises(UserError, match=r"24\.0 of 24\.0 GiB free; the engine needs 3\d\.\d \(27\.5 for weights\)"):
        chosen("14B", 24)


def test_the_cpu_cache_holds_two_sequences_of_full_length_at_least():
    config = model_config(EMBEDDED, trust_remote_code=False)
    assert cpu_cache(config, 1_000_000, free=0) == 2 * 1_000_000 * Shape.of(config).bytes_per_token


def test_the_embedded_models_shape_is_read_from_its_configuration():
    shape = Shape.of(model_config(EMBEDDED, trust_remote_code=False))
    assert shape.bytes_per_token > 0
    assert weight_bytes(EMBEDDED) > 0


def test_weights_that_lie_there_twice_are_counted_once(tmp_path):
    for name in ("model-1.safetensors", "model-2.safetensors", "consolidated.safetensors"):
        (tmp_path / name).write_bytes(b"12345")
    assert weight_bytes(tmp_path) == 10


def test_an_architecture_with_names_of_its_own_has_a_shape(tmp_path):
    from transformers import GPT2Config

    GPT2Config(n_layer=2, n_head=4, n_embd=64, vocab_size=100).save_pretrained(tmp_path)
    assert Shape.of(model_config(tmp_path, trust_remote_code=False)) == Shape(2, 64, 256, 64, 100)
