"""How fast the GPUs of a machine pass weights and gradients to each other.

    python benchmarks/link.py [--gpus N] [--mib 1024]

As many processes as there are visible GPUs, each with a card of its own, as a training with `gpus=N` has them; without
a GPU two processes on the CPU. They gather bfloat16 weights and add up float32 gradients as FSDP2 does, `--mib` of them
at a time. Prints how `nvidia-smi` says that the cards are linked, and replaces its section in `link.md`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from commands import environment, gpu
from sections import machine, made_with, replace_section

from chattpl.generation.cards import VISIBLE, visible_cards
from chattpl.ranks import BACKENDS

INTRODUCTION = """# From card to card

Made by `benchmarks/link.py`: each process has a card of its own. Gigabytes a second are those that each card receives,
the best of five times.
"""
TIMES = 5
MIB = 2**20


def rank(number: int, count: int, meeting: str, mib: int) -> None:
    """One of the processes; the first prints a row of the table for each operation."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = f"file://{meeting}/meeting"
    dist.init_process_group(BACKENDS[device.type], init_method=where, rank=number, world_size=count)
    elements = mib * MIB // 4 // count * count
    gradients = torch.zeros(elements, device=device)
    weights = torch.zeros(2 * elements, device=device, dtype=torch.bfloat16)
    some, few = (torch.zeros_like(each[: each.numel() // count]) for each in (weights, gradients))
    others = gradients.nbytes * (count - 1) / count  # weights take as many bytes
    for name, run, received in (
        ("weights gathered", lambda: dist.all_gather_into_tensor(weights, some), others),
        ("gradients shared out", lambda: dist.reduce_scatter_tensor(few, gradients), others),
        ("gradients added up", lambda: dist.all_reduce(gradients), 2 * others),
    ):
        seconds = min(timed(run, device) for _ in range(TIMES))
        if number == 0:
            print(f"| {name} | {1000 * seconds:.1f} | {received / seconds / 1e9:.1f} |", flush=True)
    dist.destroy_process_group()


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds from when all are there until this process is through."""
    dist.barrier()
    wait(device)
    began = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """For the device to be at rest."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def links() -> list[str]:
    """What the driver says of the cards' links, as a block of text."""
    if not shutil.which("nvidia-smi"):
        return []
    asked = subprocess.run(["nvidia-smi", "topo", "-m"], capture_output=True, text=True, check=False).stdout
    return ["", "```text", *(line.rstrip() for line in asked.splitlines() if line[:3] in ("GPU", "   ", "\tGP")), "```"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--page", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--meeting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        rank(options.rank, options.gpus, options.meeting, options.mib)
        return
    cards = visible_cards()
    count = options.gpus or max(len(cards), 2)
    with tempfile.TemporaryDirectory() as meeting:
        command = [sys.executable, __file__, f"--gpus={count}", f"--mib={options.mib}", f"--meeting={meeting}"]
        processes = [
            subprocess.Popen(
                [*command, f"--rank={number}"],
                env={**environment(), **({VISIBLE: cards[number]} if cards else {})}, stdout=subprocess.PIPE, text=True,
            )
            for number in range(count)
        ]  # fmt: skip
        printed = [each.communicate()[0] for each in processes]
    if any(each.returncode for each in processes):
        sys.exit("a process failed")
    what = f"{count} x {gpu()}" if cards else f"{count} processes, {machine()}"
    lines = [f"## {what}, {options.mib} MiB", "", f"{made_with()}.", "", "| | ms | GB/s |", "|---|--:|--:|"]
    section = "\n".join([*lines, *printed[0].splitlines(), *links()]) + "\n"
    replace_section(options.page, INTRODUCTION, section)
    print(section)


if __name__ == "__main__":
    main()
