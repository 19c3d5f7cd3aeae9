"""The published study, in parts: one real model on GSM8K, trained five ways, asked with and without its template.

    python benchmarks/study.py run PART ... --model DIR --source DIR --outputs DIR [--at-once N] [--seconds S] [--dry]
    python benchmarks/study.py page OUTPUTS ... [--to docs/results/qwen2.5-coder-0.5b-gsm8k] [--html]

A part is a command of chattpl, as `PARTS` has it. Where a part is run does not matter, nor in how many
pieces: `page` joins what OUTPUTS hold, without weights, writes reports, tables and pictures, and packs the finished
cells into `cells.tar.xz`. Unpacked into the outputs of another machine, they are not done again there.
With `--at-once` each model of a part is a command of its own, N of them run at a time on each GPU, and when S seconds
are over those that run are interrupted: the same command goes on from their checkpoints.
DIR are the folders of the model and of GSM8K's `train.jsonl` and `test.jsonl`; without them both come from the hub.
"""

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import ROOT, add_study_options, start, study_overrides
from sections import made_with
from side_by_side import Piece, side_by_side

from chattpl.report import write_report

NAME = "qwen2.5-coder-0.5b-gsm8k"
CONFIG = "qwen25_coder_0_5b"  # of conf/model
SFT = "sft_chat_template,sft_no_chat_full_loss,sft_no_chat_mask_q"
GRPO = "grpo_chat_template,grpo_no_chat"
PTST = "text_vanilla,text_alpaca,chat_vanilla,chat_alpaca,chat_system"
HELD_OUT = "task.validation=500"  # training leaves them out in every part, so that all train on the same samples
BOTH = "eval.format=chat,raw"
MATRIX = (f"experiment=base,{GRPO},{SFT}", BOTH)
SIDE_BY_SIDE = ("hydra/launcher=ray_gpu", "gpu_share=0.31")  # three models at a time on each GPU
CELLS = "cells.tar.xz"
SECONDS = "commands.jsonl"  # how long each command of a part took


@dataclass(frozen=True)
class Part:
    """A command on one study.

    Attributes:
        study: the folder below the outputs.
        overrides: of the command, beside those of the model and the task.
        needs: the study whose trained models it asks.
    """

    study: str
    overrides: tuple[str, ...]
    needs: str | None = None


PARTS = {
    "rates": Part(
        f"{NAME}-rates",
        (
            *("experiment=grpo_chat_template,sft_chat_template", "sft.learning_rate=2e-6,5e-6,1e-5,2e-5"),
            *("grpo.learning_rate=1e-6,3e-6", "grpo.max_steps=50", "grpo.max_completion_length=320"),
            *("eval.format=chat", "eval.split=validation"),
        ),
    ),
    **{
        f"seed-{seed}": Part(NAME, (f"experiment={'base,' * (seed == 0)}{GRPO},{SFT}", BOTH, f"seed={seed}"))
        for seed in range(3)
    },
    "shared": Part(f"{NAME}-shared", (*SIDE_BY_SIDE, *MATRIX)),
    "wordings": Part(f"{NAME}-wordings", (*MATRIX, "eval.wording=none,boxed,hashes,number,answer_is"), needs=NAME),
    "ptst": Part(f"{NAME}-ptst", ("grid=ptst", "method=sft", f"train.format={PTST}", f"eval.format={PTST}")),
    "lora": Part(f"{NAME}-lora", ("experiment=sft_chat_template", "lora=none,r16", BOTH)),
}


# --- running


def arguments_of(part: Part, options: argparse.Namespace) -> list[str]:
    """The arguments of chattpl for a part."""
    return [*said(part), *study_overrides(options), f"study={part.study}", f"output_root={options.outputs}"]


def said(part: Part) -> list[str]:
    """What its command says of the experiment; the rest says where things are."""
    return ["-m", *part.overrides, HELD_OUT]


