"""What vLLM is started with; the GPU is a pretended one, for these are arguments alone."""

import pytest
import torch
from conftest import spec

from chattpl import ranks
from chattpl.basemodel import EMBEDDED
from chattpl.errors import UserError
from chattpl.generation.device import gpu_bytes
from chattpl.generation.llm_arguments import llm_arguments, spread
from chattpl.generation.memory import GIB, SEQUENCES


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (79 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def on_a_gpu(**changes):
    return llm_arguments(EMBEDDED, spec("vllm", device="cuda", **{"kv_cache_gib": None, **changes}))


def test_a_gpu_generates_in_cuda_graphs_without_the_compiler(gpu):
    graphs = on_a_gpu()["compilation_config"]
    assert (graphs["mode"], graphs["cudagraph_mode"]) == (0, "FULL_DECODE_ONLY")
    assert max(graphs["cudagraph_capture_sizes"]) == SEQUENCES == on_a_gpu()["max_num_seqs"]


def test_the_compiler_is_used_where_it_is_asked_for(gpu):
    assert "mode" not in on_a_gpu(compile=True)["compilation_config"]


def test_a_cpu_compiles_where_it_is_asked_to_alone():
    assert llm_arguments(EMBEDDED, spec("vllm"))["enforce_eager"]
    assert not llm_arguments(EMBEDDED, spec("vllm", compile=True))["enforce_eager"]


def test_without_cuda_graphs_there_is_nothing_to_capture(gpu):
    arguments = on_a_gpu(enforce_eager=True)
    assert arguments["enforce_eager"]
    assert "compilation_config" not in arguments


def test_the_share_of_a_gpu_follows_from_the_model(gpu):
    chosen = on_a_gpu()
    assert 0 < chosen["gpu_memory_utilization"] < 0.1
    assert chosen["kv_cache_memory_bytes"] < 4 * GIB


def test_an_engine_that_shares_its_card_is_told_its_part_of_the_whole(gpu):
    alone, shared = on_a_gpu(), on_a_gpu(gpu_share=0.5)
    assert shared["kv_cache_memory_bytes"] == alone["kv_cache_memory_bytes"]
    assert shared["gpu_memory_utilization"] == pytest.approx(alone["gpu_memory_utilization"], abs=1e-4)


def test_what_is_free_of_a_shared_card_is_a_part_of_all(gpu):
    assert gpu_bytes(0.5) == (40 * GIB, 40 * GIB)
    assert gpu_bytes() == (79 * GIB, 80 * GIB)


def test_a_configured_share_is_taken_as_it_is(gpu):
    arguments = on_a_gpu(gpu_memory_utilization=0.4)
    assert arguments["gpu_memory_utilization"] == 0.4
    assert "kv_cache_memory_bytes" not in arguments


def test_a_configured_cache_is_taken_as_it_is(gpu):
    assert on_a_gpu(kv_cache_gib=3)["kv_cache_memory_bytes"] == 3 * GIB
    assert llm_arguments(EMBEDDED, spec("vllm", kv_cache_gib=3))["kv_cache_memory_bytes"] == 3 * GIB


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_vllm_knows_every_argument(gpu, device):
    arguments = pytest.importorskip("vllm.engine.arg_utils")
    from dataclasses import fields

    known = {field.name for field in fields(arguments.EngineArgs)}
    assert set(llm_arguments(EMBEDDED, spec("vllm", device=device, kv_cache_gib=None))) <= known


BIG = {"num_hidden_layers": 40, "hidden_size": 5120, "intermediate_size": 17408, "num_attention_heads": 40,
       "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}  # fmt: skip


@pytest.mark.parametrize(("card", "cards", "ways"), [(80, 8, None), (24, 4, 2), (24, 2, 2)])
def test_a_model_is_spread_over_as_few_cards_as_hold_it(card, cards, ways):
    chosen = spread(cards, card * GIB, card * GIB, int(27.5 * GIB), BIG, 8192)
    assert chosen.get("tensor_parallel_size") == ways


def test_a_model_that_all_cards_together_do_not_hold_is_refused():
    with pytest.raises(UserError, match="GiB free; the engine needs"):
        spread(2, 12 * GIB, 12 * GIB, int(27.5 * GIB), BIG, 8192)


@pytest.fixture
def two_ranks(monkeypatch):
    monkeypatch.setattr(ranks, "_ours", ranks.Ranks(1, 2))
    monkeypatch.setattr(ranks, "gathered", lambda value: [value - GIB, value])


def test_each_rank_of_a_training_has_an_engine_of_its_own_where_the_model_fits_on_a_card(gpu, two_ranks):
    arguments = on_a_gpu()
    assert arguments["distributed_executor_backend"] == "external_launcher"
    assert "tensor_parallel_size" not in arguments


def test_a_model_that_does_not_fit_beside_the_training_is_spread_over_the_ranks(gpu, two_ranks, monkeypatch):
    monkeypatch.setattr("chattpl.generation.llm_arguments.weight_bytes", lambda folder: 24 * GIB)
    alone, beside = on_a_gpu(), on_a_gpu(beside=2.2)
    assert "tensor_parallel_size" not in alone
    assert beside["tensor_parallel_size"] == 2
    assert beside["gpu_memory_utilization"] * 80 + 2.2 * 24 < 79


def test_all_ranks_reckon_with_the_fullest_card(gpu, two_ranks, monkeypatch):
    monkeypatch.setattr("chattpl.generation.llm_arguments.weight_bytes", lambda folder: 70 * GIB)
    several = on_a_gpu(max_model_len=8192)
    monkeypatch.setattr(ranks, "gathered", lambda value: [value - 60 * GIB, value])
    with pytest.raises(UserError, match="GiB free"):
        on_a_gpu(max_model_len=8192)
    assert "tensor_parallel_size" not in several
