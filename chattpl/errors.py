"""The one exception for what the user can mend, and the one for what the user (or the cluster) interrupted.

And the words that both the checks and the complaints use for a name that is not known.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user can mend. The message says what is wrong, where, and what to do, in one line."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived and what could be saved was saved.

    `signum` is the signal's number; the process ends with status 128 + `signum`, as a shell reports it.
    """

    def __init__(self, signum: int):
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum


def nearest(word: str, possible: Iterable[str]) -> str:
    """`, did you mean …? (possible: …)` for a message about a word that is none of the possible ones."""
    names = sorted(possible)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"{hint} (possible: {', '.join(names)})" if len(names) <= 12 else hint
