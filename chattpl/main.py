"""The entry point: what is typed -> Hydra -> jobs.

python -m chattpl.main train.method=grpo eval.format=raw                 one cell
python -m chattpl.main -m 'experiment=glob(*)' eval.format=chat,raw      a sweep
"""

import os
import sys
from pathlib import Path

import hydra

from chattpl import hydra_app, progress, signals
from chattpl.arguments import arranged
from chattpl.complaints import ending
from chattpl.conclusion import concluded
from chattpl.job import job
from chattpl.runtime import runtime


def main() -> None:
    """Run what the command line says; end with status 0, 1 (a user error), 130 or 143 (interrupted)."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own report of an error has many lines; ours has one
    with ending():
        runtime()
        progress.restart()
        hydra_app.register()
        sys.argv[1:] = arranged(sys.argv[1:])
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.insert(0, str(Path.cwd()))  # where `python -m` finds a user's own tasks, the command does too
        run = hydra.main(version_base="1.3", config_path=str(hydra_app.configuration_folder()), config_name="config")
        with signals.handled(), concluded():
            run(job)()


if __name__ == "__main__":
    main()
