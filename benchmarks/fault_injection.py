"""The default sweep, killed again and again, against the same sweep left alone.

    python benchmarks/fault_injection.py [--kills 24] [--seed 0] [OVERRIDE ...]     SIGKILL at moments of every kind
    python benchmarks/fault_injection.py --race [OVERRIDE ...]                      two sweeps at once
    python benchmarks/fault_injection.py --disk-full [OVERRIDE ...]                 a disk that fills up (needs root)

Every command is a process of its own, as a user starts it. Afterwards each model must have been published once, every
answer and figure must be that of the undisturbed sweep, the weights byte for byte, and nothing else may lie in the
published folders. Writes its part of `fault_injection.md` beside this file; ends with status 1 if anything differs.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from commands import start

SWEEP = ["-m", "experiment=glob(*)", "eval.format=chat,raw"]
# The embedded model as it comes, with fewer steps and questions: what is killed is the same, only shorter.
SHORTER = [
    "sft.max_steps=40", "sft.save_steps=5", "grpo.max_steps=8", "grpo.save_steps=2", "task.test_limit=100",
    "eval.max_tokens=64", "eval.batch_size=25",
]  # fmt: skip
VOLATILE = {"seconds", "tokens_per_second", "versions"}
KINDS = {
    "starting": 2,
    "training": 6,
    "writing a checkpoint": 4,
    "publishing a model": 3,
    "evaluating": 4,
    "publishing a cell": 3,
    "reporting": 3,
}


@dataclass
class Sweep:
    """A sweep in a folder of its own, started as often as need be."""

    folder: Path
    overrides: list[str]
    output_root: Path
    logs: list[Path] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)

    def start(self) -> subprocess.Popen:
        self.logs.append(self.folder / f"{self.output_root.name}-{len(self.logs)}.log")
        arguments = [*SWEEP, f"output_root={self.output_root}", *self.overrides]
        with self.logs[-1].open("w") as log:
            return start(arguments, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)

    def run(self) -> int:
        status = self.start().wait()
        self.note()
        return status

    def note(self) -> None:
        """Remember which file each finished artifact's manifest is: one that is done anew would be another."""
        for manifest in (*self.find("models/*/train.json"), *self.find("eval/*/summary.json")):
            name, inode = str(manifest.parent.relative_to(self.study)), manifest.stat().st_ino
            if self.published.setdefault(name, inode) != inode:
                self.replaced.append(name)

    @property
    def study(self) -> Path:
        return next(iter(self.output_root.glob("[!.]*")), self.output_root / "none")

    def where(self) -> str:
        """Engine and device of a finished sweep."""
        summary, trained = (
            json.loads(self.find(pattern)[0].read_text()) for pattern in ("eval/*/summary.json", "models/*/train.json")
        )
        return f"{summary['engine']} on {trained['device']}"

    def find(self, pattern: str) -> list[Path]:
        return list(self.study.glob(pattern))

    def printed(self) -> str:
        return "".join(log.read_text() for log in self.logs)


# --- the kills


def moment(sweep: Sweep, kind: str, draw: random.Random) -> Callable[[], bool]:
    """A condition that holds at a moment of this kind; drawn anew for each kill."""
    began, delay = time.time(), draw.random()
    half_written = ("model.safetensors", "optimizer.pt", "rng_state.pth")[draw.randrange(3)]
    saved = draw.choice(["config.json", "model.safetensors", "train.json"])
    written = draw.choice(["results.json", "summary.json"])
    return {
        "starting": lambda: time.time() > began + 12 * delay,
        "training": _after(lambda: sweep.find(".work/models/*/run"), 4 * delay),
        "writing a checkpoint": lambda: any(
            not (path.parent / "trainer_state.json").exists()
            for path in sweep.find(f".work/models/*/run/checkpoint-*/{half_written}")
        ),
        "publishing a model": lambda: sweep.find(f".work/models/*/staged/{saved}"),
        "evaluating": _after(lambda: sweep.find(".work/eval/*/answers*.jsonl"), delay / 2),
        "publishing a cell": lambda: sweep.find(f".work/eval/*/staged/{written}"),
        "reporting": _after(lambda: [f for f in sweep.find("report/*") if f.stat().st_mtime > began], delay / 2),
    }[kind]


