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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import add, floordiv, mul, sub
from random import Random
from typing import Literal
from zlib import crc32

from chattpl.tasks.answers import NumberGrading
from chattpl.tasks.base import Sample, Task

Split = Literal["test", "train", "tiny"]
Numbers = dict[str, int]

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
        """The worked answer: the lines, then the result after the marker."""
        return "\n".join((*self.lines, f"#### {self.result}"))


@dataclass(frozen=True)
class Topic:
    """The words that the stories of one topic draw from."""

    name: str
    things: tuple[str, ...]
    boxes: tuple[str, ...]
    gains: tuple[str, ...]
    loses: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """One turn of a story.

    Attributes:
        texts: ways to tell it.
        draw: the numbers that the text names, given how many things there are now (`n`); None if it cannot be told.
        sums: the steps of the working, in terms of the drawn numbers, `n`, and `x`, the result before.
        unit: what the sums count.
    """

    texts: tuple[str, ...]
    draw: Callable[[Random, int], Numbers | None]
    sums: tuple[tuple[str, str, str], ...] = ()
    unit: str = "{things}"


def _topic(name: str, things: str, boxes: str, gains: str, loses: str) -> Topic:
    return Topic(name, *(tuple(words.split()) for words in (things, boxes, gains, loses)))


TOPICS = (
    _topic("orchard", "apples pears plums peaches", "baskets buckets", "picks gathers", "eats sells"),
    _topic("farm", "eggs carrots potatoes onions", "crates sacks", "brings harvests", "sells cooks"),
    _topic("garden", "roses tulips lilies daisies", "pots rows", "plants grows", "cuts sells"),
    _topic("beach", "shells pebbles crabs pearls", "buckets jars", "finds collects", "drops hides"),
    _topic("toys", "marbles dolls blocks robots", "bags boxes", "wins gets", "loses trades"),
    _topic("school", "pencils crayons rulers markers", "packs cases", "buys finds", "lends breaks"),
    _topic("kitchen", "cookies muffins buns pies", "trays plates", "bakes makes", "eats burns"),
    _topic("library", "books maps comics diaries", "shelves boxes", "borrows buys", "returns lends"),
    _topic("post", "stamps letters cards parcels", "bundles bags", "gets orders", "sends mails"),
    _topic("party", "balloons candles hats ribbons", "packs bags", "buys borrows", "uses loses"),
)
_WOMEN = ("Anna", "Clara", "Emma", "Ida", "Julia", "Laura", "Maria", "Nora", "Rosa", "Sofia")
_MEN = ("Adam", "Ben", "David", "Felix", "Hugo", "Leo", "Max", "Paul", "Simon", "Victor")
_PEOPLE = (*((name, "she", "her") for name in _WOMEN), *((name, "he", "him") for name in _MEN))
_TIMES = {2: "twice", 3: "three times", 4: "four times"}


def _some(rng: Random, n: int) -> Numbers:
    return {"k": rng.randint(2, 40)}


def _fewer(rng: Random, n: int) -> Numbers | None:
    return {"k": rng.randint(2, min(n - 1, 40))} if n > 3 else None


def _groups(rng: Random, n: int) -> Numbers:
    return {"a": rng.randint(2, 6), "b": rng.randint(2, 12)}


def _fewer_groups(rng: Random, n: int) -> Numbers | None:
    numbers = {"a": rng.randint(2, 5), "b": rng.randint(2, 9)}
    return numbers if numbers["a"] * numbers["b"] < n else None


def _growth(rng: Random, n: int) -> Numbers | None:
    k = rng.randint(2, 4)
    return {"k": k} if n * k <= 240 else None


def _half(rng: Random, n: int) -> Numbers | None:
    return {"k": 2} if n > 3 and n % 2 == 0 else None


def _divisor(rng: Random, n: int) -> Numbers | None:
    divisors = [k for k in range(2, 10) if n % k == 0 and n > k]
    return {"k": rng.choice(divisors)} if divisors else None


def _price(rng: Random, n: int) -> Numbers | None:
    k = rng.randint(2, 6)
    return {"k": k} if n * k <= 600 else None


_OPENINGS = (
    Move(("{name} has {n} {things}.", "One morning {name} {gains} {n} {things}."), lambda rng, n: {"n": n}),
    Move(
        ("{name} has {a} {boxes} with {b} {things} in each.", "{name} {gains} {a} {boxes} of {b} {things}."),
        _groups,
        (("a", "*", "b"),),
    ),
)
_TURNS = (
    Move(
        ("{He} {gains} {k} more {things}.", "Then {he} {gains} another {k}.", "{friend} gives {him} {k} {things}."),
        _some,
        (("n", "+", "k"),),
    ),
    Move(
        ("{He} {loses} {k} of them.", "Then {he} {loses} {k} {things}.", "{He} gives {k} {things} to {friend}."),
        _fewer,
        (("n", "-", "k"),),
    ),
    Move(
        ("{He} {gains} {a} more {boxes} with {b} {things} in each.", "{friend} brings {a} {boxes} of {b} {things}."),
        _groups,
        (("a", "*", "b"), ("n", "+", "x")),
    ),
    Move(
        ("{He} gives {a} {boxes} of {b} {things} to {friend}.", "{He} {loses} {b} {things} a day for {a} days."),
        _fewer_groups,
        (("a", "*", "b"), ("n", "-", "x")),
    ),
    Move(
        ("A month later {he} has {times} as many.", "{friend} makes it {times} as many."), _growth, (("n", "*", "k"),)
    ),
    Move(("{He} gives half of them to {friend}.", "Half of them go to {friend}."), _half, (("n", "/", "k"),)),
    Move(
        ("{He} splits them evenly into {k} {boxes} and keeps one.", "{He} keeps one of {k} equal parts."),
        _divisor,
        (("n", "/", "k"),),
    ),
)
_ENDINGS = (
    Move(
        ("How many {things} does {name} have now?", "How many {things} does {he} have in the end?"), lambda rng, n: {}
    ),
    Move(
        ("{He} sells them all for {k} coins each. How many coins does {he} get?",), _price, (("n", "*", "k"),), "coins"
    ),
    Move(
        ("{He} puts them all into {boxes} of {k}. How many {boxes} does {he} fill?",),
        _divisor,
        (("n", "/", "k"),),
        "{boxes}",
    ),
    Move(
        ("{friend} has {k} more {things} than {name}. How many {things} do they have together?",),
        _some,
        (("n", "+", "k"), ("n", "+", "x")),
    ),
)


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
        words["times"] = _TIMES.get(numbers.get("k", 0), "")
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
    topic, (person, friend) = rng.choice(TOPICS), rng.sample(_PEOPLE, 2)
    name, he, him = person
    words = {"name": name, "he": he, "He": he.title(), "him": him, "friend": friend[0]}
    words |= {slot: rng.choice(getattr(topic, slot)) for slot in ("things", "boxes", "gains", "loses")}
    story = _Story(rng, words, n=rng.randint(4, 60))
    ending = rng.choice(_ENDINGS)
    before = rng.randint(2, 4) - len(ending.sums)
    story.play(_OPENINGS, before)
    while len(story.lines) < before:
        story.play(_TURNS, before - len(story.lines))
    if not story.tell(ending):
        story.play(_TURNS, len(ending.sums))
        story.tell(_ENDINGS[0])
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
