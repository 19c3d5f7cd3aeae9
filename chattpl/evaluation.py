"""Prompts to completions to grades to `results.json` and `summary.json`."""

import functools
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from chattpl.cell import digest
from chattpl.errors import UserError
from chattpl.formats import Format, StopPolicy, decode_completion
from chattpl.generation import Completion, Engine, Sampling
from chattpl.tasks import Sample, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Questions:
    """The test set as the model is asked it.

    Attributes:
        prompts: token ids for each sample.
        fits: whether the prompt leaves room for a whole answer; one that does not is never asked.
    """

    samples: Sequence[Sample]
    prompts: list[list[int]]
    fits: list[bool]

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all prompt ids, in order."""
        return digest(self.prompts)


def make_questions(samples: Sequence[Sample], form: Format, max_tokens: int, max_model_len: int) -> Questions:
    """Encode the test set.

    Raises:
        UserError: not one prompt fits, or one cannot be encoded.
    """
    prompts = []
    for index, sample in enumerate(samples):
        try:
            prompts.append(form.prompt_ids(sample.question))
        except UserError as error:
            raise UserError(f"test sample {index}: {error}") from error
    fits = [len(prompt) + max_tokens <= max_model_len for prompt in prompts]
    if not any(fits):
        raise UserError(
            f"eval.max_tokens={max_tokens}: with the prompt no answer fits into the context of {max_model_len} tokens"
        )
    return Questions(samples, prompts, fits)


class Answers:
    """The completions so far, kept in a file after each batch, so that a killed evaluation goes on from there."""

    def __init__(self, path: Path):
        self._path = path
        self.seconds = 0.0
        self.completions: dict[tuple[int, int], Completion] = {}
        if path.is_file():
            self._read()

    def _read(self) -> None:
        """Every whole line is one batch; a process that died while writing leaves part of a last one."""
        whole = self._path.read_bytes()
        whole = whole[: whole.rfind(b"\n") + 1]
        for line in whole.decode("utf-8").splitlines():
            batch = json.loads(line)
            self.seconds += batch["seconds"]
            for index, repeat, ids, reason in batch["answers"]:
                self.completions[index, repeat] = Completion(ids, reason)
        with self._path.open("r+b") as file:
            file.truncate(len(whole))

    def add(self, keys: Sequence[tuple[int, int]], completions: Sequence[Completion], seconds: float) -> None:
        """Keep one batch."""
        answers = [[*key, c.token_ids, c.stop_reason] for key, c in zip(keys, completions, strict=True)]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seconds": seconds, "answers": answers}) + "\n")
        self.seconds += seconds
        self.completions |= dict(zip(keys, completions, strict=True))


def ask(
    engine: Engine, questions: Questions, sampling: Sampling, answers: Answers, *, repeats: int, batch: int, seed: int
) -> None:
    """Complete every prompt that fits `repeats` times, leaving out what is answered already.

    The batches are the same whether or not some are answered already: which prompts are computed together can
    change a completion's last bits, and an interrupted evaluation must end like one that was not.
    """
    keys = [(index, repeat) for index, fits in enumerate(questions.fits) if fits for repeat in range(repeats)]
    for start in range(0, len(keys), batch):
        now = keys[start : start + batch]
        if all(key in answers.completions for key in now):
            continue
        began = time.monotonic()
        seeds = [int(digest([seed, *key])[:8], 16) >> 1 for key in now]
        completions = engine.generate([questions.prompts[index] for index, _ in now], sampling, seeds)
        answers.add(now, completions, time.monotonic() - began)
        logger.info("answered %d of %d", min(start + batch, len(keys)), len(keys))


def grade(
    task: Task, questions: Questions, answers: Answers, decode: "functools.partial[str]", repeats: int
) -> list[dict[str, Any]]:
    """The entries of `results.json`, one for each test sample."""
    return [
        _entry(
            index, sample, [_answer(task, sample, answers.completions.get((index, r)), decode) for r in range(repeats)]
        )
        for index, sample in enumerate(questions.samples)
    ]


def _answer(
    task: Task, sample: Sample, completion: Completion | None, decode: "functools.partial[str]"
) -> dict[str, Any]:
    """One graded completion; None for a prompt that does not fit is graded as not answered."""
    if completion is None:
        return {"output": "", "extracted": None, "correct": False, "strict": False, "run_on": False,
                "stop_reason": "length", "completion_tokens": 0, "fits": False}  # fmt: skip
    output = decode(completion.token_ids)
    verdict = task.grade(output, sample.gold)
    return {
        "output": output,
        "extracted": verdict.extracted,
        "correct": verdict.correct,
        "strict": verdict.strict,
        "run_on": verdict.run_on,
        "stop_reason": completion.stop_reason,
        "completion_tokens": len(completion.token_ids),
        "fits": True,
    }


def _entry(index: int, sample: Sample, answers: list[dict[str, Any]]) -> dict[str, Any]:
    entry = {"index": index, "question": sample.question, "gold": sample.gold, **answers[0]}
    return entry if len(answers) == 1 else {**entry, "answers": answers}


def decoder(tokenizer: Any, stop: StopPolicy) -> "functools.partial[str]":
    """Token ids to the text that is graded."""
    return functools.partial(lambda ids: decode_completion(tokenizer, ids, stop))


def figures(entries: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The figures of a cell.

    With several answers to a question, rates are means over all answers; `n` stays the number of questions, since
    answers to one question are not independent. `pass_at_k` is the unbiased estimator of Chen et al. 2021
    (arXiv:2107.03374, equation 1).
    """
    from chattpl.report.stats import wilson_interval  # scipy takes a second, which a mistake should not wait for

    all_answers = [entry.get("answers", [entry]) for entry in entries]
    flat = [answer for answers in all_answers for answer in answers]
    n = len(entries)
    accuracy = _rate(flat, "correct")
    correct = round(accuracy * n)
    low, high = wilson_interval(correct, n)
    tokens = sum(answer["completion_tokens"] for answer in flat)
    result = {
        "n": n,
        "correct": correct,
        "accuracy": accuracy,
        "ci_low": low,
        "ci_high": high,
        "strict_accuracy": _rate(flat, "strict"),
        "no_answer_rate": sum(answer["extracted"] is None for answer in flat) / len(flat),
        "truncated_rate": sum(answer["fits"] and answer["stop_reason"] == "length" for answer in flat) / len(flat),
        "run_on_rate": _rate(flat, "run_on"),
        "not_fitting": sum(not answers[0]["fits"] for answers in all_answers),
        "mean_completion_tokens": tokens / len(flat),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
    }
    repeats = len(all_answers[0])
    if repeats > 1:
        result["num_samples"] = repeats
        result["pass_at_k"] = {k: _pass_at_k(all_answers, k) for k in _powers_of_two(repeats)}
    return result


def _rate(answers: Sequence[dict[str, Any]], key: str) -> float:
    return sum(answer[key] for answer in answers) / len(answers)


def _powers_of_two(most: int) -> list[int]:
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})


def _pass_at_k(all_answers: Sequence[Sequence[dict[str, Any]]], k: int) -> float:
    wrong = [sum(not answer["correct"] for answer in answers) for answers in all_answers]
    n = len(all_answers[0])
    return sum(1 - comb(w, k) / comb(n, k) for w in wrong) / len(wrong)
