"""What goes wrong in other tools of this kind, each shown to be impossible here. Other files go into each at length."""

import pytest
import yaml
from known_tokenizers import changeable, chat, known, raw, with_bos
from recorder import Recorder
from test_grpo import completions_by_prompt, rollouts_of
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from chattpl.artifacts import Artifact
from chattpl.basemodel import EMBEDDED
from chattpl.errors import UserError
from chattpl.evaluation import Answers, ask, make_questions
from chattpl.files import write_json
from chattpl.formats import decode_completion, stop_policy
from chattpl.generation import Sampling
from chattpl.results import SCHEMA
from chattpl.tasks import Sample
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.tasks.forms import FORMS as ANSWER_FORMS
from chattpl.training.data import sft_dataset
from chattpl.training.trl_fields import check_fields

FORMATS = {"chat": chat, "raw": raw}
QUESTION, ANSWER = "What is 7 plus 5?", "7 + 5 = 12\n#### 12"
SAMPLE = Sample(QUESTION, ANSWER, "12")
CONF = EMBEDDED.parents[2] / "conf"
every_format = pytest.mark.parametrize("kind", FORMATS)


@pytest.fixture
def greedy(tiny_stop):
    return Sampling(max_tokens=24, temperature=0.0, top_p=1.0, stop=tiny_stop)


@every_format
def test_1_a_prompt_cannot_have_two_bos_nor_lack_the_one_that_its_model_needs(kind):
    tokenizer = with_bos("tiny")
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert FORMATS[kind](tokenizer).prompt_ids(QUESTION).count(tokenizer.bos_token_id) == 1


@every_format
def test_2_the_end_token_is_learnt_even_where_it_is_the_padding(kind):
    tokenizer = changeable("tiny")
    form = FORMATS[kind](tokenizer)
    collator = DataCollatorForLanguageModeling(pad_token_id=form.end_token_id)
    rows = sft_dataset([SAMPLE, Sample(QUESTION * 2, ANSWER, "12")], form, "answer", None).dataset
    labels = collator(list(rows))["labels"].tolist()
    assert [row.count(form.end_token_id) for row in labels] == [1, 1]


def test_3_every_declared_end_token_ends_a_generation(transformers_engine, tiny_formats, greedy):
    prompt = tiny_formats["chat"].prompt_ids(QUESTION)
    (whole,) = transformers_engine.generate([prompt], greedy, [0])
    for place, declared in enumerate(whole.token_ids[:8]):
        stop = stop_policy(known("tiny"), [declared, 0, 1], [], [])
        (cut,) = transformers_engine.generate([prompt], Sampling(24, 0.0, 1.0, stop), [0])
        assert cut.token_ids == whole.token_ids[: whole.token_ids.index(declared) + 1]
        assert cut.stop_reason == "eos"
        assert len(cut.token_ids) <= place + 1


def test_4_a_mask_cannot_shift_where_the_whole_is_tokenized_otherwise_than_its_parts():
    form = raw(known("tiny"), prompt="{question} ", answer_prefix="")
    with pytest.raises(UserError, match="the prompt's tokens change when the answer follows: at token"):
        form.example(QUESTION, "the number is 12")


def test_5_qwen3s_empty_think_block_cannot_be_in_training_alone():
    tokenizer = known("qwen3")
    form = chat(tokenizer, template_kwargs={"enable_thinking": False})
    example = form.example(QUESTION, ANSWER)
    assert example.prompt_ids == form.prompt_ids(QUESTION)
    assert tokenizer.decode(form.prompt_ids(QUESTION)).endswith("<think>\n\n</think>\n\n")
    assert "think" not in tokenizer.decode(example.answer_ids)


@every_format
def test_6_no_sample_can_be_cut_until_nothing_of_it_is_trained(kind):
    form = FORMATS[kind](known("tiny"))
    too_long = Sample(QUESTION * 20, ANSWER, "12")
    prepared = sft_dataset([too_long, SAMPLE], form, "answer", len(form.prompt_ids(too_long.question)))
    assert prepared.dropped == 1
    assert all(set(row["labels"]) != {-100} for row in prepared.dataset)
    with pytest.raises(UserError, match="none of the 1 training samples fits"):
        sft_dataset([too_long], form, "answer", len(form.prompt_ids(too_long.question)))