def _after(condition: Callable[[], object], delay: float) -> Callable[[], bool]:
    """The condition has held for `delay` seconds."""
    since: list[float] = []

    def holds() -> bool:
        if not since and condition():
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= delay

    return holds


def kill_at(sweep: Sweep, kind: str, draw: random.Random) -> bool:
    """Start the sweep and kill it at such a moment. False where it was through before."""
    process, condition = sweep.start(), moment(sweep, kind, draw)
    while process.poll() is None:
        try:
            if condition():
                process.kill()
                process.wait()
                sweep.note()
                return True
        except FileNotFoundError:  # it went on between two looks
            continue
        time.sleep(0.002)
    sweep.note()
    return False


def order(kills: int, draw: random.Random) -> list[str]:
    """Which kind comes when. There is a report only when the rest is done, so that comes last."""
    kinds = [kind for kind, share in KINDS.items() for _ in range(share) if kind != "reporting"]
    draw.shuffle(kinds)
    last = ["reporting"] * KINDS["reporting"]
    return [*(kinds * (kills // len(kinds) + 1))[: kills - len(last)], *last]


def kills(folder: Path, overrides: list[str], undisturbed: Sweep, arguments: argparse.Namespace) -> tuple[str, bool]:
    draw = random.Random(arguments.seed)
    sweep = Sweep(folder, overrides, folder / "killed")
    counts: Counter[str] = Counter()
    for kind in order(arguments.kills, draw):
        if kill_at(sweep, kind, draw):
            counts[kind] += 1
            print(f"killed while {kind}, {len(sweep.published)} artifacts are there", flush=True)
    status = sweep.run()
    rows = [f"| {kind} | {counts[kind]} |" for kind in KINDS]
    table = "\n".join(["| killed while | times |", "|---|---|", *rows, f"| **all** | **{counts.total()}** |"])
    verdict, same = compare(sweep, undisturbed, status)
    enough = counts.total() >= min(20, arguments.kills)
    told_how = f"SIGKILL {counts.total()} times (seed {arguments.seed}), started again each time."
    title = f"## Killed: {undisturbed.where()}\n\n{told_how}"
    return f"{title}\n\n{table}\n\n{verdict}", same and enough


# --- the other two


def race(folder: Path, overrides: list[str], undisturbed: Sweep, _: argparse.Namespace) -> tuple[str, bool]:
    sweep = Sweep(folder, overrides, folder / "raced")
    both = [sweep.start() for _ in range(2)]
    status = max(process.wait() for process in both)
    sweep.note()
    done = [tuple(map(int, found)) for found in re.findall(r"(\d+) trained, (\d+) evaluated", sweep.printed())]
    rows = [f"| {number} | {trained} | {evaluated} |" for number, (trained, evaluated) in enumerate(done, 1)]
    table = "\n".join(["| sweep | trained | evaluated |", "|---|---|---|", *rows])
    verdict, same = compare(sweep, undisturbed, status)
    once = [sum(column) for column in zip(*done, strict=True)] == [5, 12]
    title = f"## Raced: {undisturbed.where()}\n\nTwo sweeps, started at once in one folder."
    return f"{title}\n\n{table}\n\n{verdict}", same and once


def disk_full(folder: Path, overrides: list[str], undisturbed: Sweep, _: argparse.Namespace) -> tuple[str, bool]:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    sweep, rows, clear, size = Sweep(folder, overrides, disk / "outputs"), [], True, 2
    try:
        while (status := sweep.run()) != 0:
            printed = sweep.logs[-1].read_text()
            clear &= "no space left" in printed and "Traceback" not in printed and size < 4096
            rows.append(f"| {size} | {status} | {len(sweep.published)} of 17 |")
            if not clear:
                break
            size *= 2
            subprocess.run(["mount", "-o", f"remount,size={size}m", disk], check=True)
        rows.append(f"| {size} | {status} | {len(sweep.published)} of 17 |")
        verdict, same = compare(sweep, undisturbed, status)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    table = "\n".join(["| size of the disk, MiB | exit status | finished |", "|---|---|---|", *rows])
    told_how = "The same command on a disk that fills up, each time it failed on one twice the size."
    title = f"## Out of space: {undisturbed.where()}\n\n{told_how}"
    told = f"- every failure reported as one line, `no space left`, without a traceback: {_yes(clear)}"
    return f"{title}\n\n{table}\n\n{verdict}\n{told}", same and clear


# --- the comparison


def compare(sweep: Sweep, undisturbed: Sweep, status: int) -> tuple[str, bool]:
    """What must hold, as a list in Markdown, and whether all of it does."""
    counted = Counter(re.findall(r"trained (\S+) in", sweep.printed()))
    own, other = contents(sweep), contents(undisturbed)
    identical = [name for name in other["weights"] if own["weights"].get(name) == other["weights"][name]]
    checks = {
        "the last command ended with status 0": status == 0,
        "each of the 17 artifacts was published once and stayed": len(sweep.published) == 17 and not sweep.replaced,
        "no training was completed twice": all(times == 1 for times in counted.values()),
        "every figure is that of the undisturbed sweep": own["figures"] == other["figures"],
        "every answer is": own["results"] == other["results"],
        "the published folders hold the same files": own["files"] == other["files"],
        "nothing but locks is left of the work": not own["left"],
        f"the weights are identical byte for byte ({len(identical)} of {len(other['weights'])} models)": (
            len(identical) == len(other["weights"])
        ),
    }
    for name in sorted(other["weights"].keys() - set(identical)):
        print(f"other weights: {name}")
    for name in own["left"]:
        print(f"left over: {name}")
    return "\n".join(f"- {check}: {_yes(holds)}" for check, holds in checks.items()), all(checks.values())


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def contents(sweep: Sweep) -> dict:
    """What a finished study holds, apart from times."""
    summaries = {path.parent.name: json.loads(path.read_text()) for path in sweep.find("eval/*/summary.json")}
    return {
        "figures": {name: {k: v for k, v in s.items() if k not in VOLATILE} for name, s in summaries.items()},
        "results": {path.parent.name: path.read_bytes() for path in sweep.find("eval/*/results.json")},
        "weights": {path.parent.name: path.read_bytes() for path in sweep.find("models/*/*.safetensors")},
        "files": set(_files(sweep.study, "models")) | set(_files(sweep.study, "eval")),
        "left": [name for name in _files(sweep.study, ".work") if not name.endswith((".lock", ".lock.holder"))],
    }


def _files(study: Path, folder: str) -> Iterator[str]:
    return (str(path.relative_to(study)) for path in (study / folder).rglob("*") if path.is_file())


def write_part(text: str) -> None:
    """Replace one part of the page, which is known by its heading."""
    page = Path(__file__).with_suffix(".md")
    head = "# A sweep that is disturbed\n\n`python benchmarks/fault_injection.py`, `--race`, `--disk-full`.\n"
    old = page.read_text() if page.exists() else head
    first, *parts = re.split(r"\n(?=## )", old)
    heading = text.partition("\n")[0]
    parts = [part for part in parts if part.partition("\n")[0] != heading]
    page.write_text("\n".join([first.rstrip("\n") + "\n", *sorted([*parts, text + "\n"])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=sum(KINDS.values()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--race", action="store_true")
    parser.add_argument("--disk-full", action="store_true")
    parser.add_argument("overrides", nargs="*", default=[])
    arguments = parser.parse_args()
    variant = race if arguments.race else disk_full if arguments.disk_full else kills
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        overrides = [*SHORTER, *arguments.overrides]
        undisturbed = Sweep(Path(name), overrides, Path(name) / "undisturbed")
        assert undisturbed.run() == 0, undisturbed.printed()
        alone = time.monotonic() - began
        text, passed = variant(Path(name), overrides, undisturbed, arguments)
    minutes = (time.monotonic() - began - alone) / 60
    text += f"\n\n{minutes:.1f} minutes, left alone {alone / 60:.1f}; `{' '.join(overrides)}`."
    print(text)
    write_part(text)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
