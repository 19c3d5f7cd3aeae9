"""GRPO with TRL as its documentation has it: vLLM in the same process on a GPU, plain generation on a CPU.

    python benchmarks/stock/grpo.py MODEL TRAIN.jsonl OUTPUT --steps 6 --batch 16 --accumulation 4 [...]

The file has a `prompt` (messages or text) and the `gold` number on each line.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from clock import Clock, write_report
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer


def last_number_is_right(completions: list[Any], gold: list[str], **_: Any) -> list[float]:
    texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
    found = [re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", "")) for text in texts]
    return [float(bool(numbers) and numbers[-1] == right) for numbers, right in zip(found, gold, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--accumulation", type=int, default=8)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-completion-length", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1e-6)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    vllm = {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": 0.4,
        "vllm_enable_sleep_mode": True,
    }
    config = GRPOConfig(
        output_dir=str(options.output),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulation,
        num_generations=options.generations,
        max_completion_length=options.max_completion_length,
        learning_rate=options.rate,
        gradient_checkpointing=options.checkpointing,
        chat_template_kwargs={"enable_thinking": False},
        model_init_kwargs={"dtype": options.dtype},
        bf16=options.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **(vllm if torch.cuda.is_available() else {}),
    )
    clock = Clock()
    trainer = GRPOTrainer(
        model=options.model,
        args=config,
        reward_funcs=last_number_is_right,
        train_dataset=load_dataset("json", data_files=options.data, split="train"),
        callbacks=[clock],
    )
    trainer.train()
    trainer.save_model()
    write_report(options.output / "report.json", clock, trainer.state.log_history)


if __name__ == "__main__":
    main()
