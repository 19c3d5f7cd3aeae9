"""What several GPUs bring, and what an adapter does: each measurement is a command of its own, typed as a user would.

    python benchmarks/cards.py {matrix,sft,grpo,large,lora} ...
        [--config tiny] [--model DIR | --size 4b --tokenizer DIR] [--task arithmetic] [--source DIR]
        [--gpus 1 2] [--seconds S] [--overrides OVERRIDE ...] [--folder DIR] [--page FILE]

matrix: all cells, models side by side on as many GPUs as `--gpus` says, each number a row.
sft, grpo: one training on so many. `--samples`, `--steps`, `--grpo-steps`, `--completions`, `--max-completion-length`.
large: a model that one card cannot train, of random weights (`--size`), on the last number of `--gpus`. SFT and GRPO
    are interrupted by SIGTERM and typed again, and what came out answers `--questions` in both formats; then SFT with
    gpus=1. `--rows` chooses among these. A checkpoint takes ten bytes a parameter on the disk of `--folder`, the model
    two and the published one two more; resuming takes eight bytes a parameter of the computer's own memory.
lora: SFT and GRPO of all weights and of `lora=r16`, on one. `--methods`, `--loras`; `--validation N` asks each the last
    N training samples, which it then is not trained on.

`--size` makes the model below `--folder` unless it is there. `--gpus` is 1 and all that are visible; without a GPU they
are processes, 1 and 2. A command that takes longer than `--seconds` gets a minute to end and is told as failed; a
matrix so ended goes on where it stood when it is measured again, and its seconds are added up. Each figure goes into
the JSON beside `--page` (`cards.md`), from which that page's section is written anew, so that parts can be measured in
several goes. On two cards, no command above ten minutes, with q05 a folder with a model of 0.5B, gsm8k its data, and
qwen3 a folder with Qwen3's tokenizer:

    cards="python benchmarks/cards.py"
    q05="--config qwen25_coder_0_5b --model q05 --task gsm8k --source gsm8k"
    shape="--config qwen3_4b --task gsm8k --source gsm8k --tokenizer qwen3"
    $cards sft $shape --size 4b --samples 64 --steps 30 --seconds 230
    $cards grpo $shape --size 4b --grpo-steps 6 --seconds 230
    for row in sft sft-again sft-answers one-card grpo grpo-again grpo-answers; do
        $cards large $shape --size 14b --steps 8 --grpo-steps 4 --rows $row --seconds 530
    done
    $cards matrix --seconds 230
    for gpus in 1 2; do
        $cards matrix $q05 --gpus $gpus --seconds 530 --overrides sft.max_steps=100 grpo.max_steps=20
    done
    $cards lora $q05 --methods sft --steps 200 --validation 500 --seconds 110
    $cards lora $q05 --methods grpo --grpo-steps 20 --validation 500 --seconds 110
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cards_tables as tables
from cards_bench import METHODS, bench_of, length_of, overrides_of, title_of
from cards_large import large
from cards_tables import LARGE, LORA
from commands import add_study_options, chattpl, environment, gpu, study_overrides, tried
from fault_injection import SWEEP
from matrix_speed import finished
from sections import Figures, Page
from training_speed import Bench

from chattpl.basemodel import EMBEDDED
from chattpl.generation.cards import VISIBLE, visible_cards

INTRODUCTION = """# What several GPUs bring

