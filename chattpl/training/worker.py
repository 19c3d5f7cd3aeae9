"""One training in a process of its own: `python -m chattpl.training.worker job.json`.

The job is what `TrainingJob.to_json` gives. It leaves a model folder with its `train.json` in the job's `output`, goes
on from a checkpoint in its `work`, and ends with the statuses of the command line: 0, 1 (a user error, one line on
standard error), 130 or 143 (interrupted).

`--rank R --meeting FOLDER` makes it one of the job's `gpus` processes (`chattpl.training.launch`).
"""

import argparse
import atexit
import logging
import os
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from chattpl import signals
from chattpl.basemodel import read_json
from chattpl.complaints import ending
from chattpl.errors import UserError
from chattpl.ranks import Ranks, joined
from chattpl.runtime import Runtime
from chattpl.training.job import TrainingJob
from chattpl.training.launch import FORMAT


def main() -> None:
    """Run the job in the file that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("job", type=Path, help="the job as JSON")
    parser.add_argument("--rank", type=int, help="of this process among several")
    parser.add_argument("--meeting", type=Path, help="the folder in which they meet")
    options = parser.parse_args()
    status: str | int | None = 0
    try:
        with ending():
            _run(options)
    except SystemExit as ended:
        status = ended.code
    if options.rank is not None:
        _leave(int(status or 0))
    sys.exit(status)


def _run(options: argparse.Namespace) -> None:
    """The job: in this process alone, or this rank's part of it."""
    runtime = Runtime()
    line = "%(asctime)s  %(message)s" if options.rank is None else FORMAT
    logging.basicConfig(stream=sys.stdout, format=line, datefmt="%H:%M:%S")
    logging.getLogger("chattpl").setLevel(logging.ERROR if options.rank else logging.INFO)
    job = _read(options.job)
    from chattpl.training.run import run_job

    with signals.handled():
        if options.rank is None:
            run_job(job, runtime.pool)
            return
        threading.Thread(target=_end_with_the_parent, daemon=True).start()
        with joined(Ranks(options.rank, job.gpus), options.meeting, job.device), closing(runtime.pool):
            run_job(replace(job, tracker="none") if options.rank else job, runtime.pool)


def _leave(status: int) -> NoReturn:
    """End a rank without the interpreter's finalisation, which now and then aborts a process that has threads of
    PyTorch's process group: its work is done, and would count as failed.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _read(path: Path) -> TrainingJob:
    content = read_json(path)
    try:
        return TrainingJob.from_json(content)
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: is no training job ({error})") from error


def _end_with_the_parent() -> None:
    """Whoever started the ranks holds their standard input open; it closes when that process ends, however it ends."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
