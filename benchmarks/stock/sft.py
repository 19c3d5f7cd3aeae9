"""Supervised fine-tuning with TRL as its documentation has it: TRL's defaults apart from what stands here.

    python benchmarks/stock/sft.py MODEL TRAIN.jsonl OUTPUT --steps 20 [--packing] [--no-checkpointing] [...]
        [--fields '{"seed": 0, "lr_scheduler_type": "cosine"}']

The file has a `prompt` and a `completion` on each line, both messages or both text; or `input_ids` and `labels`.
"""

import argparse
import json
from pathlib import Path

import torch
from clock import Clock, write_report
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-5)
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--loss-on-prompt", action="store_true")
    parser.add_argument("--autocast", action="store_true", help="compute in bfloat16 whatever the weights are")
    parser.add_argument("--no-cudnn-attention", action="store_true", help="PyTorch's own kernels: see curves.py")
    parser.add_argument("--fields", type=json.loads, default={}, help="more of SFTConfig's fields, as JSON")
    options = parser.parse_args()
    torch.backends.cuda.enable_cudnn_sdp(not options.no_cudnn_attention)
    config = SFTConfig(
        output_dir=str(options.output),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulation,
        learning_rate=options.rate,
        max_length=options.max_length,
        packing=options.packing,
        gradient_checkpointing=options.checkpointing,
        completion_only_loss=not options.loss_on_prompt,
        model_init_kwargs={"dtype": options.dtype},
        bf16=options.autocast or options.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options.fields,
    )
    clock = Clock()
    trainer = SFTTrainer(
        model=options.model,
        args=config,
        train_dataset=load_dataset("json", data_files=options.data, split="train"),
        callbacks=[clock],
    )
    trainer.train()
    trainer.save_model()
    write_report(options.output / "report.json", clock, trainer.state.log_history)


if __name__ == "__main__":
    main()
