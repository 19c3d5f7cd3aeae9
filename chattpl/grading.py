"""Answers to gradings to the figures of a cell."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from math import comb
from typing import Any

from chattpl.errors import UserError
from chattpl.evaluation import Answers, Questions
from chattpl.formats import split_thought
from chattpl.generation import Completion
from chattpl.results import Answer, Figures, Grading, Result
from chattpl.tasks import Sample, Task
from chattpl.tasks.base import check_verdicts

Decode = Callable[[list[int]], str]  # the ids of a completion to its text


def grade(task: Task, questions: Questions, answers: Answers, decode: Decode, repeats: int) -> list[Result]:
    """The entries of `results.json`, one for each test sample."""
    results = []
    for index, sample in enumerate(questions.samples):
        completions = [answers.completions.get((index, repeat)) for repeat in range(repeats)]
        given = [_answer(each, decode, questions.in_thought) for each in completions]
        results.append(_result(task, index, sample, given))
    return results


def grade_again(task: Task, results: Sequence[Result], samples: Sequence[Sample]) -> list[Result]:
    """The same answers to the same questions, graded by `task`.

    Raises:
        UserError: the questions are others.
    """
    if [result.question for result in results] != [sample.question for sample in samples]:
        raise UserError("the answers that are kept are to other questions than the task asks now; evaluate again")
    pairs = zip(results, samples, strict=True)
    return [_result(task, result.index, sample, result.gradings()) for result, sample in pairs]


def _answer(completion: Completion | None, decode: Decode, in_thought: bool) -> Answer:
    """A completion as it is kept; None is that of a prompt that does not fit, which counts as not answered."""
    if completion is None:
        return Answer(output="", stop_reason="length", completion_tokens=0, fits=False)
    thought, output = split_thought(decode(completion.token_ids), in_thought)
    tokens = len(completion.token_ids)
    return Answer(
        output=output, thought=thought, stop_reason=completion.stop_reason, completion_tokens=tokens, fits=True
    )


def _result(task: Task, index: int, sample: Sample, given: Sequence[Answer]) -> Result:
    gradings = [_graded(task, sample, answer) for answer in given]
    answers = [each.to_json() for each in gradings] if len(gradings) > 1 else None
    return Result(index=index, question=sample.question, gold=sample.gold, answers=answers, **vars(gradings[0]))


def _graded(task: Task, sample: Sample, answer: Answer) -> Grading:
    kept = {field.name: getattr(answer, field.name) for field in fields(Answer)}
    if not answer.fits:
        rules = dict.fromkeys(task.grade_by_rule("", sample.gold), False)
        return Grading(**kept, extracted=None, correct=False, strict=False, rules=rules, run_on=False)
    verdict = task.grade(answer.output, sample.gold)
    rules = task.grade_by_rule(answer.output, sample.gold, verdict)
    check_verdicts(task, sample.gold, verdict.correct, verdict.strict, *rules.values())
    return Grading(
        **kept,
        extracted=verdict.extracted,
        correct=verdict.correct,
        strict=verdict.strict,
        rules=rules,
        run_on=verdict.run_on,
    )


def figures(results: Sequence[Result], seconds: float) -> Figures:
    """The figures of a cell; `seconds` is the time it took to generate the answers.

    With several answers to a question, rates are means over all answers; `n` stays the number of questions, and all
    intervals are clustered by question, since answers to one question are not independent.
    """
    from chattpl.report.stats import mean_interval  # scipy takes a second, which a mistake should not wait for

    by_question = [result.gradings() for result in results]
    flat = [grading for gradings in by_question for grading in gradings]
    low, high = mean_interval([_rate([grading.correct for grading in gradings]) for gradings in by_question])
    tokens = sum(grading.completion_tokens for grading in flat)
    return Figures(
        n=len(results),
        correct=sum(grading.correct for grading in flat),
        accuracy=_rate([grading.correct for grading in flat]),
        ci_low=float(low),
        ci_high=float(high),
        accuracy_by_rule={rule: _rate([grading.rules[rule] for grading in flat]) for rule in flat[0].rules},
        strict_accuracy=_rate([grading.strict for grading in flat]),
        no_answer_rate=_rate([grading.extracted is None for grading in flat]),
        truncated_rate=_rate([grading.fits and grading.stop_reason == "length" for grading in flat]),
        run_on_rate=_rate([grading.run_on for grading in flat]),
        not_fitting=sum(not gradings[0].fits for gradings in by_question),
        mean_completion_tokens=tokens / len(flat),
        seconds=round(seconds, 3),
        tokens_per_second=round(tokens / seconds, 1) if seconds else None,
        **_figures_of_samples(by_question),
    )


def _figures_of_samples(by_question: Sequence[Sequence[Grading]]) -> dict[str, Any]:
    """The figures that a cell has only where several answers were drawn."""
    from chattpl.report.stats import mean_interval

    repeats = len(by_question[0])
    if repeats == 1:
        return {}
    estimates = {k: _pass_at_k(by_question, k) for k in _powers_of_two(repeats)}
    return {
        "num_samples": repeats,
        "num_answers": repeats * len(by_question),
        "pass_at_k": {k: sum(each) / len(each) for k, each in estimates.items()},
        "pass_at_k_ci": {k: [float(end) for end in mean_interval(each)] for k, each in estimates.items()},
    }


def _rate(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts)


def _powers_of_two(most: int) -> list[int]:
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})


def _pass_at_k(by_question: Sequence[Sequence[Grading]], k: int) -> list[float]:
    """The unbiased estimate for each question (Chen et al. 2021, arXiv:2107.03374, equation 1)."""
    wrong = [sum(not grading.correct for grading in gradings) for gradings in by_question]
    n = len(by_question[0])
    return [1 - comb(w, k) / comb(n, k) for w in wrong]
