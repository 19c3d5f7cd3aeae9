r"""Which number a reply commits to, read as a person reads it.

A reply is taken apart into pieces (`prose`), and each may state a number (`statements`). What counts, in this order:

1. What is stated as the answer: a box, `#### N`, "the answer is N". The last such statement is the answer, but
   * a guess is not: a `####` before the working, which may come again after it, as an echo;
   * `####` with ever new numbers, one after the other, commits to none;
   * what is taken back ("Wait, that is wrong") gives way to the conclusion that follows;
   * a box without a number in it is an answer without a number.
2. Else what the working comes to: its last sentence, if the reply is complete; else the last sentence before a sign
   that the working ends there: an empty `####`, an echo, a check by code, a conclusion that breaks off.
3. Else the guess, if no working follows it.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from chattpl.tasks.completeness import goes_round, is_complete, is_cut_off
from chattpl.tasks.conclusion import before_closing, is_conclusion, last_sentence, takes_back
from chattpl.tasks.prose import take_apart
from chattpl.tasks.runon import asks_anew, next_question, reply_start
from chattpl.tasks.statements import EXPLICIT, Statement, read_statements
from chattpl.tasks.values import says_none

_NEAR = 2  # pieces before an empty box, where what it should hold may be said in words
_ROUNDS = 3  # so many times the same sentence says nothing new


@dataclass(frozen=True)
class Reading:
    """What a text comes to.

    Attributes:
        number: the number that the reply commits to; None if it commits to none.
        end: where the reply ends and something else begins; None if it goes on to the end of the text.
    """

    number: Fraction | None
    end: int | None


@functools.lru_cache(maxsize=16)
def read(text: str) -> Reading:
    """Read the reply that `text` begins with. Cached because one output is graded by several rules."""
    start, end = reply_start(text), next_question(text)
    statements = read_statements(take_apart(text[:end], start))
    guesses = _guesses(statements)
    final = _before_new_problem(statements, guesses)
    if final is not None:
        end, statements = statements[final].piece.end, statements[: final + 1]
    number, place = _committed(text[start:end], statements, guesses)
    first = None if place is None else _first_of_same(statements, place)
    for last_word in (first, place):
        if last_word is not None and statements[last_word].kind != "line" and _only_repeats(statements, last_word):
            return Reading(number, statements[last_word].piece.end)
    return Reading(number, end)


def _committed(
    reply: str, statements: list[Statement], guesses: dict[int, Fraction | None]
) -> tuple[Fraction | None, int | None]:
    """The number, and the place of the statement that is the last word; None if that is not stated as the answer."""
    complete = is_complete(reply, statements)
    last = None if complete or not is_cut_off(statements) else statements[-1]
    rest = _in_context(statements[: -1 if last else None], guesses, complete)
    explicit = [place for place, one in enumerate(rest) if one.kind in EXPLICIT]
    stated = [place for place in explicit if rest[place].number is not None]
    if explicit:
        return _stated(rest, stated or explicit, complete)
    found = last_sentence(rest) if complete else before_closing(rest, None if goes_round(reply) else last)
    if found is None and guesses and (complete or not any(one.kind == "sentence" for one in rest)):
        return guesses[min(guesses)], None
    return found, None


def _guesses(statements: list[Statement]) -> dict[int, Fraction | None]:
    """Each `#### N` before its working: nothing is worked out between it and the statement before."""
    places = [place for place, one in enumerate(statements) if one.kind in EXPLICIT]
    guesses: dict[int, Fraction | None] = {}
    for before, place, after in reversed(
        list(zip([-1, *places], places, [*places[1:], len(statements)], strict=False))
    ):
        one, following = statements[place], statements[place + 1 : after]
        is_first = not any(other.is_working for other in statements[before + 1 : place])
        followed = any(other.is_working or (before < 0 and other.kind == "sentence") for other in following)
        if one.kind == "hash" and not one.announced and is_first and (followed or (not following and after in guesses)):
            guesses[place] = one.number
    return guesses


def _in_context(
    statements: Sequence[Statement], guesses: dict[int, Fraction | None], complete: bool
) -> list[Statement]:
    """A guess, and where it comes again unannounced, states nothing; it marks the end of what was before."""
    guessed = set(guesses.values())
    rest = []
    for place, one in enumerate(statements):
        is_announced = one.announced or "answer" in one.piece.text
        if place in guesses or (one.kind == "hash" and one.number in guessed and not is_announced):
            one = replace(one, kind="mark", number=None)
        rest.append(replace(one, kind="sentence") if complete and one.kind == "line" else one)
    return rest


def _before_new_problem(statements: list[Statement], guesses: dict[int, Fraction | None]) -> int | None:
    """The last statement before the reply tells another problem, asks it and answers it."""
    final, asked = None, False
    for place, one in enumerate(statements):
        if one.kind in EXPLICIT and place not in guesses:
            if asked and final is not None:
                return final
            final, asked = place, False
        elif one.kind == "sentence" and final is not None:
            asked = asked or asks_anew(one.piece.text)
    return None


def _stated(rest: list[Statement], explicit: list[int], complete: bool) -> tuple[Fraction | None, int | None]:
    place = explicit[-1]
    last = rest[place]
    after = [one for one in rest[place + 1 :] if one.kind == "sentence" and one.value is not None]
    if last.number is None:
        in_words = (
            Fraction(0) if any(says_none(one.piece.text) for one in rest[max(0, place - _NEAR) : place]) else None
        )
        return (after[-1].value if after and complete else in_words), None
    concluded = [one for one in after if is_conclusion(one)]
    if concluded and (last.kind == "hash" or any(takes_back(one) for one in rest[place + 1 :])):
        return concluded[-1].value, None
    named = [rest[place].number for place in explicit if rest[place].kind != "box"]
    if not complete and last.kind != "box" and len(named) > 2 and named[-1] != named[-2]:
        return None, None
    return _first_of_series(rest, place) if last.kind == "hash" else (last.number, place)


def _first_of_series(rest: list[Statement], last: int) -> tuple[Fraction | None, int | None]:
    """The first of several `#### N` in a row, unless they go on with ever new numbers."""
    series: list[int] = []
    for place in range(last, -1, -1):
        if rest[place].kind == "hash":
            series.append(place)
        elif rest[place].kind != "mark":
            break
    later = series[len(series) > _ROUNDS : -1]  # the last of many may be cut off
    if len({rest[place].number for place in later}) > 1:
        return None, None
    return rest[series[-1]].number, series[-1]


def _first_of_same(statements: list[Statement], place: int) -> int:
    """The first statement of what `place` states, in the same form, with no other stated in between."""
    first, last = place, statements[place]
    for other in range(place, -1, -1):
        if statements[other].kind in EXPLICIT:
            if (statements[other].kind, statements[other].number) != (last.kind, last.number):
                break
            first = other
    return first


def _only_repeats(statements: list[Statement], place: int) -> bool:
    """Whether something follows, but nothing new; the last of several pieces may be cut off."""
    seen = {one.piece.text for one in statements[: place + 1]}
    after = [one for one in statements[place + 1 :] if one.kind != "mark"]
    times = Counter(one.piece.text for one in after)
    looked_at = after[:-1] if len(after) > _ROUNDS else after
    return bool(after) and all(
        one.kind == "hash" or one.piece.text in seen or times[one.piece.text] >= _ROUNDS for one in looked_at
    )