def pieces_of(name: str, options: argparse.Namespace) -> Iterator[Piece]:
    """A command for each model of a part: the experiments, and the values of what else is swept beside the format."""
    arguments = arguments_of(PARTS[name], options)
    swept = [each for each in arguments if each.startswith("experiment=")]
    for experiment in swept[0].partition("=")[2].split(",") if swept else [""]:
        own = [f"experiment={experiment}" if each in swept else each for each in arguments]
        yield Piece("-".join([name, experiment]) if experiment else name, own)


def run_at_once(options: argparse.Namespace) -> int:
    """Run the models of the parts side by side; 1 if not every command ended well."""
    pieces = [piece for name in options.parts for piece in pieces_of(name, options)]
    if options.dry:
        print(*(shlex.join(["chattpl", *piece.arguments]) for piece in pieces), sep="\n")
        return 0
    for name in options.parts:
        share_models(PARTS[name], options.outputs)
    done = 0
    for ended in side_by_side(pieces, options.at_once, options.seconds, options.outputs / "logs"):
        print(f"{ended.name}: status {ended.status} after {ended.seconds:.0f} s", flush=True)
        done += ended.status == 0
    return int(done < len(pieces))


def run(options: argparse.Namespace) -> int:
    """Type the command of each part, and note how long it took; the status of the first that fails."""
    if options.at_once:
        return run_at_once(options)
    for name in options.parts:
        part = PARTS[name]
        if not options.dry:
            share_models(part, options.outputs)
        arguments = arguments_of(part, options)
        print("chattpl", shlex.join(arguments), flush=True)
        if options.dry:
            continue
        began = time.monotonic()
        process = start(arguments)
        signal.signal(signal.SIGTERM, lambda *_, process=process: process.terminate())
        status = process.wait()
        note_seconds(options.outputs / part.study, name, time.monotonic() - began, status)
        if status:
            return status
    return 0


