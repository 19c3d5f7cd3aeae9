"""vLLM against plain transformers: the same prompts, greedy, and where they part.

    python benchmarks/engines.py MODEL_DIR GSM8K_DIR [--limit 50] [--max-tokens 128]

Both run in bfloat16 with kernels of their own, so logits differ in their last bits. Where two tokens are nearly tied
that decides between them, and the answers go separate ways from there. For each fork the script computes the two
tokens' logits in float32: a tie that bfloat16 can explain is a gap of at most a few of its steps (2^-8 of the
logit's size). Prints a table and writes it to `engines.md` beside this file; ends with status 1 where a fork is no tie.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from chattpl.basemodel import context_length, declared_eos_ids
from chattpl.formats import ChatFields, RawFields, make_format, stop_policy
from chattpl.generation import Engine, EngineSpec, Sampling
from chattpl.generation.starting import start
from chattpl.tasks.gsm8k import GSM8K

INSTRUCTION = "Think step by step. End with a line that holds '#### ' and the final number alone."
FORMATS = {
    "chat": ChatFields(template_kwargs={"enable_thinking": False}),
    "raw": RawFields(),
}
STEPS = 8  # of bfloat16, by which two roundings of a sum of many products may differ


def engines(folder: Path) -> list[Engine]:
    common = {"device": "cpu", "dtype": "bfloat16", "attn_implementation": None, "trust_remote_code": False}
    longest = min(context_length(folder), 2048)
    return [start(EngineSpec(name, max_model_len=longest, **common), folder) for name in ("vllm", "transformers")]


@torch.inference_mode()
def gap_in_steps(model: torch.nn.Module, context: list[int], one: int, two: int) -> float:
    """The gap between two tokens' float32 logits, in steps of bfloat16 at their size."""
    logits = model(torch.tensor([context])).logits[0, -1]
    size = max(abs(logits[one].item()), abs(logits[two].item()))
    return abs(logits[one] - logits[two]).item() / (size * 2**-8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("gsm8k", type=Path)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=128)
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    both = engines(arguments.model)
    reference = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    samples = GSM8K(str(arguments.gsm8k)).load_test()[: arguments.limit]
    lines = [
        "| format | answers | identical | tokens before a fork | forks | widest gap at a fork, bf16 steps |",
        "|---|---|---|---|---|---|",
    ]
    widest = 0.0
    for name, fields in FORMATS.items():
        form = make_format(name, fields, tokenizer, INSTRUCTION)
        stop = stop_policy(tokenizer, declared_eos_ids(arguments.model), [form.end_token_id], ["\nQuestion:"])
        sampling = Sampling(arguments.max_tokens, 0.0, 1.0, stop)
        prompts = [form.prompt_ids(sample.question) for sample in samples]
        one, two = ([c.token_ids for c in engine.generate(prompts, sampling, [0] * len(prompts))] for engine in both)
        gaps, agreed = [], 0
        for prompt, first, second in zip(prompts, one, two, strict=True):
            pairs = enumerate(zip(first, second, strict=False))
            fork = next((place for place, (a, b) in pairs if a != b), None)
            agreed += len(first) if fork is None else fork
            if fork is not None:
                gaps.append(gap_in_steps(reference, prompt + first[:fork], first[fork], second[fork]))
        widest = max([widest, *gaps])
        same = len(samples) - len(gaps)
        lines.append(f"| {name} | {len(samples)} | {same} | {agreed} | {len(gaps)} | {max(gaps, default=0):.2f} |")
    head = f"# vLLM against plain transformers\n\n{arguments.model.name}, GSM8K test, greedy, bfloat16, CPU, "
    text = head + f"at most {arguments.max_tokens} tokens.\n\n" + "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    sys.exit(widest > STEPS)


if __name__ == "__main__":
    main()
