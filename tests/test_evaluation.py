"""Prompts to completions to grades to figures, without a real engine where none is needed."""

import functools
import json

import pytest

from chattpl.errors import UserError
from chattpl.evaluation import Answers, ask, make_questions
from chattpl.formats import StopPolicy, decode_completion
from chattpl.generation import Completion, Engine, Sampling
from chattpl.grading import figures, grade
from chattpl.report.stats import mean_interval
from chattpl.results import Result
from chattpl.tasks import Sample
from chattpl.tasks.arithmetic import Arithmetic

SAMPLING = Sampling(max_tokens=8, temperature=0.0, top_p=1.0, stop=StopPolicy((0,), ()))


class Echo(Engine):
    """Answers with its prompt's first token; counts what it is asked, and can fail at a batch."""

    def __init__(self, fail_at: int | None = None):
        self.asked: list[list[int]] = []
        self.seeds: list[int] = []
        self.batches = 0
        self.fail_at = fail_at

    def generate(self, prompts, sampling, seeds):
        if self.batches == self.fail_at:
            raise RuntimeError("killed")
        self.batches += 1
        self.asked += prompts
        self.seeds += seeds
        return [Completion([prompt[0], 0], "eos") for prompt in prompts]

    def close(self): ...


@pytest.fixture
def questions(tiny_formats):
    return make_questions(Arithmetic().load_test()[:10], tiny_formats["chat"], 64, 1024)


def run(engine, questions, answers, **options):
    ask(engine, questions, SAMPLING, answers, **{"repeats": 1, "batch": 4, "seed": 0, **options})


def test_an_interrupted_evaluation_asks_only_what_is_missing(questions, tmp_path):
    with pytest.raises(RuntimeError):
        run(Echo(fail_at=2), questions, Answers(tmp_path / "a.jsonl"))
    engine, answers = Echo(), Answers(tmp_path / "a.jsonl")
    assert len(answers.completions) == 8
    run(engine, questions, answers)
    assert engine.asked == questions.prompts[8:]
    assert len(answers.completions) == 10


def test_a_half_written_batch_is_asked_again(questions, tmp_path):
    path = tmp_path / "a.jsonl"
    run(Echo(), questions, Answers(path))
    path.write_bytes(path.read_bytes()[:-5])
    engine, answers = Echo(), Answers(path)
    run(engine, questions, answers)
    assert engine.asked == questions.prompts[8:]
    assert [len(json.loads(line)["answers"]) for line in path.read_text().splitlines()] == [4, 4, 2]


def test_every_answer_is_drawn_with_a_seed_of_its_own(questions, tmp_path):
    engine = Echo()
    run(engine, questions, Answers(tmp_path / "a.jsonl"), repeats=3)
    assert len(set(engine.seeds)) == 30


def test_the_batches_do_not_depend_on_an_interruption(questions, tmp_path):
    whole, parts = Echo(), Echo(fail_at=1)
    run(whole, questions, Answers(tmp_path / "whole.jsonl"))
    with pytest.raises(RuntimeError):
        run(parts, questions, Answers(tmp_path / "parts.jsonl"))
    again = Echo()
    run(again, questions, Answers(tmp_path / "parts.jsonl"))
    assert parts.asked + again.asked == whole.asked
    assert parts.seeds + again.seeds == whole.seeds


def test_a_prompt_that_does_not_fit_is_not_asked_and_counts_as_not_answered(tiny_formats, tiny_tokenizer, tmp_path):
    samples = [Sample("Short?", "#### 1", "1"), Sample("Long? " * 300, "#### 2", "2")]
    questions = make_questions(samples, tiny_formats["raw"], 64, 256)
    assert questions.fits == [True, False]
    engine, answers = Echo(), Answers(tmp_path / "a.jsonl")
    run(engine, questions, answers)
    assert len(engine.asked) == 1
    decode = functools.partial(decode_completion, tiny_tokenizer, stop=SAMPLING.stop)
    counted = figures(grade(Arithmetic(), questions, answers, decode, 1), 1.0)
    assert (counted.n, counted.not_fitting, counted.no_answer_rate) == (2, 1, 1.0)
    assert counted.truncated_rate == 0


