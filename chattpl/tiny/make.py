"""Makes the embedded model from nothing: `python -m chattpl.tiny.make [--out DIR] [--seed 0] [--scale 1]`.

    tokenizer           byte-level BPE of 832 entries, digits one by one, from 20,000 documents
    pre-training        567 steps of 256 x 512 tokens (74M), drawn from 800,000 documents (61M tokens)
    instruction tuning  400 steps of 128 x 512 tokens (26M), drawn from 200,000 documents (18M tokens)

The documents are made by code (`chattpl.tiny.data`) and none is the task's. All losses are over all tokens. The model
in `model/` has 1.7M parameters, seed 0, and took 57 seconds on one H100 with 16 cores; two cores without a GPU would
need hours. The same seed gives the same text and tokenizer everywhere, and weights of the same kind, not the same
bits. `--scale 0.0004` runs the same steps in half a minute on two cores, to a model of the same shape that has learnt
next to nothing.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from chattpl import vectormath
from chattpl.tiny.data import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    Corpus,
    encode,
    instruction_document,
    pretraining_document,
    tokenizer_texts,
)

MODEL_FOLDER = Path(__file__).with_name("model")
VOCABULARY_SIZE = 832
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
# Words and signs take the blank before them along; digits and line breaks stand alone.
PRE_TOKENS = r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Stage:
    """One stage of the training: `steps` times `batch` blocks of `block` tokens, from `documents` documents."""

    name: str
    document: Callable[[Random], str]
    documents: int
    steps: int
    batch: int
    learning_rate: float
    block: int = 512

    def scaled(self, scale: float) -> "Stage":
        """The same stage with about `scale` times the tokens: fewer documents, fewer steps, smaller batches."""
        root = math.sqrt(scale)
        return replace(
            self,
            documents=max(200, round(self.documents * scale)),
            steps=max(2, round(self.steps * root)),
            batch=max(2, round(self.batch * root)),
        )


# More pre-training makes the blunt answers right too, and the experiment dull.
STAGES = (
    Stage("pre-training", pretraining_document, documents=800_000, steps=567, batch=256, learning_rate=3e-3),
    Stage("instruction tuning", instruction_document, documents=200_000, steps=400, batch=128, learning_rate=1e-3),
)


def make_tokenizer(seed: int, documents: int = 20_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE without a beginning-of-text token; any unicode text comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    special, plain = (END_OF_TEXT, TURN_START, TURN_END), ("<think>", "</think>")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(special) - len(plain),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_texts(documents, seed), trainer)
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in plain])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE.read_text(),
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights in float32; heads of 32, the least that vLLM takes on a CPU."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id], pad_token_id=tokenizer.pad_token_id
    )
    return model


def train(model: Qwen3ForCausalLM, corpus: Corpus, stage: Stage, seed: int) -> list[float]:
    """Train on all tokens of blocks that begin where a document begins; returns the loss of each step.

    AdamW, a warm-up over the first twentieth, then a cosine down to zero; bf16 autocast where there is a GPU.
    """
    optimizer = torch.optim.AdamW(model.parameters(), stage.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    warm_up = max(1, stage.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / stage.steps))
    )
    losses: list[torch.Tensor] = []
    begin = time.perf_counter()
    for step, ids in enumerate(_batches(corpus, stage, seed), start=1):
        ids = ids.to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type != "cpu"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.detach())
        if step % max(1, stage.steps // 10) == 0:
            seconds = time.perf_counter() - begin
            print(f"{stage.name}: step {step} of {stage.steps}, loss {losses[-1]:.3f}, {seconds:.0f} s", flush=True)
    by_step: list[float] = torch.stack(losses).tolist()
    return by_step


def _batches(corpus: Corpus, stage: Stage, seed: int) -> Iterator[torch.Tensor]:
    rng = np.random.default_rng(seed)
    starts = corpus.starts[corpus.starts <= len(corpus.ids) - stage.block]
    for _ in range(stage.steps):
        rows = rng.choice(starts, stage.batch)[:, None] + np.arange(stage.block)
        yield torch.from_numpy(corpus.ids[rows].astype(np.int64))


def make(out: Path, seed: int = 0, scale: float = 1.0, device: str = "auto") -> dict[str, list[float]]:
    """Make the model and save it in the folder `out`; returns the loss of each step, by stage."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stages = [stage.scaled(scale) for stage in STAGES]
    tokenizer = make_tokenizer(seed, documents=max(2000, round(20_000 * scale)))
    # All text comes first, because it is made in forked processes, which must not inherit a GPU.
    corpora = [_corpus(stage, tokenizer, seed) for stage in stages]
    vectormath.settle()
    torch.manual_seed(seed)
    model = make_model(tokenizer).to(device)
    losses = {stage.name: train(model, corpus, stage, seed) for stage, corpus in zip(stages, corpora, strict=True)}
    save(model, tokenizer, out)
    return losses


def _corpus(stage: Stage, tokenizer: PreTrainedTokenizerFast, seed: int) -> Corpus:
    corpus = encode(stage.document, stage.documents, f"{stage.name} {seed}", tokenizer.backend_tokenizer.to_str())
    print(f"{stage.name}: {len(corpus.starts):,} documents, {len(corpus.ids):,} tokens", flush=True)
    return corpus


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the Hugging Face folder, the weights in bf16."""
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded model.")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    begin = time.perf_counter()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # tokenizers warns when a process that used it forks
    make(options.out, options.seed, options.scale, options.device)
    print(f"{options.out} made in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    _main()
