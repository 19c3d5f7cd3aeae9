"""Whether chattpl learns what stock TRL learns: the losses of the same SFT, step by step, with the same seed.

    python benchmarks/curves.py [--config tiny] [--model DIR] [--task arithmetic] [--source DIR] [--steps 150]
        [--at-once 1] [--overrides OVERRIDE ...]

The sides: chattpl as it comes, with samples packed; chattpl with padded batches; stock TRL (`benchmarks/stock`) with
float32 weights, computed in the data type that chattpl computes in; and stock TRL with all of it in bfloat16, where
chattpl trains in that. All take the hyperparameters of `conf/sft.yaml` and the same tokens and labels in each step.
Writes this model's section of `curves.md` and its picture.

TRL computes attention without cuDNN here, whose gradients are NaN for some batches on an H100 or H200
(https://github.com/huggingface/trl/issues/7181); with it the reference would end at the first of them.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from commands import add_study_options, stock, tried
from datasets import Dataset
from sections import Figures, Page, machine
from side_by_side import shared_card
from stock_data import Composed
from training_speed import Bench
from training_tables import section

from chattpl.encoding import Encoding
from chattpl.tasks.loading import train_samples
from chattpl.training.data import sft_dataset
from chattpl.training.trainer import curve

INTRODUCTION = """# The same learning as stock TRL's

Made by `benchmarks/curves.py`: the same SFT by chattpl and by stock TRL, with the same hyperparameters, the same
seed, and the same tokens and labels in each step. Differences are those of the losses, step by step, from stock TRL
with float32 weights, the reference: what rounds least.
"""
REFERENCE = "float32"
SIDES = {
    REFERENCE: "TRL, float32 weights",
    "chattpl": "chattpl",
    "padded": "chattpl, padded",
    "bfloat16": "TRL, bfloat16 weights",
}
SHARED = ("lr_scheduler_type", "warmup_steps", "weight_decay", "optim")  # that the stock script has no option for
ENDS = 20  # steps whose mean is a curve's begin and end


def overrides_of(options: argparse.Namespace) -> list[str]:
    return ["method=sft", f"sft.max_steps={options.steps}", "sft.logging_steps=1", "sft.save_strategy=no"]


def losses(side: str, bench: Bench, composed: Composed, folder: Path) -> Figures:
    """The loss of each step; the training's folder is made in `folder`."""
    options, log = bench.options, bench.options.logs / f"{side}.log"
    (own := folder / side).mkdir()
    if side in ("chattpl", "padded"):
        padded = ["model.attn_implementation=sdpa"] if side == "padded" else []
        _, _, report = bench.ours([*overrides_of(options), *padded, *shared_card(options.at_once)], own, log)
    else:
        config = composed.config
        encoded(config).to_json(own / "train.jsonl")
        shared = {name: config.sft[name] for name in SHARED} | {"seed": config.seed}
        stock("sft.py", [
            str(config.model.path), str(own / "train.jsonl"), str(own / "model"), *composed.training("sft"),
            f"--steps={options.steps}", f"--fields={json.dumps(shared)}", "--no-checkpointing", "--no-cudnn-attention",
            f"--dtype={side}", *(["--autocast"] if config.model.train_dtype == "bfloat16" else []),
        ], log)  # fmt: skip
        report = json.loads((own / "model" / "report.json").read_text())
    return {"curve": curve(report["log"], "loss")}


def encoded(config: Any) -> Dataset:
    """The samples as chattpl encodes them: `input_ids` and `labels`."""
    encoding = Encoding(Path(config.model.path), config.model.trust_remote_code)
    form = encoding.format("chat", config.formats["chat"], config.task)
    return sft_dataset(train_samples(config.task), form, config.train.masking, config.sft["max_length"]).dataset


# --- what is shown


def shown(picture: str, title: str, rows: Mapping[str, Figures]) -> str:
    """The section: a line for each side, and its picture."""
    expected = dict(rows.get(REFERENCE, {}).get("curve", []))

    def differences(row: Figures) -> list[float]:
        return [abs(loss - expected[step]) for step, loss in row["curve"]]

    def difference(over: Callable[[list[float]], float]) -> Callable[[Figures], str]:
        return lambda row: "" if row is rows.get(REFERENCE) or not expected else f"{over(differences(row)):.1e}"

    def mean(part: slice) -> Callable[[Figures], str]:
        return lambda row: f"{fmean([loss for _, loss in row['curve']][part]):.4f}"

    columns = {
        "first step": mean(slice(1)), f"first {ENDS}": mean(slice(ENDS)), f"last {ENDS}": mean(slice(-ENDS, None)),
        "mean difference": difference(fmean), "largest difference": difference(max),
    }  # fmt: skip
    return section(title, SIDES, rows, columns) + f"\n![The losses of each step]({picture})\n"


def draw(rows: Mapping[str, Figures], path: Path) -> None:
    """The losses, and below them their differences from the reference's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    expected = dict(rows.get(REFERENCE, {}).get("curve", []))
    for side, name in SIDES.items():
        points = rows.get(side, {}).get("curve", [])
        style = {"label": name, "color": f"C{list(SIDES).index(side)}", "linewidth": 1}
        if points:
            above.plot(*zip(*points, strict=True), **style)
        if side != REFERENCE and points and expected:
            below.plot(*zip(*((step, loss - expected[step]) for step, loss in points), strict=True), **style)
    above.set(ylabel="loss")
    below.set(xlabel="step", ylabel=f"difference from\n{SIDES[REFERENCE]}")
    above.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_options(parser)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--at-once", type=int, default=1, help="trainings beside each other, on one GPU")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "curves")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    name = options.model.name if options.model else options.config
    title = ", ".join([name, options.task, f"{options.steps} steps", machine(), *options.overrides])
    page = Page(Path(__file__).with_suffix(".md"), INTRODUCTION)
    picture = page.path.with_name(f"curves_{name}.png")
    bench = Bench(options)
    composed = Composed.of([*bench.model, *overrides_of(options)])
    low = composed.config.model.train_dtype == "bfloat16"
    sides = [side for side in SIDES if low or side != "bfloat16"]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.at_once) as pool:
        measured = pool.map(lambda side: tried(partial(losses, side, bench, composed, Path(folder))), sides)
        for side, figures in zip(sides, measured, strict=True):
            page.note(title, side, figures, partial(shown, picture.name))
    draw(page.rows(title), picture)


if __name__ == "__main__":
    main()
