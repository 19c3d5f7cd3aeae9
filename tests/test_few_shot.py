"""Worked examples before the question: their place, their ids, hostile content (see also `test_templates.py`)."""

import functools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_tokenizers import NAMES, changeable, chat, known, raw, with_bos
from test_formats import HOSTILE, MISTRAL, any_text, decoded, normalized, pieces, special_ids, texts

from chattpl.errors import UserError
from chattpl.formats import ChatFields, RawFields, make_format, stop_policy
from chattpl.tasks import Sample

QUESTION, ANSWER = "What is 7 plus 5?", "7 + 5 = 12\n#### 12"
FIRST = Sample("What is 1 plus 2?", "1 + 2 = 3\n#### 3", "3")
SECOND = Sample("Rosa has 3 boxes with 4 eggs in each. How many eggs has she?", "3 * 4 = 12 eggs\n#### 12", "12")
SHOTS = [FIRST, SECOND]
HOSTILE_SHOTS = {
    "question": [FIRST, Sample(f"{HOSTILE} {SECOND.question}", SECOND.answer, "12")],
    "answer": [Sample(FIRST.question, f"3{HOSTILE}", "3"), SECOND],
}
FORMATS = {"chat": chat, "raw": raw}
WITHIN_ONE_TEXT = (
    f"Question: {FIRST.question}\nAnswer: {FIRST.answer}\n\n"
    f"Question: {SECOND.question}\nAnswer: {SECOND.answer}\n\n"
    f"Question: {QUESTION}"
)

every_tokenizer = pytest.mark.parametrize("name", NAMES)
every_format = pytest.mark.parametrize("kind", FORMATS)
every_place = pytest.mark.parametrize("turns", [True, False])


def conversation(shots=SHOTS, question=QUESTION, answer=None, system=None):
    turns = [("system", system)]
    for shot in shots:
        turns += [("user", shot.question), ("assistant", shot.answer)]
    turns += [("user", question), ("assistant", answer)]
    return [{"role": role, "content": text} for role, text in turns if text is not None]


def ids_by_the_tokenizer(tokenizer, messages, **options):
    options = {"enable_thinking": False, **options}
    return tokenizer.apply_chat_template(messages, return_dict=False, **options)


def up_to_the_last_end(tokenizer, messages, **options):
    """The ids of the conversation up to and with the first special token after the last answer, or else EOS."""
    ids = ids_by_the_tokenizer(tokenizer, messages, **options)
    text = tokenizer.apply_chat_template(messages, tokenize=False, **{"enable_thinking": False, **options})
    after = tokenizer(text.rpartition(ANSWER)[2], add_special_tokens=False).input_ids
    special = [index for index in after if index in special_ids(tokenizer)]
    return ids[: len(ids) - len(after)] + (special or [tokenizer.eos_token_id])[:1]


# --- as turns of the conversation


@every_tokenizer
@pytest.mark.parametrize("thinking", [False, True])
def test_a_chat_prompt_is_what_the_tokenizer_makes_of_the_examples_as_turns(name, thinking):
    form = chat(known(name), examples=SHOTS, template_kwargs={"enable_thinking": thinking})
    expected = ids_by_the_tokenizer(known(name), conversation(), add_generation_prompt=True, enable_thinking=thinking)
    assert form.prompt_ids(QUESTION) == expected


@every_tokenizer
@pytest.mark.parametrize("thinking", [False, True])
def test_a_chat_example_is_the_beginning_of_what_the_tokenizer_makes_of_the_conversation(name, thinking):
    form = chat(known(name), examples=SHOTS, template_kwargs={"enable_thinking": thinking})
    expected = up_to_the_last_end(known(name), conversation(answer=ANSWER), enable_thinking=thinking)
    assert form.example(QUESTION, ANSWER).token_ids == expected


