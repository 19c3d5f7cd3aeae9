"""Every chat template that the installed TRL ships, against the ids that `apply_chat_template` makes of it."""

import importlib.util
import re
from pathlib import Path

import pytest
from known_tokenizers import NO_THINKING, changeable, chat

from chattpl.errors import UserError
from chattpl.tasks import Sample

TEMPLATES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(importlib.util.find_spec("trl").origin).parent / "chat_templates").glob("*.jinja"))
}
SPELT_AS_SPECIAL = re.compile(
    r"<[|\uff5c][^<>|\uff5c\s]+[|\uff5c]>|<\|\w+>|<\w+\|>|</?s>|<(?:start_of_turn|end_of_turn|end_of_utterance|sop)>|\[gMASK\]"
)
BOS = "<|start_of_everything|>"
QUESTION, ANSWER = "How many are 7 and 5?\n\n Say it in one line.", "7 + 5 = 12\n\n#### 12"
SHOTS = [Sample("How many are 1 and 2?", "1 + 2 = 3\n\n#### 3", "3"), Sample("And 2 and 2?", "#### 4", "4")]

THINKS_IN_THE_PROMPT_ALONE = "the generation prompt opens <think>, which the conversation leaves out"
CANNOT_HOLD = {
    "deepseek_r1_distill": THINKS_IN_THE_PROMPT_ALONE,
    "deepseek_r1_distill_training": THINKS_IN_THE_PROMPT_ALONE,
    "deepseekv3": THINKS_IN_THE_PROMPT_ALONE,
    "deepseekv3_training": THINKS_IN_THE_PROMPT_ALONE,
}
# Those of models that also see; the others take a content as it is.
CONTENT_IN_PARTS = {
    "idefics3",
    "idefics3_training",
    "llava_next",
    "llava_next_training",
    "smolvlm",
    "smolvlm_training",
}
NO_SYSTEM_TURN = {"gemma", "gemma_training"}


@pytest.fixture(scope="module", params=["tiny", "qwen3"])
def tokenizer(request):
    """A real tokenizer that knows every special token of these templates as one token."""
    tokenizer = changeable(request.param)
    spelt = {token for text in TEMPLATES.values() for token in SPELT_AS_SPECIAL.findall(text)}
    tokenizer.add_special_tokens({"bos_token": BOS, "additional_special_tokens": sorted(spelt)})
    return tokenizer


@pytest.fixture
def templated(tokenizer, template):
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def messages(template, answer=None, system=None, shots=(), question=QUESTION):
    turns = [("system", system)]
    for shot in shots:
        turns += [("user", shot.question), ("assistant", shot.answer)]
    turns += [("user", question), ("assistant", answer)]
    in_parts = template in CONTENT_IN_PARTS
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text}
        for role, text in turns
        if text is not None
    ]


def special_ids(tokenizer):
    return {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}


def prompt_by_the_tokenizer(tokenizer, template, system=None, shots=(), question=QUESTION):
    asked = messages(template, None, system, shots, question)
    return tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False, **NO_THINKING)


def conversation_by_the_tokenizer(tokenizer, template, system=None, shots=()):
    """The ids of question and answer up to and with the first special token after the answer, or else EOS."""
    whole = messages(template, ANSWER, system, shots)
    ids = tokenizer.apply_chat_template(whole, return_dict=False, **NO_THINKING)
    text = tokenizer.apply_chat_template(whole, tokenize=False, **NO_THINKING)
    after = tokenizer(text.rpartition(ANSWER)[2], add_special_tokens=False).input_ids
    special = [index for index in after if index in special_ids(tokenizer)]
    return ids[: len(ids) - len(after)] + (special or [tokenizer.eos_token_id])[:1]


def test_the_installed_trl_ships_templates():
    assert len(TEMPLATES) > 40
    assert set(CANNOT_HOLD) | CONTENT_IN_PARTS | NO_SYSTEM_TURN <= set(TEMPLATES)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - set(CANNOT_HOLD)))
