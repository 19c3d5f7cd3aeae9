"""The two engines behind one interface: real vLLM and real transformers, on the embedded model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from chattpl.basemodel import EMBEDDED
from chattpl.generation import Engine, Sampling
from chattpl.generation.llm_start import extend_second_runner
from chattpl.tasks.arithmetic import Arithmetic

NAMES = ["vllm_engine", "transformers_engine"]


@pytest.fixture(params=NAMES)
def engine(request) -> Engine:
    chosen = request.getfixturevalue(request.param)
    chosen.load_weights(EMBEDDED)
    return chosen


@pytest.fixture(scope="module")
def prompts(tiny_formats) -> list[list[int]]:
    return [tiny_formats["chat"].prompt_ids(sample.question) for sample in Arithmetic().load_test()[:12]]


@pytest.fixture
def greedy(tiny_stop) -> Sampling:
    return Sampling(max_tokens=96, temperature=0.0, top_p=1.0, stop=tiny_stop, logprobs=True)


def drawn(tiny_stop) -> Sampling:
    return Sampling(max_tokens=48, temperature=1.0, top_p=1.0, stop=tiny_stop)


def ids(completions) -> list[list[int]]:
    return [completion.token_ids for completion in completions]


def shuffled_weights(folder: Path) -> Path:
    """The embedded model with the layers' order reversed: another model of the same shape."""
    weights = load_file(EMBEDDED / "model.safetensors")
    last = max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
    renamed = {}
    for name, tensor in weights.items():
        parts = name.split(".")
        if name.startswith("model.layers."):
            parts[2] = str(last - int(parts[2]))
        renamed[".".join(parts)] = tensor
    folder.mkdir()
    save_file(renamed, folder / "model.safetensors")
    return folder


def test_an_answer_ends_with_an_end_token_or_at_the_token_budget(engine, prompts, greedy, tiny_stop):
    for completion in engine.generate(prompts, greedy, [0] * len(prompts)):
        ended = completion.token_ids[-1] in tiny_stop.token_ids
        assert (completion.stop_reason == "eos") == ended
        assert ended or len(completion.token_ids) == greedy.max_tokens


def test_the_token_budget_is_said_to_have_ended_an_answer(engine, prompts, tiny_stop):
    short = Sampling(max_tokens=2, temperature=0.0, top_p=1.0, stop=tiny_stop)
    completions = engine.generate(prompts, short, [0] * len(prompts))
    assert {completion.stop_reason for completion in completions} == {"length"}


def test_a_stop_string_ends_an_answer_and_is_said_to(engine, prompts, tiny_stop):
    from chattpl.formats import StopPolicy

    stop = StopPolicy(tiny_stop.token_ids, ("\n#",))
    sampling = Sampling(max_tokens=96, temperature=0.0, top_p=1.0, stop=stop)
    completions = engine.generate(prompts, sampling, [0] * len(prompts))
    stopped = [completion for completion in completions if completion.stop_reason == "stop"]
    assert stopped
    assert all(completion.token_ids[-1] not in stop.token_ids for completion in stopped)


