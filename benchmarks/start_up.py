"""How long vLLM takes to start, by how it is configured, and how fast it generates then.

    python benchmarks/start_up.py MODEL_DIR [--only "NAME;NAME"] [--quick] [--seconds 480]

Each candidate starts in a process of its own, first with empty caches of vLLM, Triton and Inductor, then with the ones
that it filled. The first start is also timed generating: 1,319 prompts of 100 to 200 random tokens with completions of
64 to 448 tokens, greedy, as an evaluation has them; and 128 rollouts of 290 tokens, 8 of a prompt, sampled with their
log-probabilities, as GRPO asks for them, drawn from the process's generator and with a seed for each.
`--quick` starts each candidate once and asks a quarter of the prompts; `--seconds` bounds the whole: what does not fit
any more is left out with a line. What needs a GPU is left out without one. Each start goes into `start_up.json`, from
which the section of this model in `start_up.md` is written anew.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sections import Figures, Page, machine
from training_tables import number, section

from chattpl.generation import EngineSpec, max_model_len, resolved_device
from chattpl.generation.llm_arguments import GRAPH_SIZES, llm_arguments
from chattpl.generation.llm_start import start_llm
from chattpl.generation.vllm import ENVIRONMENT

INTRODUCTION = """# vLLM's start

Made by `benchmarks/start_up.py`: seconds of each part of a start, first with empty caches, then with the ones that it
filled; and how fast it generates then. "decode graphs, few sizes" is what chattpl starts, for the architectures of
Qwen2, Qwen3 and Llama with vLLM's second model runner. On a GPU rollouts are the same in every section, 128 of 290
tokens; evaluations are not.
"""

CANDIDATES: dict[str, dict[str, Any]] = {
    "decode graphs, few sizes": {
        "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": GRAPH_SIZES}
    },
    "full graphs, few sizes": {
        "compilation_config": {"mode": 0, "cudagraph_mode": "FULL", "cudagraph_capture_sizes": GRAPH_SIZES}
    },
    "compiled, few sizes": {"compilation_config": {"cudagraph_capture_sizes": GRAPH_SIZES}},
    "decode graphs, all sizes": {"compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}},
    "eager": {"enforce_eager": True, "compilation_config": {}},
    "compiled, all sizes": {"compilation_config": {}},
    "decode graphs, runner 1": {
        "environment": {"VLLM_USE_V2_MODEL_RUNNER": "0"},
        "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": GRAPH_SIZES},
    },
}
WITHOUT_A_GPU = {"eager"}
PARTS = {
    "init_device": "device",
    "load_model": "weights",
    "determine_available_memory": "profile",
    "compile_or_warm_up_model": "capture",
}
COLUMNS = ["import", *PARTS.values(), "rest", "total"]
SPEEDS = ["evaluation tok/s", "rollouts s", "rollouts tok/s", "seeded rollouts s"]
CACHES = {"VLLM_CACHE_ROOT": "vllm", "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"}


def timed_parts(device: str) -> dict[str, float]:
    """The seconds that vLLM's worker spends in each part of its start, filled in while it starts."""
    from vllm.v1.worker import gpu_worker

    kinds = [gpu_worker.Worker]
    if device == "cpu":  # that module replaces CUDA's streams when it is imported
        from vllm.v1.worker import cpu_worker

        kinds.append(cpu_worker.CPUWorker)

    seconds = dict.fromkeys(PARTS.values(), 0.0)
    running: list[str] = []

    def timed(part: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if running:  # called by the same part of a subclass
                return function(*arguments, **named)
            running.append(part)
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds[part] += time.perf_counter() - began
                running.pop()

        return call

    for kind in kinds:
        for name, part in PARTS.items():
            if name in vars(kind):
                setattr(kind, name, timed(part, vars(kind)[name]))
    return seconds


def random_prompts(count: int, vocabulary: int) -> list[dict[str, list[int]]]:
    chance = random.Random(0)
    lengths = [chance.randint(100, 200) for _ in range(count)]
    return [{"prompt_token_ids": [chance.randrange(vocabulary) for _ in range(length)]} for length in lengths]


def seconds_of(llm: Any, prompts: list[Any], parameters: list[Any], times: int = 1) -> float:
    best = float("inf")
    for _ in range(times):
        llm.reset_prefix_cache()
        began = time.perf_counter()
        llm.generate(prompts, parameters, use_tqdm=False)
        best = min(best, time.perf_counter() - began)
    return best


def speeds(llm: Any, count: int, groups: int) -> dict[str, float]:
    from vllm import SamplingParams

    vocabulary = llm.llm_engine.model_config.get_vocab_size() // 2
    common = {"ignore_eos": True, "detokenize": False, "flat_logprobs": True}
    chance = random.Random(1)
    lengths = [chance.randint(64, 448) for _ in range(count)]
    greedy = [SamplingParams(temperature=0, max_tokens=length, **common) for length in lengths]
    prompts = random_prompts(count, vocabulary)
    seconds_of(llm, prompts[:8], greedy[:8])
    result = {"evaluation tok/s": sum(lengths) / seconds_of(llm, prompts, greedy)}
    length = 290 if count > 8 else 8
    asked = random_prompts(groups, vocabulary)
    sampled = [SamplingParams(n=8, max_tokens=length, logprobs=0, **common) for _ in asked]
    result["rollouts s"] = seconds_of(llm, asked, sampled, times=3)
    result["rollouts tok/s"] = groups * 8 * length / result["rollouts s"]
    seeded = [SamplingParams(max_tokens=length, logprobs=0, seed=seed, **common) for seed in range(groups * 8)]
    result["seeded rollouts s"] = seconds_of(llm, [each for each in asked for _ in range(8)], seeded, times=3)
    return result


def start_one(model: Path, name: str, count: int) -> dict[str, float]:
    """Start this candidate in this process; generate too, unless `count` is 0."""
    began = time.perf_counter()
    os.environ.update(ENVIRONMENT)
    device = resolved_device("auto")
    spec = EngineSpec("vllm", device, "bfloat16", None, False, min(max_model_len(None, model), 2048))
    import vllm  # noqa: F401

    row = {"import": time.perf_counter() - began}
    parts = timed_parts(device)
    candidate = {key: value for key, value in CANDIDATES[name].items() if key != "environment"}
    arguments = llm_arguments(model, spec) | candidate
    llm = start_llm({key: value for key, value in arguments.items() if value != {}})
    row |= {**parts, "total": time.perf_counter() - began}
    row["rest"] = row["total"] - sum(parts.values()) - row["import"]
    if count:
        row |= speeds(llm, count, groups=16 if device == "cuda" else 1)
    return row


def in_a_process(model: Path, name: str, count: int, caches: Path, limit: float) -> dict[str, float] | str:
    """The row of a start in a fresh process, or why there is none."""
    folders = {variable: str(caches / folder) for variable, folder in CACHES.items()}
    environment = {**os.environ, **folders, **CANDIDATES[name].get("environment", {})}
    result = caches / "row.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, __file__, str(model), "--start", name, "--count", str(count), "--row", str(result)]
    with (caches / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"stopped after {limit:.0f} s"
    if not result.is_file():
        lines = (caches / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if "Error" in line] or lines
        return f"failed: {errors[-1] if errors else process.returncode}"
    row: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return row


def measure(arguments: argparse.Namespace, names: list[str]) -> None:
    """Note each start as soon as it is known."""
    ends = time.monotonic() + arguments.seconds
    count = (330 if arguments.quick else 1319) if resolved_device("auto") == "cuda" else 8
    page = Page(Path(__file__).with_suffix(".md"), INTRODUCTION)
    title = f"{arguments.model.name}, {count} prompts, {machine()}"
    for name in names:
        with tempfile.TemporaryDirectory() as caches:
            for start in ("cold",) if arguments.quick else ("cold", "warm"):
                limit = min(200.0, ends - time.monotonic())
                asked = count if start == "cold" else 0
                row = "no time left" if limit < 20 else in_a_process(arguments.model, name, asked, Path(caches), limit)
                page.note(title, f"{name}, {start}", {"failed": row} if isinstance(row, str) else row, shown)


def shown(title: str, rows: dict[str, Figures]) -> str:
    """The section of a model."""
    digits = {"evaluation tok/s": ",.0f", "rollouts s": ".2f", "rollouts tok/s": ",.0f", "seeded rollouts s": ".2f"}

    def cell(key: str) -> Callable[[Figures], str]:
        return lambda row: number(row.get(key), digits.get(key, ".1f"))

    return section(title, {name: name for name in rows}, rows, {key: cell(key) for key in (*COLUMNS, *SPEEDS)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", help="names of candidates, with semicolons", default=";".join(CANDIDATES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=480)
    for hidden in ("--start", "--count", "--row"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        row = start_one(arguments.model, arguments.start, int(arguments.count))
        Path(arguments.row).write_text(json.dumps(row), encoding="utf-8")
        os._exit(0)
    names = arguments.only.split(";")
    if unknown := set(names) - set(CANDIDATES):
        parser.error(f"--only: no candidate is called {', '.join(sorted(unknown))}; there are {'; '.join(CANDIDATES)}")
    on_gpu = resolved_device("auto") == "cuda"
    for name in names:
        if not on_gpu and name not in WITHOUT_A_GPU:
            print(f"left out, it needs a GPU: {name}")
    measure(arguments, [name for name in names if on_gpu or name in WITHOUT_A_GPU])


if __name__ == "__main__":
    main()