def test_prompt_and_answer_are_the_ids_of_the_conversation(templated, template):
    form = chat(templated)
    example = form.example(QUESTION, ANSWER)
    assert form.prompt_ids(QUESTION) == example.prompt_ids == prompt_by_the_tokenizer(templated, template)
    assert example.token_ids == conversation_by_the_tokenizer(templated, template)


@pytest.mark.parametrize("template", sorted(CANNOT_HOLD))
def test_a_template_whose_conversation_does_not_begin_with_its_prompt_is_refused(templated, template):
    with pytest.raises(UserError, match=r"does not begin with its own generation prompt: at character \d+ the prompt"):
        chat(templated).example(QUESTION, ANSWER)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - set(CANNOT_HOLD) - NO_SYSTEM_TURN))
def test_a_system_turn_stands_before_the_question(templated, template):
    form = chat(templated, system="Answer in words.")
    assert form.prompt_ids(QUESTION) == prompt_by_the_tokenizer(templated, template, "Answer in words.")
    assert form.example(QUESTION, ANSWER).token_ids == conversation_by_the_tokenizer(
        templated, template, "Answer in words."
    )


@pytest.mark.parametrize("template", sorted(NO_SYSTEM_TURN))
def test_a_system_turn_that_the_template_refuses_is_an_error_that_says_so(templated, template):
    with pytest.raises(UserError, match="cannot render this conversation: System role not supported"):
        chat(templated, system="Answer in words.")


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - set(CANNOT_HOLD)))
def test_content_never_becomes_the_tokens_of_the_template(templated, template):
    special = special_ids(templated)
    form = chat(templated)
    plain = [index for index in form.example(QUESTION, ANSWER).token_ids if index in special]
    spelt = "".join(sorted(token for token in SPELT_AS_SPECIAL.findall(TEMPLATES[template])))
    hostile = form.example(f"{QUESTION} {spelt}", f"{spelt} {ANSWER}")
    assert hostile.prompt_ids == form.prompt_ids(f"{QUESTION} {spelt}")
    assert [index for index in hostile.token_ids if index in special] == plain


# --- worked examples before the question


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_worked_examples_stand_as_turns_before_the_question(templated, template):
    form = chat(templated, examples=SHOTS)
    assert form.prompt_ids(QUESTION) == prompt_by_the_tokenizer(templated, template, shots=SHOTS)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - set(CANNOT_HOLD)))
def test_worked_examples_prompt_and_answer_are_the_ids_of_the_conversation(templated, template):
    form = chat(templated, examples=SHOTS)
    example = form.example(QUESTION, ANSWER)
    assert form.prompt_ids(QUESTION) == example.prompt_ids
    assert example.token_ids == conversation_by_the_tokenizer(templated, template, shots=SHOTS)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - NO_SYSTEM_TURN))
def test_a_system_turn_stands_before_the_worked_examples(templated, template):
    form = chat(templated, examples=SHOTS, system="Answer in words.")
    assert form.prompt_ids(QUESTION) == prompt_by_the_tokenizer(templated, template, "Answer in words.", SHOTS)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_worked_examples_within_one_text_stand_in_the_one_user_turn(templated, template):
    within = "".join(f"Question: {shot.question}\nAnswer: {shot.answer}\n\n" for shot in SHOTS)
    expected = prompt_by_the_tokenizer(templated, template, question=f"{within}Question: {QUESTION}")
    assert chat(templated, examples=SHOTS, turns=False).prompt_ids(QUESTION) == expected


@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - set(CANNOT_HOLD)))
def test_a_worked_examples_content_never_becomes_the_tokens_of_the_template(templated, template, turns):
    special = special_ids(templated)
    plain = chat(templated, examples=SHOTS, turns=turns).example(QUESTION, ANSWER).token_ids
    spelt = "".join(sorted(SPELT_AS_SPECIAL.findall(TEMPLATES[template])))
    hostile = [Sample(f"{shot.question} {spelt}", f"{spelt} {shot.answer}", shot.gold) for shot in SHOTS]
    form = chat(templated, examples=hostile, turns=turns)
    example = form.example(QUESTION, ANSWER)
    assert example.prompt_ids == form.prompt_ids(QUESTION)
    assert [index for index in example.token_ids if index in special] == [index for index in plain if index in special]
