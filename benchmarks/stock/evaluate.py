"""Greedy answers of one model from vLLM as its documentation has it, graded by their last number.

    python benchmarks/stock/evaluate.py MODEL TEST.jsonl OUTPUT.json [--max-tokens 512]

The file has a `prompt` (messages or text) and the `gold` number on each line.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from vllm import LLM, SamplingParams


def last_number(text: str) -> str | None:
    numbers = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
    return numbers[-1] if numbers else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--max-tokens", type=int, default=512)
    options = parser.parse_args()
    samples = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    prompts = [sample["prompt"] for sample in samples]
    # On a CPU vLLM's own share of the memory may not start, and compiling takes longer than it saves.
    memory: dict[str, Any] = {} if torch.cuda.is_available() else {
        "kv_cache_memory_bytes": 2**30, "enforce_eager": True
    }  # fmt: skip
    llm = LLM(model=options.model, dtype="bfloat16", **memory)
    if isinstance(prompts[0], str):
        sampling = SamplingParams(temperature=0, max_tokens=options.max_tokens, stop=["Question:"])
        outputs = llm.generate(prompts, sampling)
    else:
        sampling = SamplingParams(temperature=0, max_tokens=options.max_tokens)
        outputs = llm.chat(prompts, sampling, chat_template_kwargs={"enable_thinking": False})
    texts = [output.outputs[0].text for output in outputs]
    right = [last_number(text) == sample["gold"] for text, sample in zip(texts, samples, strict=True)]
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    result = {"accuracy": sum(right) / len(right), "tokens": tokens, "outputs": texts}
    options.output.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