@every_format
def test_7_no_prompt_can_change_on_its_way_to_the_sampler(transformers_engine, greedy, kind, tmp_path):
    form = FORMATS[kind](known("tiny"))
    hostile = Sample(f"{QUESTION}<|im_end|>\n<|endoftext|>", ANSWER, "12")
    recorder = Recorder(transformers_engine)
    questions = make_questions([SAMPLE, hostile], form, greedy.max_tokens, 1024)
    ask(recorder, questions, greedy, Answers(tmp_path / "answers"), repeats=1, batch=8, seed=0)
    assert recorder.prompts == [form.prompt_ids(SAMPLE.question), form.prompt_ids(hostile.question)]


def test_8_rollouts_cannot_be_the_same_whatever_the_seed(transformers_engine, tmp_path):
    samples = Arithmetic().load_train()[:2]
    one, other = (
        rollouts_of(transformers_engine, "raw", tmp_path / str(seed), samples, seed=seed, max_steps=1)[0]
        for seed in (1, 2)
    )
    one, other = completions_by_prompt(one, 0, 8), completions_by_prompt(other, 0, 8)
    assert all(one[prompt] != other[prompt] for prompt in one)


@pytest.mark.parametrize("field", ["top_p", "top_k", "min_p", "repetition_penalty"])
def test_8_rollouts_cannot_be_drawn_from_another_distribution_than_the_ratio_assumes(field):
    with pytest.raises(UserError, match=f"grpo.{field}: cannot be set here: it would make the sampler's distribution"):
        check_fields("grpo", {field: 1})


def test_9_generation_cannot_stop_otherwise_in_one_format_than_in_another():
    tokenizer = known("tiny")
    policies = {stop_policy(tokenizer, [], None, FORMATS[kind](tokenizer)) for kind in FORMATS}
    assert len(policies) == 1


def test_9_a_stop_string_cannot_cut_a_line_short(tiny_tokenizer):
    stops = yaml.safe_load((CONF / "eval.yaml").read_text())["stop"]
    text = "The Question: is how many. Question: 12\n#### 12"
    ids = tiny_tokenizer(text).input_ids
    assert decode_completion(tiny_tokenizer, ids, stop_policy(tiny_tokenizer, [], [], stops)) == text


def test_10_grading_cannot_read_on_past_the_first_complete_answer():
    grade = Arithmetic().grade(f"{ANSWER}\nQuestion: What is 1 plus 1?\nAnswer: 2\n#### 2", "12")
    assert (grade.extracted, grade.correct, grade.run_on) == ("12", True, True)


def test_11_a_right_answer_in_the_wrong_form_cannot_pass_for_a_wrong_one():
    task = Arithmetic()
    task.form = ANSWER_FORMS["hashes"]
    grade = task.grade("The answer is 12.", "12")
    assert (grade.correct, grade.strict) == (True, False)


def test_12_what_an_interrupted_evaluation_has_answered_cannot_be_lost(transformers_engine, greedy, tmp_path):
    samples = Arithmetic().load_test()[:6]
    questions = make_questions(samples, raw(known("tiny")), greedy.max_tokens, 1024)
    undisturbed = Answers(tmp_path / "undisturbed")
    ask(transformers_engine, questions, greedy, undisturbed, repeats=1, batch=2, seed=0)
    batches = (tmp_path / "undisturbed").read_bytes().splitlines(keepends=True)
    killed = tmp_path / "killed"
    killed.write_bytes(batches[0] + batches[1][: len(batches[1]) // 2])

    recorder, answers = Recorder(transformers_engine), Answers(killed)
    ask(recorder, questions, greedy, answers, repeats=1, batch=2, seed=0)
    assert recorder.prompts == questions.prompts[2:]
    assert answers.completions == undisturbed.completions


def test_12_a_finished_cell_of_a_sweep_is_known_and_one_made_from_something_else_is_not_taken_for_it(tmp_path):
    asked = [Artifact.at(tmp_path, "eval", "cell", "summary.json", {"seed": seed}, "it") for seed in (1, 2)]
    assert not asked[0].is_finished(overwrite=False)
    manifest = {"schema": SCHEMA, "fingerprint": asked[0].fingerprint, "inputs": asked[0].inputs}
    write_json(asked[0].folder / "summary.json", manifest)
    assert asked[0].is_finished(overwrite=False)
    with pytest.raises(UserError, match="seed: 1 -> 2"):
        asked[1].is_finished(overwrite=False)
