"""Answers to gradings to the figures of a cell."""

from collections.abc import Callable, Sequence
from math import comb

from chattpl.evaluation import Answers, Questions
from chattpl.generation import Completion
from chattpl.results import Figures, Grading, Result
from chattpl.tasks import Sample, Task

Decode = Callable[[list[int]], str]  # the ids of a completion to the text that is graded


def grade(task: Task, questions: Questions, answers: Answers, decode: Decode, repeats: int) -> list[Result]:
    """The entries of `results.json`, one for each test sample."""
    return [
        _result(
            index, sample, [_graded(task, sample, answers.completions.get((index, r)), decode) for r in range(repeats)]
        )
        for index, sample in enumerate(questions.samples)
    ]


def _graded(task: Task, sample: Sample, completion: Completion | None, decode: Decode) -> Grading:
    """One graded completion; None, for a prompt that does not fit, is graded as not answered."""
    if completion is None:
        return Grading(
            output="", extracted=None, correct=False, strict=False, run_on=False, stop_reason="length",
            completion_tokens=0, fits=False,
        )  # fmt: skip
    output = decode(completion.token_ids)
    verdict = task.grade(output, sample.gold)
    return Grading(
        output=output,
        extracted=verdict.extracted,
        correct=verdict.correct,
        strict=verdict.strict,
        run_on=verdict.run_on,
        stop_reason=completion.stop_reason,
        completion_tokens=len(completion.token_ids),
        fits=True,
    )


def _result(index: int, sample: Sample, gradings: list[Grading]) -> Result:
    answers = [each.to_json() for each in gradings] if len(gradings) > 1 else None
    return Result(index=index, question=sample.question, gold=sample.gold, answers=answers, **vars(gradings[0]))


def figures(results: Sequence[Result], seconds: float) -> Figures:
    """The figures of a cell; `seconds` is the time it took to generate the answers.

    With several answers to a question, rates are means over all answers; `n` stays the number of questions, since
    answers to one question are not independent. `pass_at_k` is the unbiased estimator of Chen et al. 2021
    (arXiv:2107.03374, equation 1).
    """
    from chattpl.report.stats import wilson_interval  # scipy takes a second, which a mistake should not wait for

    by_question = [result.gradings() for result in results]
    flat = [grading for gradings in by_question for grading in gradings]
    n, repeats = len(results), len(by_question[0])
    accuracy = _rate([grading.correct for grading in flat])
    correct = round(accuracy * n)
    low, high = wilson_interval(correct, n)
    tokens = sum(grading.completion_tokens for grading in flat)
    return Figures(
        n=n,
        correct=correct,
        accuracy=accuracy,
        ci_low=low,
        ci_high=high,
        strict_accuracy=_rate([grading.strict for grading in flat]),
        no_answer_rate=_rate([grading.extracted is None for grading in flat]),
        truncated_rate=_rate([grading.fits and grading.stop_reason == "length" for grading in flat]),
        run_on_rate=_rate([grading.run_on for grading in flat]),
        not_fitting=sum(not gradings[0].fits for gradings in by_question),
        mean_completion_tokens=tokens / len(flat),
        seconds=round(seconds, 3),
        tokens_per_second=round(tokens / seconds, 1) if seconds else None,
        num_samples=repeats if repeats > 1 else None,
        pass_at_k={k: _pass_at_k(by_question, k) for k in _powers_of_two(repeats)} if repeats > 1 else None,
    )


def _rate(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts)


def _powers_of_two(most: int) -> list[int]:
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})


def _pass_at_k(by_question: Sequence[Sequence[Grading]], k: int) -> float:
    wrong = [sum(not grading.correct for grading in gradings) for gradings in by_question]
    n = len(by_question[0])
    return sum(1 - comb(w, k) / comb(n, k) for w in wrong) / len(wrong)