@pytest.mark.parametrize("name", ["tiny", "qwen3"])
def test_the_empty_think_block_stands_before_the_last_answer_alone(name):
    text = decoded(known(name), chat(known(name), examples=[FIRST]).prompt_ids(QUESTION))
    assert text == (
        f"<|im_start|>user\n{FIRST.question}<|im_end|>\n<|im_start|>assistant\n{FIRST.answer}<|im_end|>\n"
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize(("kind", "name"), [("raw", "tiny"), ("raw", "qwen3"), ("raw", "smollm2"), ("chat", "smollm2")])
def test_an_example_stands_there_as_sft_would_write_it(kind, name):
    learnt = FORMATS[kind](known(name)).example(FIRST.question, FIRST.answer).token_ids
    assert FORMATS[kind](known(name), examples=[FIRST]).prompt_ids(QUESTION)[: len(learnt)] == learnt


@every_tokenizer
def test_a_raw_prompt_ends_each_example_with_the_end_token(name):
    form = raw(known(name), examples=SHOTS)
    text = "".join(f"Question: {shot.question}\nAnswer: {shot.answer}<|endoftext|>" for shot in SHOTS)
    whole = f"{text}Question: {QUESTION}\nAnswer:"
    assert form.prompt_ids(QUESTION) == known(name)(whole, add_special_tokens=False).input_ids


def test_an_end_token_of_ones_own_also_ends_the_examples_of_a_raw_prompt():
    form = raw(known("tiny"), examples=[FIRST], eos="<|im_end|>")
    assert decoded(known("tiny"), form.prompt_ids(QUESTION)) == (
        f"Question: {FIRST.question}\nAnswer: {FIRST.answer}<|im_end|>Question: {QUESTION}\nAnswer:"
    )


def test_a_system_turn_stands_once_before_the_examples():
    form = chat(known("qwen3"), examples=SHOTS, system="Be brief.")
    messages = conversation(system="Be brief.")
    assert form.prompt_ids(QUESTION) == ids_by_the_tokenizer(known("qwen3"), messages, add_generation_prompt=True)


# --- within one text


@every_tokenizer
def test_a_chat_prompt_within_one_text_is_one_user_turn(name):
    form = chat(known(name), examples=SHOTS, turns=False)
    messages = [{"role": "user", "content": WITHIN_ONE_TEXT}]
    assert form.prompt_ids(QUESTION) == ids_by_the_tokenizer(known(name), messages, add_generation_prompt=True)


@every_tokenizer
def test_a_raw_prompt_within_one_text_separates_the_examples_by_a_blank_line(name):
    form = raw(known(name), examples=SHOTS, turns=False)
    expected = known(name)(f"{WITHIN_ONE_TEXT}\nAnswer:", add_special_tokens=False).input_ids
    assert form.prompt_ids(QUESTION) == expected


@every_format
def test_turns_make_no_difference_without_examples(kind):
    apart, within = (FORMATS[kind](known("tiny"), turns=turns) for turns in (True, False))
    assert apart.example(QUESTION, ANSWER) == within.example(QUESTION, ANSWER)


# --- what holds wherever they stand


@every_format
@every_place
def test_the_instruction_follows_every_question(kind, turns):
    said = "End with ####."
    instructed = FORMATS[kind](known("tiny"), said, SHOTS, turns=turns)
    written_out = [Sample(f"{shot.question}\n{said}", shot.answer, shot.gold) for shot in SHOTS]
    by_hand = FORMATS[kind](known("tiny"), "", written_out, turns=turns)
    assert instructed.prompt_ids(QUESTION) == by_hand.prompt_ids(f"{QUESTION}\n{said}")


@every_tokenizer
@every_format
@every_place
def test_an_examples_prompt_is_the_prompt(name, kind, turns):
    form = FORMATS[kind](known(name), examples=SHOTS, turns=turns)
    example = form.example(QUESTION, ANSWER)
    assert example.prompt_ids == form.prompt_ids(QUESTION)
    assert example.token_ids[: len(example.prompt_ids)] == example.prompt_ids


@every_tokenizer
@every_format
@every_place
def test_what_is_learnt_is_the_last_answer_alone(name, kind, turns):
    with_shots = FORMATS[kind](known(name), examples=SHOTS, turns=turns).example(QUESTION, ANSWER)
    assert with_shots.answer_ids == FORMATS[kind](known(name)).example(QUESTION, ANSWER).answer_ids


@every_format
@every_place
def test_a_prompt_is_the_same_in_every_call(kind, turns):
    form = FORMATS[kind](known("tiny"), examples=SHOTS, turns=turns)
    before = form.prompt_ids(QUESTION)
    form.example(HOSTILE, HOSTILE)
    form.prompt_ids("Another?")
    assert form.prompt_ids(QUESTION) == before


@every_format
@every_place
def test_all_prompts_begin_with_the_same_examples(kind, turns):
    form = FORMATS[kind](known("tiny"), examples=SHOTS, turns=turns)
    one, other = (decoded(known("tiny"), form.prompt_ids(question)) for question in (QUESTION, "Another?"))
    assert one.partition(QUESTION)[0] == other.partition("Another?")[0]


@every_format
@every_place
def test_examples_change_no_end_token_and_no_stop_policy(kind, turns):
    plain, shown = FORMATS[kind](known("tiny")), FORMATS[kind](known("tiny"), examples=SHOTS, turns=turns)
    assert shown.end_token_id == plain.end_token_id
    assert stop_policy(known("tiny"), [], shown) == stop_policy(known("tiny"), [])


@every_tokenizer
@every_place
def test_the_reference_holds_the_examples(name, turns):
    form = chat(known(name), "Go on.", SHOTS, turns=turns)
    assert form.reference_ids(QUESTION) == form.prompt_ids(QUESTION)


@every_place
@pytest.mark.parametrize("where", HOSTILE_SHOTS)
def test_there_is_no_reference_where_an_example_spells_a_special_token(turns, where):
    assert chat(known("tiny"), examples=HOSTILE_SHOTS[where], turns=turns).reference_ids(QUESTION) is None


def test_a_raw_format_has_no_reference():
    assert raw(known("tiny"), examples=SHOTS).reference_ids(QUESTION) is None


# --- content is content


@every_tokenizer
@every_format
@every_place
@pytest.mark.parametrize("where", HOSTILE_SHOTS)
def test_special_tokens_spelt_in_an_example_stay_text(name, kind, turns, where):
    special = special_ids(known(name))
    plain = FORMATS[kind](known(name), examples=SHOTS, turns=turns).example(QUESTION, ANSWER).token_ids
    ids = FORMATS[kind](known(name), examples=HOSTILE_SHOTS[where], turns=turns).example(QUESTION, ANSWER).token_ids
    assert [index for index in ids if index in special] == [index for index in plain if index in special]
    assert decoded(known(name), ids).count(HOSTILE) == 1


@every_tokenizer
@every_format
@every_place
@pytest.mark.parametrize("where", HOSTILE_SHOTS)
def test_prompts_with_a_hostile_example_are_the_same_alone_and_with_their_answer(name, kind, turns, where):
    form = FORMATS[kind](known(name), examples=HOSTILE_SHOTS[where], turns=turns)
    for question, answer in ((QUESTION, ANSWER), (QUESTION, HOSTILE), (HOSTILE, ANSWER)):
        assert form.example(question, answer).prompt_ids == form.prompt_ids(question)


@every_place
def test_an_example_that_holds_the_place_holder_is_put_as_it_is(turns):
    shot = Sample("What is {question}?", "{question}", "1")
    text = decoded(known("tiny"), raw(known("tiny"), examples=[shot], turns=turns).prompt_ids(QUESTION))
    assert text.startswith("Question: What is {question}?\nAnswer: {question}")
    assert text.endswith(f"Question: {QUESTION}\nAnswer:")


@every_format
@every_place
@pytest.mark.parametrize("shots", [SHOTS, *HOSTILE_SHOTS.values()], ids=["harmless", *HOSTILE_SHOTS])
def test_there_is_exactly_one_bos(kind, turns, shots):
    tokenizer = with_bos("tiny")
    ids = FORMATS[kind](tokenizer, examples=shots, turns=turns).example(QUESTION, ANSWER).token_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_template_that_prints_bos_itself_gives_one_not_two():
    tokenizer = with_bos("tiny")
    tokenizer.chat_template = MISTRAL
    ids = chat(tokenizer, examples=[FIRST]).example(QUESTION, ANSWER).token_ids
    first = f"[INST] {FIRST.question} [/INST] {FIRST.answer}<|im_end|>"
    assert decoded(tokenizer, ids) == f"<s>{first}[INST] {QUESTION} [/INST] {ANSWER}<|im_end|>"


def written(tokenizer, kind, turns, shot, question, answer):
    """The text of one example, question, answer and end, made without the formats."""
    if kind == "raw":
        between = "<|endoftext|>" if turns else "\n\n"
        first = f"Question: {shot.question}\nAnswer: {shot.answer}{between}"
        return f"{first}Question: {question}\nAnswer: {answer}<|endoftext|>"
    within = f"Question: {shot.question}\nAnswer: {shot.answer}\n\nQuestion: {question}"
    messages = conversation([shot], question, answer) if turns else conversation([], within, answer)
    text = tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False)
    return text.removesuffix("\n")


