"""What a training's precision does to its updates: the same training in four precisions, against float32.

    python benchmarks/updates.py [--config tiny] [--model DIR] [--task arithmetic] [--source DIR] [--device cpu]
        [--methods sft grpo] [--rates RATE ...] [--steps 12] [--overrides OVERRIDE ...]
    python benchmarks/updates.py --memory --config qwen3_4b --model DIR --device cuda

`--config` names a file of `conf/model`, whose batches and rates are used; `--model` is where that model lies. The
trainings are chattpl's own, on the same samples in the same order. GRPO's rollouts are recorded in float32 and
replayed to the other precisions. Their rewards are a coin's, drawn from the tokens, so that any model at any skill has
a gradient. Distance and cosine compare the change of all weights, masters where there are such, with float32's. The
section of this model, method and rate in `updates.md` beside this file is replaced.

`--memory` trains three steps as the configuration stands, with the engine started first and asleep meanwhile, and
prints the peak of the device's memory.
"""

import argparse
import gc
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from commands import add_study_options, study_overrides
from hydra import compose, initialize_config_dir
from sections import replace_section
from transformers import AutoModelForCausalLM

from chattpl import hydra_app
from chattpl.basemodel import local_folder
from chattpl.cell import cell_of
from chattpl.config import checked_config
from chattpl.generation import max_model_len, resolved_engine
from chattpl.generation.pool import EnginePool
from chattpl.plan import CellPlan
from chattpl.train_report import TrainReport
from chattpl.training import grpo
from chattpl.training.job import TrainingJob
from chattpl.training.live import LiveJob
from chattpl.training.run import run_job
from chattpl.training.weights import Tensors

GIB = 2**30
INTRODUCTION = """# Updates by precision

The same training in four precisions, against that in float32 throughout. Each loss stands with its deviation: the last
one that the training logged, the curve of these in the mean, and that of the finished weights (masters where there are
such) on other worked answers, computed in float32. `rounded` is the loss of the same weights rounded to bfloat16, as
they are published by default. Then the share of weights that changed and of those whose change shows in bfloat16;
length and cosine of the whole change against float32's. GRPO trains on the rollouts of the float32 run, for a coin's
rewards; its own loss is near zero and says little.

Matrix products in bfloat16 see weights rounded to it, whether autocast rounds them or they are kept so beside their
masters. While most updates are smaller than half of a weight's last digit, the losses that are logged are those of
weights that have hardly moved, and lag behind float32's; so do the rounded weights of float32's own training. The
masters do not: their change, and the loss of the finished weights, are what has to agree.

Sections that say cuda were made on one H200 (torch 2.11.0+cu130, transformers 5.17.0, trl 1.16.0). On the 0.5B the
second row shows what bfloat16's forward and backward pass cost by themselves: on a CPU, the gradient of six samples has
a cosine of .9993 with that in float32, yet one or two of a hundred of its signs differ, and of the keys' biases, whose
gradients are all but zero, one in five. AdamW makes every weight's first steps equally long, however small its gradient
is. A forward pass in bfloat16 never sees the masters themselves: after SFT of the 0.5B the loss of the rounded weights
deviates from float32's by 1.5 %, that of the masters by 6 %. GRPO's directions agree least, presumably because a coin's
rewards leave a weak gradient.
"""
OTHERS = 32  # samples at the end of the training set, which a dozen steps do not reach
PRECISIONS = {
    "float32": {"model.train_dtype": "float32", "bf16": False},
    "float32, bfloat16 autocast": {"model.train_dtype": "float32", "bf16": True},
    "bfloat16, float32 masters": {"model.train_dtype": "bfloat16", "model.master_weights": True, "bf16": True},
    "bfloat16 alone": {"model.train_dtype": "bfloat16", "model.master_weights": False, "bf16": True},
}
HEAD = [
    "| precision | last loss | | curve | finished | | rounded | changed | in bf16 | distance | cosine | peak GiB |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
]


class Recorded(grpo.Rollouts):
    """Rollouts of the engine, kept for those that follow."""

    kept: list[dict[str, Any]] = []

    def __call__(self, prompts: list[list[int]], trainer: Any) -> dict[str, Any]:
        Recorded.kept.append(super().__call__(prompts, trainer))
        return Recorded.kept[-1]


