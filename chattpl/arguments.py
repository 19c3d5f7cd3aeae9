"""The command line as Hydra's parser wants it: options and overrides may stand in any order here."""

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser  # there is no public way to Hydra's options

from chattpl.errors import UserError

COMMANDS = "only one of --run, --multirun, --cfg, --info and --shell_completion can be asked for"


def arranged(arguments: Sequence[str]) -> list[str]:
    """The arguments with all overrides in one row at the end; their order among themselves stays.

    Hydra's parser takes positional arguments in one row alone, and `-m a=1 --config-dir DIR b=2` has two.

    Raises:
        UserError: an option that Hydra does not have, or two commands at once.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (options are Hydra's: --help lists them)")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # argparse would print its usage and exit with status 2
    found = parser.parse_intermixed_args(list(arguments))
    commands = [found.run, found.multirun, found.shell_completion, found.cfg is not None, found.info is not None]
    if sum(map(bool, commands)) > 1 and not (found.help or found.hydra_help):
        raise UserError(COMMANDS)
    if found.resolve and found.cfg is None and not found.help:
        raise UserError("--resolve: goes with --cfg or --help")
    options = list(arguments)
    for override in found.overrides:
        options.remove(override)
    return [*options, *found.overrides]