def test_the_same_seeds_draw_the_same_and_others_draw_otherwise(engine, prompts, tiny_stop):
    first, again, other = (ids(engine.generate(prompts, drawn(tiny_stop), [seed] * len(prompts))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_copies_of_one_prompt_draw_differently(engine, prompts, tiny_stop):
    drawn_ids = ids(engine.generate([prompts[0]] * 8, drawn(tiny_stop), list(range(8))))
    assert len({tuple(each) for each in drawn_ids}) > 1


def test_weights_of_another_folder_replace_the_loaded_ones_and_back(engine, prompts, greedy, tmp_path):
    seeds = [0] * len(prompts)
    before = ids(engine.generate(prompts, greedy, seeds))
    engine.load_weights(shuffled_weights(tmp_path / "other"))
    other = ids(engine.generate(prompts, greedy, seeds))
    engine.load_weights(EMBEDDED)
    assert other != before
    assert ids(engine.generate(prompts, greedy, seeds)) == before


def test_live_parameters_answer_as_the_folder_they_came_from(engine, prompts, greedy):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    seeds = [0] * len(prompts)
    from_folder = ids(engine.generate(prompts, greedy, seeds))
    engine.load_weights(iter(model.named_parameters()))
    assert ids(engine.generate(prompts, greedy, seeds)) == from_folder


def test_the_output_layer_follows_the_embedding_that_it_is_tied_to(engine, prompts, greedy):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    assert model.config.tie_word_embeddings
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        weight += 0.01 * torch.randn(weight.shape, generator=generator)
    engine.load_weights(iter(model.named_parameters()))
    first = engine.generate(prompts, greedy, [0] * len(prompts))
    model.to(torch.bfloat16)
    for prompt, completion in zip(prompts, first, strict=True):
        expected = model(torch.tensor([prompt])).logits[0, -1].float().log_softmax(-1)
        assert abs(expected[completion.token_ids[0]].item() - completion.logprobs[0]) < 0.05


def test_the_engines_agree_up_to_ties_of_bfloat16(request, prompts, greedy):
    vllm, plain = (request.getfixturevalue(name) for name in NAMES)
    for engine in (vllm, plain):
        engine.load_weights(EMBEDDED)
    seeds = [0] * len(prompts)
    for one, two in zip(vllm.generate(prompts, greedy, seeds), plain.generate(prompts, greedy, seeds), strict=True):
        pairs = zip(one.token_ids, two.token_ids, strict=False)
        fork = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
        if fork is not None:  # each took its own favourite; that they differ needs the two to be close
            assert abs(one.logprobs[fork] - two.logprobs[fork]) < 0.1


def rolled_out(engine, prompts, tiny_stop, seed: int) -> list[list[int]]:
    """Four completions of each of three prompts, all drawn from one seed."""
    copies = [prompt for prompt in prompts[:3] for _ in range(4)]
    return ids(engine.generate(copies, drawn(tiny_stop), seed))


def test_one_seed_for_all_repeats_every_draw_and_another_changes_them(engine, prompts, tiny_stop):
    first, again, other = (rolled_out(engine, prompts, tiny_stop, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert all(len({tuple(each) for each in first[place : place + 4]}) > 1 for place in (0, 4, 8))


def test_completions_of_copies_stand_in_the_order_of_the_prompts(engine, prompts, greedy, tiny_stop):
    # In greedy decoding a prompt's completion is its own, so that it shows which prompt was answered.
    one, two = prompts[:2]
    expected = dict(zip("ab", ids(engine.generate([one, two], greedy, 0)), strict=True))
    order = "aabba"
    asked = [{"a": one, "b": two}[each] for each in order]
    assert ids(engine.generate(asked, greedy, 0)) == [expected[each] for each in order]
    almost_greedy = Sampling(96, 0.01, 1.0, tiny_stop)
    assert ids(engine.generate(asked, almost_greedy, 0)) == [expected[each] for each in order]


@pytest.mark.parametrize("seeds", [1, list(range(12))], ids=["one", "each"])
def test_generating_leaves_the_random_numbers_of_the_process_alone(engine, prompts, tiny_stop, seeds):
    import numpy as np

    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist()
    torch.manual_seed(5)
    np.random.seed(5)
    engine.generate(prompts, drawn(tiny_stop), seeds)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist()) == expected


def test_the_log_probabilities_are_those_of_the_tokens(engine, prompts, tiny_stop):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    sampling = Sampling(24, 1.0, 1.0, tiny_stop, logprobs=True)
    for completion in engine.generate(prompts[:1] * 3, sampling, 3):
        sequence = torch.tensor([prompts[0] + completion.token_ids])
        expected = model(sequence).logits[0, len(prompts[0]) - 1 : -1].log_softmax(-1)
        expected = expected.gather(-1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        difference = (torch.tensor(completion.logprobs) - expected).abs()
        assert difference.median() < 0.1  # bfloat16 against float32: an improbable token's may differ by more


def test_without_seeds_of_their_own_requests_draw_from_the_process(vllm_engine, prompts, tiny_stop, monkeypatch):
    # As on a GPU. In float64 the sampler draws uncompiled, which spares the test a compiler.
    runner = vllm_engine._llm.llm_engine.model_executor.driver_worker.model_runner
    monkeypatch.setattr(runner.sampler.topk_topp_sampler, "use_fp64_gumbel", True)
    monkeypatch.setattr(vllm_engine, "seeds_each", False)
    torch.manual_seed(5)
    first, again, other = (rolled_out(vllm_engine, prompts, tiny_stop, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    after = torch.rand(3).tolist()
    torch.manual_seed(5)
    assert torch.rand(3).tolist() == after


@pytest.mark.parametrize(("kept", "emptied"), [(50, False), (90, True)])
def test_pytorchs_cache_is_emptied_before_an_engine_wakes_that_finds_no_room(monkeypatch, kept, emptied):
    """On a pretended GPU of 100 bytes, of which the engine holds 30 while it is awake."""
    from chattpl.generation.vllm import VLLMEngine

    done: list[str] = []
    held = {"engine": 30, "training": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 - sum(held.values()), 100))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    engine = object.__new__(VLLMEngine)
    engine._llm = type("LLM", (), {
        "sleep": lambda self, level: held.update(engine=0),
        "wake_up": lambda self, tags: done.append(tags[0]),
        "collective_rpc": lambda self, method, kwargs: None,
        "reset_prefix_cache": lambda self: None,
    })()  # fmt: skip
    engine._on_cpu = engine._asleep = False
    engine._can_sleep = True
    engine.sleep()
    done.clear()
    held["training"] = kept
    engine.load_weights(iter([]))
    assert done == ["emptied"] * emptied + ["weights", "kv_cache"]


def test_vllm_looks_at_the_models_class_without_a_second_process(vllm_engine):
    from vllm.model_executor.models import registry

    assert not isinstance(registry.ModelRegistry.models["Qwen3ForCausalLM"], registry._LazyRegisteredModel)


def test_vllms_second_runner_serves_qwen2_beside_what_vllm_chose(monkeypatch):
    chosen = pytest.importorskip("vllm.config.vllm")
    name = "DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES"
    monkeypatch.setattr(chosen, name, frozenset({"Qwen3ForCausalLM"}), raising=False)
    extend_second_runner()
    assert getattr(chosen, name) == {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}
