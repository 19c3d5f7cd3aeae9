"""The twelve cells as Slurm jobs that are requeued, preempted and cancelled, against the same sweep left alone.

    eval "$(benchmarks/slurm.sh start)"
    python benchmarks/slurm.py [OVERRIDE ...]

Needs the cluster of `slurm.sh` and chattpl's `cluster` extra. Writes `slurm.md` beside this file; ends with status 1 if
anything differs from the undisturbed sweep, whose cells run one after the other in one process.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fault_injection import SHORTER, Sweep, compare

# Long enough to be met in training; no checkpoint but those that a signal makes it write.
LONGER = ["sft.max_steps=120", "sft.save_steps=120", "grpo.save_steps=8", "engine.name=transformers"]
SLURM = [
    "hydra/launcher=submitit_slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=4", "hydra.launcher.timeout_min=50",
]  # fmt: skip


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def running(partition: str = "low") -> list[str]:
    return slurm("squeue", "--noheader", "--states=running", f"--partition={partition}", "--format=%i").split()


def log_of(sweep: Sweep, job: str) -> str:
    return "".join(path.read_text() for path in sweep.output_root.glob(f".sweep/*/.submitit/{job}/*_log.out"))


def in_training(sweep: Sweep) -> list[str]:
    """The jobs that have a step behind them and their model not yet trained."""
    logs = {job: log_of(sweep, job) for job in running()}
    return [job for job, log in logs.items() if " step " in log.rpartition("training ")[2] and " trained " not in log]


# --- what happens to the jobs


def requeue(job: str) -> None:
    """What Slurm does before a job's time is over, if submitit submitted it."""
    slurm("scancel", "--signal=USR2", job)


def preempt(job: str) -> None:
    """A job of higher priority wants the whole node for a moment."""
    slurm("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")


def cancel(job: str) -> None:
    slurm("scancel", job)


def kill(job: str) -> None:
    """Without a word, as when a node fails."""
    slurm("scancel", "--signal=KILL", job)


DISTURBANCES: dict[str, Callable[[str], None]] = {
    "queued again (`scancel --signal=USR2`)": requeue,
    "preempted by a job of higher priority": preempt,
    "cancelled (`scancel`)": cancel,
    "killed (`scancel --signal=KILL`)": kill,
}


def run_disturbed(sweep: Sweep) -> tuple[list[str], list[int]]:
    """Start the sweep until it is through, with one disturbance after the other; what was done, and the statuses."""
    left, done, statuses = list(DISTURBANCES), [], []
    while not statuses or statuses[-1] != 0:
        process = sweep.start()
        while process.poll() is None:
            if left and (jobs := in_training(sweep)):
                DISTURBANCES[left[0]](jobs[0])
                done.append(left.pop(0))
                print(f"{done[-1]}: job {jobs[0]}", flush=True)
                time.sleep(15)
            hurry()
            time.sleep(0.5)
        statuses.append(process.returncode)
        print(f"the sweep ended with status {statuses[-1]}", flush=True)
        sweep.note()
    return done, statuses


def hurry() -> None:
    """Slurm holds back for two minutes what was queued again."""
    for line in slurm("squeue", "--noheader", "--states=pending", "--format=%i %r").splitlines():
        job, _, reason = line.partition(" ")
        if reason == "BeginTime":
            subprocess.run(["scontrol", "update", f"jobid={job}", "StartTime=now"], check=False)


def states(since: str) -> Counter[str]:
    """How often a job of the partition ended how; one that was queued again counts each time."""
    query = ["sacct", "--duplicates", "--allocations", "--noheader", "--parsable2", f"--starttime={since}"]
    return Counter(line.split()[0] for line in slurm(*query, "--partition=low", "--format=State").splitlines())


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # a sum in more threads has other last bits
    since, began = time.strftime("%Y-%m-%dT%H:%M:%S"), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        overrides = [*SHORTER, *LONGER, *sys.argv[1:]]
        undisturbed = Sweep(Path(name), overrides, Path(name) / "undisturbed")
        assert undisturbed.run() == 0, undisturbed.printed()
        alone = time.monotonic() - began
        sweep = Sweep(Path(name), [*overrides, *SLURM], Path(name) / "slurm")
        done, statuses = run_disturbed(sweep)
        verdict, same = compare(sweep, undisturbed, statuses[-1])
        resumed = sum(log.read_text().count("resuming from") for log in sweep.output_root.glob(".sweep/**/*_log.out"))
    ended = states(since)
    minutes = (time.monotonic() - began - alone) / 60
    rows = [f"| {how} | {Counter(done)[how]} |" for how in DISTURBANCES]
    version = re.sub("^slurm-wlm ", "Slurm ", slurm("sinfo", "--version").strip())
    text = "\n".join([
        "# A sweep as Slurm jobs", "", "`python benchmarks/slurm.py` on the cluster of `benchmarks/slurm.sh`.", "",
        f"{version} with accounting, one node; `hydra/launcher=submitit_slurm`, a job for each cell, each disturbance while",
        "a model is trained. The same command was started again when it had ended with a failure.", "",
        "| a job was | times |", "|---|---|", *rows, "",
        f"- jobs by how they ended: {', '.join(f'{count} {state.lower()}' for state, count in ended.most_common())}",
        f"- trainings that went on from a checkpoint: {resumed}",
        f"- exit statuses of the sweep: {', '.join(map(str, statuses))}", verdict, "",
        f"{minutes:.1f} minutes, left alone in one process {alone / 60:.1f}; `{' '.join(overrides)}`.", "",
    ])  # fmt: skip
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    sys.exit(not same or len(done) < len(DISTURBANCES))


if __name__ == "__main__":
    main()
