"""Prompts to answers: the test set as the model is asked it, and the completions that are kept on the way."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chattpl import progress
from chattpl.errors import UserError
from chattpl.formats import Format
from chattpl.generation import Completion, Engine, Sampling
from chattpl.hashing import digest, seed_of
from chattpl.progress import ANSWERS
from chattpl.tasks import Sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Questions:
    """The test set as the model is asked it.

    Attributes:
        prompts: token ids for each sample.
        fits: whether the prompt leaves room for a whole answer; one that does not is never asked.
        in_thought: the prompts end within a thought, so that an answer begins with the rest of it.
    """

    samples: Sequence[Sample]
    prompts: list[list[int]]
    fits: list[bool]
    in_thought: bool = False

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
    if not all(fits):
        logger.warning("%d prompts do not fit and count as not answered", fits.count(False))
    return Questions(samples, prompts, fits, form.opens_thought)


class Answers:
    """The completions so far, kept in a file after each batch, so that a killed evaluation resumes there."""

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
        progress.current().count(start, len(keys), ANSWERS)
        began = time.monotonic()
        seeds = [seed_of(seed, *key) for key in now]
        completions = engine.generate([questions.prompts[index] for index, _ in now], sampling, seeds)
        answers.add(now, completions, time.monotonic() - began)
        logger.info("answered %d of %d", min(start + batch, len(keys)), len(keys))