Made by `benchmarks/cards.py`; each row is a command of its own. Steady is after the first steps; the whole command
includes the start of Python, loading, and saving the model. Peaks are each GPU's memory in use, engine included.
"""


def trained(bench: Bench, method: str, folder: Path, log: Path) -> Figures:
    """The figures of one training, its curve among them."""
    done, ended, report = bench.ours(overrides_of(bench, method), folder, log)
    if method == "grpo":
        figures = bench.grpo_figures(done, ended, report["log"])
    else:
        figures = bench.sft_figures(done, ended, report["tokens"])
    curve = report["mean_reward"] if method == "grpo" else report["loss"]
    return {**figures, "peaks": done.peaks_gib, "curve": curve, "trained": report["trained_parameters"]}


# --- models side by side


def matrix(options: argparse.Namespace, page: Page) -> None:
    title = title_of(options, "Matrix")
    for count in options.gpus:
        folder, before = options.folder / "matrix" / str(count), page.rows(title).get(str(count), {})
        if "failed" not in before:  # what lies there was told
            shutil.rmtree(folder, ignore_errors=True)
            before = {}
        began = time.monotonic()
        figures = tried(partial(side_by_side, options, count, folder))
        figures["seconds"] = time.monotonic() - began + before.get("seconds", 0)
        figures["commands"] = before.get("commands", 0) + 1
        page.note(title, str(count), figures, tables.matrix)
        if "failed" not in figures:
            shutil.rmtree(folder)


def side_by_side(options: argparse.Namespace, count: int, folder: Path) -> Figures:
    """The matrix with its report, on the first `count` GPUs."""
    launcher = []
    if count > 1:
        launcher = ["hydra/launcher=ray_gpu"]
        if not gpu():
            remote = ["hydra.launcher.ray.remote.num_gpus=0", "+hydra.launcher.ray.remote.num_cpus=1"]
            launcher += [*remote, f"+hydra.launcher.ray.init.num_cpus={count}"]
    arguments = [*SWEEP, *study_overrides(options), *launcher, f"output_root={folder}"]
    cards = {VISIBLE: ",".join(visible_cards()[:count])} if gpu() else {}
    done = chattpl(arguments, options.logs / f"matrix.{count}.log", extra=cards, seconds=options.seconds)
    [models] = folder.glob("*/models")
    return {**finished(models.parent), "peaks": done.peaks_gib}


# --- one training on several


def trainings(method: str, options: argparse.Namespace, page: Page) -> None:
    title = title_of(options, METHODS[method], *length_of(options, method))
    for count in options.gpus:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            bench, log = bench_of(options, f"gpus={count}"), options.logs / f"{method}.{count}.log"
            figures = tried(partial(trained, bench, method, Path(folder), log))
        page.note(title, str(count), figures, partial(tables.trainings, method))


# --- an adapter beside all weights


def lora(options: argparse.Namespace, page: Page) -> None:
    for method in options.methods:
        title = title_of(options, f"Adapter, {METHODS[method]}", *length_of(options, method))
        name = options.model.name if options.model else options.config
        picture = page.path.with_name(f"{page.path.stem}_{method}_{name}.png")
        for kind in options.loras:
            figures = tried(partial(adapted, options, method, kind))
            tables.draw(method, {**page.rows(title), kind: figures}, picture)
            page.note(title, kind, figures, partial(tables.lora, method, picture=picture))


def adapted(options: argparse.Namespace, method: str, kind: str) -> Figures:
    """The figures of a training; with `--validation` the accuracy of what came out."""
    held_out = [f"task.validation={options.validation}"] if options.validation else []
    bench, log = bench_of(options, f"lora={kind}", *held_out), options.logs / f"lora.{method}.{kind}.log"
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        figures = trained(bench, method, Path(name), log)
        if options.validation:
            arguments = [*bench.model, *overrides_of(bench, method), "eval.split=validation", f"output_root={name}"]
            chattpl(["stage=eval", *arguments], log.with_suffix(".eval.log"), seconds=options.seconds)
            [path] = Path(name).glob("*/eval/*/summary.json")
            cell: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            low, high = 100 * cell["ci_low"], 100 * cell["ci_high"]
            figures["validation"] = f"{100 * cell['accuracy']:.1f} [{low:.1f}, {high:.1f}]"
    return figures


PARTS: dict[str, Callable[[argparse.Namespace, Page], None]] = {
    "matrix": matrix,
    "sft": partial(trainings, "sft"),
    "grpo": partial(trainings, "grpo"),
    "large": large,
    "lora": lora,
}


def make_model(options: argparse.Namespace) -> Path:
    """A model of the shape `--size` with random weights; it is made where it is not there."""
    folder: Path = options.folder / "models" / options.size
    script = Path(__file__).with_name("random_qwen3.py")
    command = [sys.executable, str(script), options.size, str(options.tokenizer), str(folder)]
    subprocess.run(command, check=True, env=environment())
    return folder


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=tuple(PARTS))
    add_study_options(parser)
    parser.add_argument("--size", help="as of random_qwen3.py")
    parser.add_argument("--tokenizer", type=Path, default=EMBEDDED)
    parser.add_argument("--gpus", nargs="+", type=int)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--grpo-steps", type=int, default=8)
    parser.add_argument("--completions", type=int, default=64)
    parser.add_argument("--max-completion-length", type=int, default=256)
    parser.add_argument("--rows", nargs="+", choices=tuple(LARGE), default=list(LARGE))
    parser.add_argument("--interrupt-after", type=int, default=1, metavar="STEP")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--loras", nargs="+", choices=tuple(LORA), default=list(LORA))
    parser.add_argument("--validation", type=int)
    parser.add_argument("--seconds", type=float, help="that one command may take")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cards")
    parser.add_argument("--page", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    options.gpus = options.gpus or sorted({1, len(visible_cards()) if gpu() else 2})
    options.logs = options.folder / "logs"
    return options


def main() -> None:
    options = read_options()
    for folder in (options.logs, options.page.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if options.size:
        options.model = make_model(options)
    for part in options.parts:
        PARTS[part](options, Page(options.page, INTRODUCTION))


if __name__ == "__main__":
    main()