REFUSALS = (
    "tokens change when the answer follows|does not begin with its own|reads as a special token|example 1 as it is"
)


@every_tokenizer
@every_format
@every_place
@any_text
@given(shown=texts, worked=texts, question=texts, answer=st.lists(pieces, max_size=2).map("".join))
def test_any_example_comes_back_as_it_was_and_makes_no_special_token(
    name, kind, turns, shown, worked, question, answer
):
    tokenizer, shot = known(name), Sample(shown, worked, "")
    try:
        form = FORMATS[kind](tokenizer, examples=[shot], turns=turns)
        example = form.example(question, answer)
    except UserError as error:
        assert re.search(REFUSALS, str(error))  # noqa: PT017
        return
    assert example.prompt_ids == form.prompt_ids(question)
    whole = written(tokenizer, kind, turns, shot, question, answer)
    assert decoded(tokenizer, example.token_ids) == normalized(tokenizer, whole)
    special = special_ids(tokenizer)
    assert [index for index in example.token_ids if index in special] == special_tokens_of(name, kind, turns)


@functools.cache
def special_tokens_of(name, kind, turns):
    plain = FORMATS[kind](known(name), examples=[FIRST], turns=turns).example("a", "a").token_ids
    return [index for index in plain if index in special_ids(known(name))]


