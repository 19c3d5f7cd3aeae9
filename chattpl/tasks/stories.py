"""What the stories of `chattpl.tasks.arithmetic` are told with: their words, and the moves that change a number."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Numbers = dict[str, int]


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
PEOPLE = (*((name, "she", "her") for name in _WOMEN), *((name, "he", "him") for name in _MEN))
TIMES = {2: "twice", 3: "three times", 4: "four times"}


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


OPENINGS = (
    Move(("{name} has {n} {things}.", "One morning {name} {gains} {n} {things}."), lambda rng, n: {"n": n}),
    Move(
        ("{name} has {a} {boxes} with {b} {things} in each.", "{name} {gains} {a} {boxes} of {b} {things}."),
        _groups,
        (("a", "*", "b"),),
    ),
)
TURNS = (
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
ENDINGS = (
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
