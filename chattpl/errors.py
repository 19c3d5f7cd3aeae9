"""The one exception for what the user can mend, and the one for what the user (or the cluster) interrupted."""


class UserError(ValueError):
    """Something that the user can mend. The message says what is wrong, where, and what to do, in one line."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived and what could be saved was saved.

    `signum` is the signal's number; the process ends with status 128 + `signum`, as a shell reports it.
    """

    def __init__(self, signum: int):
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