# --- what cannot be shown


@every_format
@pytest.mark.parametrize("given", [[], [FIRST], [*SHOTS, FIRST]])
def test_as_many_examples_as_shots_must_be_given(kind, given):
    fields = {"chat": ChatFields, "raw": RawFields}[kind](shots=2)
    with pytest.raises(AssertionError, match=f"{len(given)} examples where 2 are asked for"):
        make_format(kind, fields, known("tiny"), "", given)


@every_format
@every_place
def test_an_example_that_cannot_be_encoded_is_named(kind, turns):
    broken = Sample("hi \ud83d", "1", "1")
    with pytest.raises(UserError, match=rf"format {kind}: worked example 2: a sample holds '\\ud83d' at character 3"):
        FORMATS[kind](known("tiny"), examples=[FIRST, broken], turns=turns)


def test_a_template_that_takes_one_turn_alone_is_refused_with_its_own_words():
    tokenizer = changeable("tiny")
    tokenizer.chat_template = (
        "{% if messages | length > 2 %}{{ raise_exception('one turn only') }}{% endif %}" + tokenizer.chat_template
    )
    with pytest.raises(UserError, match="format chat: the chat template cannot render this conversation: one turn"):
        chat(tokenizer, examples=[FIRST])
    assert chat(tokenizer, examples=[FIRST], turns=False).prompt_ids(QUESTION)


def test_a_template_that_drops_earlier_turns_is_refused():
    tokenizer = changeable("tiny")
    tokenizer.chat_template = "{% set messages = messages[-2:] %}" + tokenizer.chat_template
    with pytest.raises(UserError, match="does not write worked example 1 as it is: 'What is 1 plus 2"):
        chat(tokenizer, examples=SHOTS)


def test_an_example_whose_answer_the_template_cuts_is_refused():
    thinks = Sample(FIRST.question, "It is three.</think>3", "3")
    with pytest.raises(UserError, match=r"does not write worked example 1 as it is: 'It is three\.</think>3'"):
        chat(known("qwen3"), examples=[thinks])