class Replayed(grpo.Rollouts):
    """The rollouts that were kept, whatever the weights."""

    def sync_weights(self) -> None:
        pass

    def __call__(self, prompts: list[list[int]], trainer: Any) -> dict[str, Any]:
        kept = Recorded.kept[trainer.generation]
        assert kept["prompt_ids"] == prompts, "the replayed rollouts belong to other prompts"
        return kept


def coin(live: Any, group: int) -> Callable[..., list[float]]:
    """A reward that knows nothing of the answer."""

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [float(sum(ids) % 2) for ids in completion_ids]

    return reward


@dataclass(frozen=True)
class Setting:
    """One section of the table."""

    options: argparse.Namespace
    method: str
    rate: float | None

    def job(self, folder: Path, values: dict[str, Any]) -> tuple[TrainingJob, CellPlan]:
        """The training with further `values`, those without a node being hyperparameters; and its cell."""
        keys = {key if "." in key else f"{self.method}.{key}": value for key, value in values.items()}
        ours = [f"method={self.method}", f"device={self.options.device}", *(f"{key}={keys[key]}" for key in keys)]
        return job_of([*ours, *study_overrides(self.options)], folder)

    def values(self) -> dict[str, Any]:
        """What all precisions have in common."""
        common = {"max_steps": self.options.steps, "logging_steps": 1, "save_strategy": "no"}
        return common if self.rate is None else {**common, "learning_rate": self.rate}

    @property
    def title(self) -> str:
        options = self.options
        name = options.model.name if options.model else options.config
        rate = "its own learning rate" if self.rate is None else f"learning rate {self.rate:g}"
        words = [name, self.method.upper(), options.task, rate, f"{options.steps} steps", options.device]
        return ", ".join([*words, *options.overrides])


def job_of(overrides: list[str], folder: Path) -> tuple[TrainingJob, CellPlan]:
    """The training that the command line with `overrides` would make, working in `folder`."""
    hydra_app.register()
    with initialize_config_dir(str(hydra_app.configuration_folder()), version_base="1.3"):
        config = checked_config(compose("config", overrides=overrides))
    base = local_folder(config.model.path, config.model.trust_remote_code)
    config.engine.name = resolved_engine(config.engine.name)
    config.engine.max_model_len = max_model_len(config.engine.max_model_len, base)
    plan = CellPlan(config, cell_of(config, config), base)
    assert plan.model is not None
    job = plan.training_job(plan.model)
    return replace(job, work=str(folder / "run"), output=str(folder / "model")), plan


@dataclass
class Peak:
    """GiB of the device's memory: what PyTorch held in tensors and in all, and what was in use by anyone."""

    tensors: float = 0.0
    reserved: float = 0.0
    used: float = 0.0


