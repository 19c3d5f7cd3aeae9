"""The exception for a user error, the one for an interruption, and the hint that goes with an unknown name."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An error that the user can fix. The message says what is wrong, where, and what to do, in one line."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived and what could be saved was saved.

    `signum` is the signal's number; the process ends with status 128 + `signum`, as a shell reports it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)  # an exception is unpickled by calling its class with `args`
        self.signum = signum

    def __str__(self) -> str:
        return f"interrupted by signal {self.signum}"


def nearest(word: str, possible: Iterable[str]) -> str:
    """`, did you mean …? (possible: …)` for the message about a name that is unknown."""
    names = sorted(possible)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"{hint} (possible: {', '.join(names)})" if len(names) <= 12 else hint
