"""What a step of vLLM's costs by what is asked of it, through chattpl's engine.

    python benchmarks/rollouts.py MODEL_DIR [--tokens 320] [--groups 16]

16 prompts of 70 to 160 random tokens, 8 completions of each, all of the same length where the model has random weights:
as GRPO asks for them, then with one thing less at a time, then half of them, then four times as many greedily, as an
evaluation does. `VLLM_USE_V2_MODEL_RUNNER=1` or `0` chooses vLLM's model runner. Replaces its section in `rollouts.md`.
"""

import argparse
import os
import random
import time
from dataclasses import replace
from pathlib import Path

from sections import machine, made_with, replace_section

from chattpl.formats import StopPolicy
from chattpl.generation import Completion, Engine, EngineSpec, Sampling, max_model_len, resolved_device
from chattpl.generation.starting import start

INTRODUCTION = """# What a step of vLLM's costs

Made by `benchmarks/rollouts.py`: a step makes one token of every completion. Where the GPU's share of it is short, as
for small models, it is the processor that takes the time: scheduling, log-probabilities, stop strings.
"""
STRING = "\nQuestion:"
PER_PROMPT = 8


def prompts_of(groups: int, vocabulary: int) -> list[list[int]]:
    chance = random.Random(0)
    asked = [[chance.randrange(vocabulary // 2) for _ in range(chance.randint(70, 160))] for _ in range(groups)]
    return [prompt for prompt in asked for _ in range(PER_PROMPT)]


def completed(engine: Engine, prompts: list[list[int]], sampling: Sampling) -> tuple[float, list[Completion]]:
    """Seconds and completions; the second time counts, since the first chooses kernels."""
    engine.generate(prompts, sampling, 1)
    began = time.perf_counter()
    completions = engine.generate(prompts, sampling, 1)
    return time.perf_counter() - began, completions


def measured(engine: Engine, groups: int, tokens: int, vocabulary: int, stop: StopPolicy) -> list[str]:
    """A row for each way to ask."""
    prompts = prompts_of(groups, vocabulary)
    full = Sampling(tokens, 1.0, 1.0, replace(stop, strings=(STRING,)), logprobs=True)
    no_string, plain = replace(full, stop=stop), replace(full, stop=stop, logprobs=False)
    ways = {
        "as in GRPO": (prompts, full),
        "without a stop string": (prompts, no_string),
        "without log-probabilities": (prompts, plain),
        "greedy": (prompts, replace(plain, temperature=0.0)),
        "half as many, without a stop string": (prompts[: len(prompts) // 2], no_string),
        "greedy, four times as many": (prompts * 4, replace(full, temperature=0.0, logprobs=False)),
    }
    rows = []
    for name, (asked, sampling) in ways.items():
        seconds, completions = completed(engine, asked, sampling)
        lengths = [len(each.token_ids) for each in completions]
        rows.append(
            f"| {name} | {len(asked)} | {seconds:.2f} | {1000 * seconds / max(lengths):.2f} "
            f"| {sum(lengths) / seconds:,.0f} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=320)
    parser.add_argument("--groups", type=int, default=16)
    options = parser.parse_args()
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(options.model)
    ends = GenerationConfig.from_pretrained(options.model).eos_token_id
    stop = StopPolicy(token_ids=tuple(ends) if isinstance(ends, list) else (ends,), strings=())
    device = resolved_device("auto")
    began = time.perf_counter()
    engine = start(
        EngineSpec("vllm", device, "bfloat16", None, False, max_model_len(None, options.model)), options.model
    )
    up = time.perf_counter() - began
    rows = measured(engine, options.groups, options.tokens, config.vocab_size, stop)
    runner = {"1": "second", "0": "first"}.get(os.environ.get("VLLM_USE_V2_MODEL_RUNNER", ""), "chosen by vLLM")
    text = [
        f"## {options.model.name}, model runner: {runner}, {machine()}",
        "",
        f"{made_with()}. The engine was up after {up:.1f} s, its import included.",
        "",
        "| | completions | s | ms a step | tokens/s |",
        "|---|--:|--:|--:|--:|",
        *rows,
    ]
    replace_section(Path(__file__).with_suffix(".md"), INTRODUCTION, "\n".join(text) + "\n")
    os._exit(0)  # vLLM's threads have nothing more to do


if __name__ == "__main__":
    main()
