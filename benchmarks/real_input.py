"""A real model on real questions: SmolLM2-135M-Instruct and GSM8K, as a user types it, with each engine.

    python benchmarks/real_input.py MODEL_DIR GSM8K_DIR [OVERRIDE ...]

Twenty steps of SFT, five of GRPO, fifty test questions, both formats: four cells and two trainings, from nothing, in
a process of its own for each engine. Twenty steps teach a model of this size next to nothing; what is shown is that
the whole pipeline works and how long it takes. Writes `real_input.md` beside this file; ends with status 1 if a sweep
failed or took more than twelve minutes.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from commands import start

MOST_MINUTES = 12
SWEEP = [
    "-m", "train.method=sft,grpo", "eval.format=chat,raw", "model=smollm2_135m", "task=gsm8k", "task.test_limit=50",
    "sft.max_steps=20", "grpo.max_steps=5",
]  # fmt: skip


def run(engine: str, arguments: list[str], folder: Path) -> tuple[int, float, float]:
    """Exit status, minutes, and the process' peak memory in GiB."""
    began = time.monotonic()
    process = start([*SWEEP, f"engine.name={engine}", *arguments, f"output_root={folder}"])
    _, status, used = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), (time.monotonic() - began) / 60, used.ru_maxrss / 2**20


def cells(folder: Path) -> list[str]:
    """A row of the table for each cell of a finished sweep."""
    (table,) = folder.glob("*/report/comparison.csv")
    return [
        f"| {row.engine} | {row.train_format}/{row.train_method} | {row.eval_format} | {row.accuracy:.1%} "
        f"| {row.mean_completion_tokens:.0f} | {row.truncated_rate:.0%} | {row.seconds:.0f} |"
        for row in pd.read_csv(table).itertuples()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("gsm8k", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    paths = [f"model.path={options.model.resolve()}", f"task.source={options.gsm8k.resolve()}"]
    whole = ["| engine | exit status | minutes | peak memory, GiB |", "|---|---|---|---|"]
    each = [
        "| engine | training | asked | accuracy | tokens | cut off | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    passed = True
    for engine in ("vllm", "transformers"):
        with tempfile.TemporaryDirectory() as folder:
            status, minutes, memory = run(engine, [*paths, *options.overrides], Path(folder))
            whole.append(f"| {engine} | {status} | {minutes:.1f} | {memory:.1f} |")
            passed &= status == 0 and minutes <= MOST_MINUTES
            if status == 0:
                each += cells(Path(folder))
    command = " ".join(["python -m chattpl.main", *SWEEP, *options.overrides])
    head = f"# A real model on real questions\n\n`{command}` with local paths, {os.cpu_count()} CPU cores."
    text = "\n\n".join([head, "\n".join(whole), "\n".join(each)]) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
