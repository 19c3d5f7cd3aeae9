"""The one entry point: composed configuration -> one cell -> its stages.

python -m chattpl.main train.method=grpo eval.format=raw      one cell
python -m chattpl.main -m 'experiment=glob(*)' eval.format=chat,raw      a sweep
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chattpl import signals
from chattpl.complaints import complaint
from chattpl.config import register_schema
from chattpl.errors import Interrupted, UserError
from chattpl.jobs import Outcome, conclude, log_to_terminal, run_job

_outcomes: list[Outcome] = []  # of a single run: Hydra's main returns nothing
register_schema()
PLUGINS = str(Path(__file__).parent / "plugins")  # where Hydra finds the sweeper


def job(composed: DictConfig) -> Outcome:
    """One cell, in whatever process a launcher put it."""
    log_to_terminal()
    with signals.handled():
        outcome = run_job(composed)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        _outcomes.append(outcome)
    return outcome


def main() -> None:
    """Run what the command line says; end with status 0, 1 (the user can mend it), 130 or 143 (interrupted)."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own report of an error has many lines; ours has one
    sys.path += [] if PLUGINS in sys.path else [PLUGINS]
    sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)  # Hydra's parser wants the overrides in one row
    try:
        _check_options()
        with signals.handled():
            hydra.main(version_base="1.3", config_path="../conf", config_name="config")(job)()
            if _outcomes:
                conclude(_outcomes)
    except Exception as error:
        line = complaint(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + interrupted.signum)
    except KeyboardInterrupt:
        sys.exit(130)


def _check_options() -> None:
    """Let an option that Hydra does not have fail like any other mistake: argparse would show its usage."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (options are Hydra's: --help lists them)")

    parser = get_args_parser()
    parser.error = refuse
    parser.parse_args()


def _is_override(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


if __name__ == "__main__":
    main()
