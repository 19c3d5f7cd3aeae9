"""The embedded model: what lies in the repository, and a smaller one built by the same steps."""

import tarfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from chattpl.tasks.arithmetic import Arithmetic
from chattpl.tiny import data
from chattpl.tiny.make import MODEL_FOLDER, make

QWEN3 = Path(__file__).parents[2] / "shared" / "models" / "qwen3_tokenizer.tar.xz"
TOKENIZER = AutoTokenizer.from_pretrained(MODEL_FOLDER)
USER = {"role": "user", "content": "How many?\nEnd with ####."}
ANSWER = {"role": "assistant", "content": "1 + 1 = 2\n#### 2"}
SYSTEM = {"role": "system", "content": "Be brief."}
THOUGHT = ANSWER | {"reasoning_content": "Let me see."}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Path, dict[str, list[float]]]:
    out = tmp_path_factory.mktemp("tiny")
    return out, make(out, seed=0, scale=0.0004, device="cpu")


def render(messages: list[dict[str, str]], **options) -> str:
    return TOKENIZER.apply_chat_template(messages, tokenize=False, **options)


# The tokenizer


@given(st.text())
def test_any_text_comes_back_as_it_was(text):
    ids = TOKENIZER(text, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_every_digit_is_a_token_of_its_own():
    tokens = TOKENIZER.tokenize("has 1024 eggs, 7*8=56")
    assert [token for token in tokens if any(c.isdigit() for c in token)] == list("10247856")


def test_nothing_is_put_in_front_of_a_text():
    assert TOKENIZER.bos_token is None
    assert TOKENIZER.decode(TOKENIZER("7")["input_ids"]) == "7"


def test_turns_end_in_the_eos_token_and_documents_in_the_padding_token():
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"])
def test_each_mark_is_one_token(token):
    assert len(TOKENIZER(token)["input_ids"]) == 1


def test_thinking_marks_are_text_and_the_others_are_not():
    ids = TOKENIZER("<think></think><|im_start|><|im_end|><|endoftext|>")["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "<think></think>"


# The chat template


def test_without_thinking_the_generation_prompt_ends_in_an_empty_thought():
    prompt = render([USER], add_generation_prompt=True, enable_thinking=False)
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_thinking_is_left_open_unless_refused():
    assert render([USER], add_generation_prompt=True).endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_the_full_rendering_begins_with_the_generation_prompt():
    prompt = render([SYSTEM, USER], add_generation_prompt=True, enable_thinking=False)
    assert render([SYSTEM, USER, ANSWER]) == prompt + ANSWER["content"] + "<|im_end|>\n"


@pytest.mark.parametrize(
    "messages",
    [[USER], [USER, ANSWER], [SYSTEM, USER], [SYSTEM, USER, ANSWER], [USER, THOUGHT], [USER, ANSWER, USER, ANSWER]],
)
@pytest.mark.parametrize("options", [{}, {"add_generation_prompt": True}, {"enable_thinking": False}])
def test_conversations_are_rendered_as_qwen3_renders_them(messages, options):
    if not QWEN3.exists():
        pytest.skip(f"{QWEN3} with Qwen3's own template is not there")
    with tarfile.open(QWEN3) as archive:
        name = next(name for name in archive.getnames() if name.endswith("chat_template.jinja"))
        theirs = archive.extractfile(name).read().decode()
    assert render(messages, **options) == render(messages, chat_template=theirs, **options)


def test_the_model_learnt_from_conversations_in_its_own_template():
    own = data._template().render(messages=[SYSTEM, USER, ANSWER, USER, ANSWER])
    assert own == render([SYSTEM, USER, ANSWER, USER, ANSWER])


# The folder in the repository


def test_it_has_at_most_4_million_parameters_in_at_most_8_megabytes():
    with safe_open(MODEL_FOLDER / "model.safetensors", "pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118 (not a dict)
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    assert sum(tensor.numel() for tensor in tensors) <= 4_000_000
    assert sum(path.stat().st_size for path in MODEL_FOLDER.iterdir()) <= 8_000_000


def test_it_is_a_qwen3_with_heads_that_vllm_takes_on_a_cpu():
    config = AutoConfig.from_pretrained(MODEL_FOLDER)
    assert config.architectures == ["Qwen3ForCausalLM"]
    assert config.head_dim >= 32
    assert config.vocab_size == len(TOKENIZER)


def test_both_end_tokens_end_generation():
    generation = GenerationConfig.from_pretrained(MODEL_FOLDER)
    assert TOKENIZER.convert_ids_to_tokens(generation.eos_token_id) == ["<|im_end|>", "<|endoftext|>"]
    assert generation.pad_token_id == TOKENIZER.pad_token_id


def test_it_ends_its_answers_with_the_end_token_of_the_format():
    model = AutoModelForCausalLM.from_pretrained(MODEL_FOLDER, dtype=torch.float32)
    question = f"{Arithmetic().load_test()[0].question}\n{data.INSTRUCTIONS[0]}"
    chat = render([{"role": "user", "content": question}], add_generation_prompt=True, enable_thinking=False)
    for prompt, end in ((chat, "<|im_end|>"), (f"Question: {question}\nAnswer:", "<|endoftext|>")):
        ids = TOKENIZER(prompt, return_tensors="pt")["input_ids"]
        output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=128, do_sample=False)
        assert TOKENIZER.convert_ids_to_tokens(output[0, -1].item()) == end


def test_its_template_is_the_one_beside_the_script():
    assert (MODEL_FOLDER / "chat_template.jinja").read_text().strip() == data.CHAT_TEMPLATE.read_text().strip()


# A smaller one


def test_a_smaller_one_by_the_same_road_loads(small):
    out, _ = small
    model = AutoModelForCausalLM.from_pretrained(out)
    ids = AutoTokenizer.from_pretrained(out)("Anna has 7 eggs.", return_tensors="pt")["input_ids"]
    assert model(ids).logits.isfinite().all()
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in MODEL_FOLDER.iterdir())


def test_its_loss_goes_down(small):
    _, losses = small
    assert list(losses) == ["pre-training", "instruction tuning"]
    assert losses["pre-training"][-1] < 0.8 * losses["pre-training"][0]
    assert losses["instruction tuning"][-1] < losses["instruction tuning"][0]


def test_documents_are_encoded_the_same_with_and_without_other_processes(monkeypatch):
    tokenizer = TOKENIZER.backend_tokenizer.to_str()
    alone = data.encode(data.instruction_document, 20, "seed", tokenizer)
    monkeypatch.setattr(data, "DOCUMENTS_PER_SHARD", 20)
    both = data.encode(data.instruction_document, 40, "seed", tokenizer)
    assert both.ids[: len(alone.ids)].tolist() == alone.ids.tolist()
    assert both.starts[20] == len(alone.ids)