@contextmanager
def measured(device: str) -> Iterator[Peak]:
    """The peak of what happens inside; zeros on a CPU."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            free, whole = torch.cuda.mem_get_info()
            peak.used = max(peak.used, (whole - free) / GIB)

    gc.collect()  # a trainer and its model hold each other
    if device == "cpu":
        yield peak
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak.tensors = torch.cuda.max_memory_allocated() / GIB
        peak.reserved = torch.cuda.max_memory_reserved() / GIB


@dataclass
class Trained:
    """A finished training: its report, its weights, their loss and that of the same in bfloat16."""

    report: TrainReport
    folder: Path
    loss: float
    rounded_loss: float
    peak: Peak


def trained(setting: Setting, precision: str, folder: Path, pool: EnginePool) -> Trained:
    """Train, published in float32 so that the masters can be compared."""
    job, _ = setting.job(folder, {**setting.values(), **PRECISIONS[precision]})
    with measured(setting.options.device) as peak:
        report = run_job(replace(job, dtype="float32"), pool)
    output, live = Path(job.output), LiveJob.of(job)
    losses = [loss_of(output, live, dtype) for dtype in (torch.float32, torch.bfloat16)]
    return Trained(report, output, *losses, peak)


@torch.inference_mode()
def loss_of(folder: Path, live: LiveJob, dtype: torch.dtype) -> float:
    """The mean loss on worked answers of finished weights in `dtype`, in nats a token, computed in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).float().to(live.job.device)
    total = tokens = 0.0
    for sample in live.samples[-OTHERS:]:
        example = live.form.example(sample.question, sample.answer)
        ids, start = torch.tensor([example.token_ids], device=live.job.device), len(example.prompt_ids)
        logits = model(ids).logits[0, start - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum"))
        tokens += len(example.answer_ids)
    return total / tokens


def compare(base: Path, reference: Path, other: Path) -> tuple[float, float, float]:
    """Of the change of all weights: its length and cosine against the reference's; the share that shows in bfloat16."""
    start, one, two = (Tensors(folder) for folder in (base, reference, other))
    ours = theirs = both = 0.0
    changed = weights = 0
    for name in one.names:
        before, expected, after = (tensors.find([name], "") for tensors in (start, one, two))
        assert before is not None
        assert expected is not None
        assert after is not None
        changed += int((after.bfloat16() != before.bfloat16()).sum())
        weights += after.numel()
        expected, after = ((each.flatten() - before.flatten().float()) for each in (expected, after))
        ours, theirs, both = (
            total + float(torch.dot(a, b))
            for total, a, b in ((ours, after, after), (theirs, expected, expected), (both, after, expected))
        )
    return (ours / theirs) ** 0.5, both / max(1e-30, (ours * theirs) ** 0.5), changed / weights


def row(precision: str, run: Trained, reference: Trained, base: Path) -> str:
    """A line of the table."""
    distance, cosine, in_bf16 = compare(base, reference.folder, run.folder)
    losses, expected = ([loss for _, loss in each.report.loss] for each in (run, reference))
    scale = sum(map(abs, expected)) / len(expected)
    last = abs(losses[-1] - expected[-1]) / max(abs(expected[-1]), 1e-12)
    curve = sum(abs(a - b) for a, b in zip(losses, expected, strict=True)) / len(losses) / max(scale, 1e-12)
    assert run.report.changed_weights is not None
    figures = [
        f"{losses[-1]:.4f}", f"{last:.1%}", f"{curve:.1%}", f"{run.loss:.4f}",
        f"{abs(run.loss - reference.loss) / reference.loss:.2%}", f"{run.rounded_loss:.4f}",
        f"{run.report.changed_weights['trained']:.1%}", f"{in_bf16:.1%}", f"{distance:.3f}", f"{cosine:.4f}",
        f"{run.peak.tensors:.1f}" if run.peak.tensors else "",
    ]  # fmt: skip
    return " | ".join(["", precision, *figures, ""]).strip()


def section(setting: Setting, pool: EnginePool) -> str:
    """The table of one model, method and rate."""
    lines, reference = list(HEAD), None
    _, plan = setting.job(Path(), {})
    Recorded.kept.clear()
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            grpo.Rollouts = Replayed if reference else Recorded  # type: ignore[misc]
            run = trained(setting, precision, Path(folder) / precision, pool)
            reference = reference or run
            lines.append(row(precision, run, reference, plan.base))
    return f"## {setting.title}\n\n" + "\n".join(lines) + "\n"


def memory(options: argparse.Namespace) -> None:
    """Print the peak of three steps of each method, the engine being asleep beside them."""
    pool = EnginePool()
    for method in options.methods:
        with tempfile.TemporaryDirectory() as folder:
            job, plan = Setting(options, method, None).job(Path(folder), {"max_steps": 3, "save_strategy": "no"})
            pool.live(plan.engine_spec, plan.base_model)
            with measured(options.device) as peak:
                report = run_job(job, pool)
        print(f"{method}: {report.steps} steps, {report.seconds:.1f} s, peak GiB: tensors {peak.tensors:.1f}, "
              f"reserved {peak.reserved:.1f}, in use on the device {peak.used:.1f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_options(parser)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--methods", nargs="+", default=["sft", "grpo"])
    parser.add_argument("--rates", nargs="+", type=float, default=[None])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("chattpl").setLevel(logging.INFO)
    if options.memory:
        memory(options)
        return
    grpo._reward = coin
    pool = EnginePool()
    for method in options.methods:
        for rate in options.rates:
            text = section(Setting(options, method, rate), pool)
            print(text, flush=True)
            replace_section(Path(__file__).with_suffix(".md"), INTRODUCTION, text)


if __name__ == "__main__":
    main()
