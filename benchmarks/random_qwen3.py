"""A model of a Qwen3's shape with random weights: its speed and its memory are the real one's, its answers noise.

    python benchmarks/random_qwen3.py {tiny,0.6b,1.7b,4b,8b,14b,32b} TOKENIZER FOLDER

TOKENIZER is a folder with a tokenizer and its chat template. Made on the GPU if there is one. `tiny` is no published
shape: it is for a CPU, and has as many tokens as the tokenizer. A FOLDER that exists is left as it is.
"""

import argparse
import shutil
import time
from pathlib import Path

import torch
from fits import SIZES, Size
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

TINY = Size("tiny", layers=4, hidden=192, intermediate=512, heads=6, key_values=2, tied=False)
SHAPES = {size.name.lower(): size for size in (TINY, *SIZES) if size.name not in ("0.5B", "72B")}  # these are Qwen2.5's
SHARD = "5GB"


def make(size: Size, tokenizer_folder: Path, folder: Path) -> int:
    """Leave the model in the folder, whole or not at all; the number of its parameters."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    shape = {**size.config, "vocab_size": len(tokenizer)} if size is TINY else size.config
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    config = Qwen3Config(
        **shape, tie_word_embeddings=size.tied, max_position_embeddings=1024 if size is TINY else 40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, bos_token_id=None, eos_token_id=ends[0],
        pad_token_id=ends[1], dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = ends, ends[1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, max_shard_size=SHARD)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return model.num_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=tuple(SHAPES))
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.folder.exists():
        return
    began = time.monotonic()
    parameters = make(SHAPES[options.size], options.tokenizer, options.folder)
    print(f"{options.folder}: {parameters:,} parameters, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
