"""One training in a process of its own: `python -m chattpl.training.worker job.json`.

The job is what `TrainingJob.to_json` gives. It leaves a model folder with its `train.json` in the job's `output`, goes
on from a checkpoint in its `work`, and ends with the statuses of the command line: 0, 1 (a user error, one line on
standard error), 130 or 143 (interrupted).
"""

import argparse
import logging
import sys
from pathlib import Path

from chattpl import signals
from chattpl.basemodel import read_json
from chattpl.complaints import ending
from chattpl.errors import UserError
from chattpl.runtime import Runtime
from chattpl.training.job import TrainingJob


def main() -> None:
    """Run the job in the file that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("job", type=Path, help="the job as JSON")
    path = parser.parse_args().job
    with ending():
        runtime = Runtime()
        logging.basicConfig(stream=sys.stdout, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("chattpl").setLevel(logging.INFO)
        content = read_json(path)
        try:
            job = TrainingJob.from_json(content)
        except (TypeError, KeyError) as error:
            raise UserError(f"{path}: is no training job ({error})") from error
        from chattpl.training.run import run_job

        with signals.handled():
            run_job(job, runtime.pool)


if __name__ == "__main__":
    main()
