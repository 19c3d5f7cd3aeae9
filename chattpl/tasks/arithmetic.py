"""Word problems of two to four steps, made by code: no download, the same on every machine.

One real sample:

    Sample(
        question="Paul has 4 packs with 9 rulers in each. He gives half of them to Anna. He puts them all into "
        "packs of 6. How many packs does he fill?",
        answer="4 * 9 = 36 rulers\\n36 / 2 = 18 rulers\\n18 / 6 = 3 packs\\n#### 3",
        gold="3",
    )

A hash of the question decides to which split it belongs, so that no question can be in two of them: `test` and
`train` are this task's, `tiny` is what the embedded model learns from (`chattpl.tiny`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import add, floordiv, mul, sub
from random import Random
from typing import Literal
from zlib import crc32

from chattpl.tasks.answers import NumberGrading
from chattpl.tasks.base import Sample, Task
from chattpl.tasks.stories import ENDINGS, OPENINGS, PEOPLE, TIMES, TOPICS, TURNS, Move, Numbers

Split = Literal["test", "train", "tiny"]

TRAIN_SIZE, TEST_SIZE = 2000, 500
_BUCKETS: tuple[Split, ...] = ("test", "test", "train", "train", "train", "train", "tiny", "tiny", "tiny", "tiny")
_OPERATORS = {"+": add, "-": sub, "*": mul, "/": floordiv}


@dataclass(frozen=True)
class Problem:
    """A question with one line per step, such as `4 * 7 = 28 eggs`, the bare result and the topic that it is about."""

    question: str
    lines: tuple[str, ...]
    result: int
    topic: str

    @property
    def worked(self) -> str:
        """The worked answer: the lines, then the result after `####`."""
        return "\n".join((*self.lines, f"#### {self.result}"))


@dataclass
class _Story:
    """A story in the making: what was told, what was worked out, and how many things there are now."""

    rng: Random
    words: dict[str, str]
    n: int
    sentences: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def play(self, moves: tuple[Move, ...], most: int) -> None:
        """Tell one of the moves that take at most `most` steps."""
        possible = [move for move in moves if len(move.sums) <= most]
        while not self.tell(self.rng.choice(possible)):
            pass

    def tell(self, move: Move) -> bool:
        """Tell the move, if it can be told of the number of things that there are now."""
        numbers = move.draw(self.rng, self.n)
        if numbers is None:
            return False
        words = self.words | {name: str(number) for name, number in numbers.items()}
        words["times"] = TIMES.get(numbers.get("k", 0), "")
        self.sentences.append(self.rng.choice(move.texts).format_map(words))
        self._work_out(move, numbers)
        return True

    def _work_out(self, move: Move, numbers: Numbers) -> None:
        known = {"n": self.n} | numbers
        unit = move.unit.format_map(self.words)
        for left, sign, right in move.sums:
            result = _OPERATORS[sign](known[left], known[right])
            self.lines.append(f"{known[left]} {sign} {known[right]} = {result} {unit}")
            known["x"] = result
        self.n = known.get("x", self.n)


def make_problem(rng: Random) -> Problem:
    """Tell a story of two to four steps: an opening, some turns and the question."""
    topic, (person, friend) = rng.choice(TOPICS), rng.sample(PEOPLE, 2)
    name, he, him = person
    words = {"name": name, "he": he, "He": he.title(), "him": him, "friend": friend[0]}
    words |= {slot: rng.choice(getattr(topic, slot)) for slot in ("things", "boxes", "gains", "loses")}
    story = _Story(rng, words, n=rng.randint(4, 60))
    ending = rng.choice(ENDINGS)
    before = rng.randint(2, 4) - len(ending.sums)
    story.play(OPENINGS, before)
    while len(story.lines) < before:
        story.play(TURNS, before - len(story.lines))
    if not story.tell(ending):
        story.play(TURNS, len(ending.sums))
        story.tell(ENDINGS[0])
    return Problem(" ".join(story.sentences), tuple(story.lines), story.n, topic.name)


def split_of(question: str) -> Split:
    """The one split that the question belongs to."""
    return _BUCKETS[crc32(question.encode()) % len(_BUCKETS)]


def problems(split: Split, rng: Random) -> Iterator[Problem]:
    """Problems of the split without end, as the generator of random numbers gives them; some may come again."""
    while True:
        problem = make_problem(rng)
        if split_of(problem.question) == split:
            yield problem


class Arithmetic(NumberGrading, Task):
    """The task of this module: 2,000 samples to learn from, 500 others to be tested on."""

    def name(self) -> str:
        """`arithmetic`."""
        return "arithmetic"

    def load_train(self) -> list[Sample]:
        """The 2,000 training samples."""
        return _samples("train", TRAIN_SIZE)

    def load_test(self) -> list[Sample]:
        """The 500 test samples, none of which is among the training samples."""
        return _samples("test", TEST_SIZE)


def _samples(split: Split, size: int) -> list[Sample]:
    distinct: dict[str, Sample] = {}
    for problem in problems(split, Random(split)):
        distinct[problem.question] = Sample(problem.question, problem.worked, str(problem.result))
        if len(distinct) == size:
            return list(distinct.values())
    raise AssertionError("the stream of problems has no end")
