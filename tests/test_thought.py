"""A model that thinks before it answers: graded after the thought, and not taught to leave it empty."""

import json
import sys

import pytest
from command_line import command
from conftest import training_job
from known_tokenizers import changeable, known

from chattpl.errors import UserError
from chattpl.formats import ChatFields, RawFields, decode_completion, make_format, split_thought, stop_policy


@pytest.fixture(autouse=True)
def _without_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)


THINKING = ChatFields(template_kwargs={"enable_thinking": True})


@pytest.mark.parametrize(
    ("text", "in_thought", "expected"),
    [
        ("#### 4", False, (None, "#### 4")),
        ("<think>\n2 + 2\n</think>\n\n#### 4", False, ("\n2 + 2\n", "\n\n#### 4")),
        ("\n<think>2 + 2", False, ("2 + 2", "")),
        ("2 + 2</think>4", True, ("2 + 2", "4")),
        ("2 + 2 = 4", True, ("2 + 2 = 4", "")),
        ("4 </think> 5", False, (None, "4 </think> 5")),
        ("[THINK]2[/THINK]4", False, ("2", "4")),
    ],
)
def test_a_thought_is_told_from_the_answer(text, in_thought, expected):
    assert split_thought(text, in_thought) == expected


def test_marks_that_are_special_tokens_are_seen():
    tokenizer = changeable("tiny")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    ids = tokenizer("<think>2 + 2</think>4<|im_end|>", add_special_tokens=False).input_ids
    text = decode_completion(tokenizer, ids, stop_policy(tokenizer, []))
    assert split_thought(text, False) == ("2 + 2", "4")


@pytest.mark.parametrize("name", ["tiny", "qwen3"])
def test_a_prompt_that_asks_for_a_thought_does_not_close_it(name):
    plain, thinking = (make_format("f", fields, known(name), "") for fields in (ChatFields(), THINKING))
    assert "</think>" in known(name).decode(plain.prompt_ids("2 + 2?"))
    assert "</think>" not in known(name).decode(thinking.prompt_ids("2 + 2?"))
    assert (plain.thinks, thinking.thinks) == (False, True)


def test_a_prompt_that_opens_a_thought_is_seen():
    prompt = "Question: {question}\nAnswer: <think>"
    assert make_format("f", RawFields(prompt=prompt), known("tiny"), "").opens_thought
    assert not make_format("f", RawFields(), known("tiny"), "").opens_thought


def test_an_answer_with_a_thought_is_learnt_with_it():
    form = make_format("f", THINKING, known("qwen3"), "")
    example = form.example("2 + 2?", "<think>\nTwo and two.\n</think>\n\n4")
    assert known("qwen3").decode(example.answer_ids) == "<think>\nTwo and two.\n</think>\n\n4<|im_end|>"


def test_sft_on_answers_without_a_thought_is_refused_before_anything_is_loaded(tmp_path):
    ended = command("train.format=thinking", cwd=tmp_path)
    assert ended.status == 1
    assert ended.err.startswith("error: train.format=thinking: asks the model to think")


def test_sft_on_answers_without_a_thought_is_done_where_it_is_asked_for(micro, tmp_path):
    wanted = ["train.format=thinking", "formats.thinking.teach_empty_thought=true", "sft.max_steps=1", "stage=train"]
    assert command(*micro, *wanted, cwd=tmp_path).status == 0


def test_a_format_that_opens_a_thought_by_itself_is_refused_too(tmp_path):
    from chattpl.generation.pool import EnginePool
    from chattpl.training.run import run_job

    job = training_job(tmp_path, "+formats.mine={kind: raw, prompt: '{question} <think>'}", "train.format=mine")
    with pytest.raises(UserError, match="asks the model to think"):
        run_job(job, EnginePool())


def test_the_thought_is_kept_apart_from_what_is_graded(micro, tmp_path):
    opened = "+formats.mine={kind: raw, prompt: '{question} <think>'}"
    assert command(*micro, opened, "eval.format=mine", "method=none", cwd=tmp_path).status == 0
    (path,) = tmp_path.glob("outputs/*/eval/*/results.json")
    results = json.loads(path.read_text())
    assert all(entry["thought"] and entry["output"] == "" for entry in results)
    assert all(entry["extracted"] is None for entry in results)


def test_grpo_rewards_what_follows_the_thought(tmp_path):
    from chattpl.training.grpo import _reward
    from chattpl.training.live import LiveJob

    opened = ["+formats.mine={kind: raw, prompt: '{question} <think>'}", "train.format=mine", "method=grpo"]
    live = LiveJob.of(training_job(tmp_path, *opened))
    texts = ["2 + 1\n#### 3", "2 + 1\n#### 5</think>\n#### 3"]
    ids = [live.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    rewards = _reward(live, group=2)(completion_ids=ids, gold=["3", "3"], log_metric=lambda name, value: None)
    assert rewards == [0.0, 1.0]