def note_seconds(study: Path, part: str, seconds: float, status: int) -> None:
    """A line in the study's folder: a part may be typed several times, on several machines."""
    study.mkdir(parents=True, exist_ok=True)
    line = {"part": part, "seconds": round(seconds, 1), "status": status, "made_with": made_with()}
    with (study / SECONDS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def noted_seconds(study: Path) -> list[dict[str, Any]]:
    """What `note_seconds` wrote."""
    path = study / SECONDS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def share_models(part: Part, outputs: Path) -> None:
    """Let a part ask the models of the study that it needs, so that its cells are in no comparison of that study."""
    if part.needs is None:
        return
    source, target = outputs / part.needs, outputs / part.study
    if (source / "models").is_dir() and not (target / "models").exists():
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", source / "models", target / "models"], check=True)


# --- publishing


def joined(outputs: Iterable[Path], into: Path) -> None:
    """Copy what is finished in several places into one, without weights."""
    left_out = shutil.ignore_patterns("*.safetensors", "*.pt", "tokenizer.json", ".work", ".sweep", "report", SECONDS)
    for each in outputs:
        shutil.copytree(each, into, dirs_exist_ok=True, ignore=left_out)
        for path in each.glob(f"*/{SECONDS}"):
            with (into / path.parent.name / SECONDS).open("a", encoding="utf-8") as file:
                file.write(path.read_text(encoding="utf-8"))


def publish(options: argparse.Namespace) -> int:
    """Write the report of each study that has cells, and the table of its trainings; pack the cells."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        joined(options.outputs, root)
        options.to.mkdir(parents=True, exist_ok=True)
        with tarfile.open(options.to / CELLS, "w:xz") as archive:
            archive.add(root, arcname=".")
        for study in sorted({part.study for part in PARTS.values()}):
            if any((root / study / "eval").glob("*/summary.json")):
                target = options.to / study.removeprefix(NAME).removeprefix("-")
                write_report(root / study)
                browser = options.html and study == NAME
                left_out = shutil.ignore_patterns("*.parquet", "*.svg", *([] if browser else ["*.html"]))
                shutil.copytree(root / study / "report", target, dirs_exist_ok=True, ignore=left_out)
                (target / "trainings.md").write_text(trainings(root / study, study), encoding="utf-8")
                print(target)
    return 0


def trainings(folder: Path, study: str) -> str:
    """A page with a row for each training: its course, its speed, what it ran on; and the commands that made it."""
    rows = [(path.parent.name, json.loads(path.read_bytes())) for path in sorted(folder.glob("models/*/train.json"))]
    asked = [json.loads(path.read_bytes()) for path in sorted(folder.glob("eval/*/summary.json"))]
    seconds = sum(row["seconds"] for _, row in rows), sum(row["seconds"] for row in asked)
    made = [json.dumps({"hardware": row["hardware"], **row["versions"]}) for row in [*dict(rows).values(), *asked]]
    noted = noted_seconds(folder)
    parts = [part for part in PARTS.values() if part.study == study]
    lines = [
        "# Trainings",
        "",
        f"{len(rows)} trainings took {seconds[0]:,.0f} seconds, {len(asked)} evaluations {seconds[1]:,.0f}, without "
        "start, loading and saving.",
        "",
        "| model | " + " | ".join(COLUMNS) + " |",
        "|---|" + "--:|" * len(COLUMNS),
        *("| " + " | ".join([name, *(column(row) for column in COLUMNS.values())]) + " |" for name, row in rows),
        "",
        "Rewards are means over the first and the last ten entries of the log; rates are over all rollouts.",
        "",
        "## Commands",
        "",
        "```bash",
        *(shlex.join(["chattpl", *said(part), f"model={CONFIG}", "task=gsm8k"]) for part in parts),
        "```",
        "",
        *(commands_table(noted) if noted else ()),
        "## Made with",
        "",
        *(
            f"- {', '.join(f'{key} {value}' for key, value in json.loads(each).items())}"
            for each in dict.fromkeys(made)
        ),
    ]
    return "\n".join(lines) + "\n"


def commands_table(noted: list[dict[str, Any]]) -> list[str]:
    """How long each command took."""
    return [
        "| part | seconds, start to end |",
        "|---|--:|",
        *(f"| {each['part']}{' (ended early)' * bool(each['status'])} | {each['seconds']:,.0f} |" for each in noted),
        f"| together | {sum(each['seconds'] for each in noted):,.0f} |",
        "",
    ]


def share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def ends(curve: list[list[float]] | None, count: int = 10) -> str:
    """The means of the first and the last values of a curve."""
    values = [value for _, value in curve or ()]
    first, last = values[:count], values[-count:]
    return f"{sum(first) / len(first):.3f} → {sum(last) / len(last):.3f}" if values else ""


COLUMNS = {
    "steps": lambda row: str(row["steps"]),
    "seconds": lambda row: f"{row['seconds']:,.0f}",
    "tokens/s": lambda row: f"{row['tokens_per_second']:,.0f}",
    "loss": lambda row: "" if row.get("mean_reward") else ends(row["loss"]),
    "reward": lambda row: ends(row.get("mean_reward")),
    "changed": lambda row: share(row["changed_weights"]["trained"]),
    "published": lambda row: share(row["changed_weights"]["published"]),
    "distance": lambda row: f"{row['relative_distance']['trained']:.1e}",
    "cut off": lambda row: share(row.get("truncated_rate")),
    "discarded": lambda row: share(row.get("discarded_rate")),
    "groups alike": lambda row: share(row.get("uniform_group_rate")),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("parts", nargs="+", choices=tuple(PARTS))
    runs.add_argument("--outputs", type=Path, default=Path("outputs"))
    runs.add_argument("--at-once", type=int, metavar="N", help="commands at a time on each GPU")
    runs.add_argument("--seconds", type=float, default=float("inf"), metavar="S")
    runs.add_argument("--dry", action="store_true", help="only print the commands")
    add_study_options(runs)
    runs.set_defaults(do=run, config=CONFIG, task="gsm8k")
    pages = verbs.add_parser("page")
    pages.add_argument("outputs", nargs="+", type=Path)
    pages.add_argument("--to", type=Path, default=ROOT / "docs" / "results" / NAME)
    pages.add_argument("--html", action="store_true", help="the study's browser of samples too: some 0.3 MB a cell")
    pages.set_defaults(do=publish)
    options = parser.parse_args()
    return int(options.do(options))


if __name__ == "__main__":
    sys.exit(main())