def test_a_test_set_of_which_nothing_fits_is_an_error(tiny_formats):
    with pytest.raises(UserError, match=r"eval\.max_tokens=64"):
        make_questions([Sample("Long? " * 300, "#### 2", "2")], tiny_formats["raw"], 64, 256)


def entry(correct: bool, **changes) -> Result:
    rules = {"committed": correct, "strict": correct, "last_number": True}
    grading = {"output": "", "extracted": "1", "correct": correct, "strict": correct, "rules": rules, "run_on": False,
               "stop_reason": "eos", "completion_tokens": 10, "fits": True, **changes}  # fmt: skip
    return Result(index=0, question="q", gold="1", **grading)


def sampled(*correct: bool) -> Result:
    """A question with several answers."""
    return entry(correct[0], answers=[entry(each).to_json() for each in correct])


def test_the_figures_of_a_cell_are_counts_over_its_entries():
    entries = [entry(True), entry(True, strict=False), entry(False, extracted=None, stop_reason="length"),
               entry(False, run_on=True)]  # fmt: skip
    counted = figures(entries, 2.0)
    assert counted.correct == 2
    assert counted.accuracy == 0.5
    assert counted.strict_accuracy == 0.25
    assert counted.no_answer_rate == counted.truncated_rate == counted.run_on_rate == 0.25
    assert counted.mean_completion_tokens == 10
    assert counted.tokens_per_second == 20
    assert counted.ci_low < 0.5 < counted.ci_high


def test_the_accuracy_is_counted_under_every_grading_rule():
    counted = figures([entry(True), entry(False), sampled(False, False), sampled(False, True)], 1.0)
    assert counted.accuracy_by_rule == {"committed": 2 / 6, "strict": 2 / 6, "last_number": 1.0}


def test_a_prompt_that_does_not_fit_is_wrong_under_every_grading_rule(tiny_formats, tmp_path):
    samples = [Sample("Short?", "#### 1", "1"), Sample("Long? " * 300, "#### 2", "2")]
    questions, answers = make_questions(samples, tiny_formats["raw"], 64, 256), Answers(tmp_path / "a.jsonl")
    run(Echo(), questions, answers)
    right, missing = grade(Arithmetic(), questions, answers, lambda ids: "#### 1", 1)
    assert right.rules["committed"]
    assert missing.rules == dict.fromkeys(right.rules, False)


def test_several_answers_to_a_question_give_the_mean_and_pass_at_k():
    counted = figures([sampled(True, False), sampled(False, False)], 1.0)
    assert counted.n == 2
    assert counted.accuracy == 0.25
    assert counted.pass_at_k == {1: 0.25, 2: 0.5}


def test_correct_answers_are_counted_out_of_all_answers():
    counted = figures([sampled(True, True, False, True), sampled(False, False, False, True)], 1.0)
    assert (counted.n, counted.num_samples, counted.num_answers, counted.correct) == (2, 4, 8, 4)
    assert counted.accuracy == counted.correct / counted.num_answers


def test_a_cell_with_one_answer_to_a_question_has_no_figures_of_several():
    counted = figures([entry(True), entry(False)], 1.0)
    assert {counted.num_samples, counted.num_answers, counted.pass_at_k, counted.pass_at_k_ci} == {None}


def test_the_interval_of_several_answers_is_narrower_than_that_of_one_and_wider_than_if_all_were_independent():
    counted = figures([sampled(True, True, True, False)] * 20 + [sampled(False, False, True, False)] * 20, 1.0)
    widths = [high - low for low, high in (mean_interval([1, 0] * 20), mean_interval([1, 0] * 80))]
    assert widths[1] < counted.ci_high - counted.ci_low < widths[0]


def test_every_k_of_pass_at_k_has_an_interval_that_is_clustered_by_question():
    counted = figures([sampled(True, False, True, False)] * 10 + [sampled(False, False, False, False)] * 30, 1.0)
    assert set(counted.pass_at_k_ci) == set(counted.pass_at_k) == {1, 2, 4}
    assert counted.pass_at_k_ci[1] == pytest.approx([counted.ci_low, counted.ci_high])
    assert counted.pass_at_k_ci[4] == pytest.approx(mean_interval([1] * 10 + [0] * 30))
