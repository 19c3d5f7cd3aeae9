"""Plain transformers: slower than vLLM and without anything to install."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from chattpl import progress
from chattpl.generation.base import Completion, EngineSpec, LiveEngine, Sampling, drawing
from chattpl.hashing import seed_of

BATCH = 64


class TransformersEngine(LiveEngine):
    """`model.generate` on batches of prompts of similar length, padded on the left."""

    def __init__(self, folder: Path, spec: EngineSpec):
        super().__init__(folder, spec)
        self._device = spec.device
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
        self._model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, spec.dtype),
            attn_implementation=spec.attn_implementation,
            trust_remote_code=spec.trust_remote_code,
            use_safetensors=True,
        )
        self._model.generation_config = GenerationConfig()  # only `Sampling` says how tokens are chosen
        self._model.to(self._device).eval()

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]) -> list[Completion]:
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            own = [seeds, start] if isinstance(seeds, int) else [seeds[i] for i in batch]
            with drawing(seed_of(*own), self._device):
                completions = self._batch([prompts[i] for i in batch], sampling)
            done |= dict(zip(batch, completions, strict=True))
            progress.current().count_part(len(done), len(order))
        return [done[index] for index in range(len(prompts))]

    def _batch(self, prompts: list[list[int]], sampling: Sampling) -> list[Completion]:
        pad = next(iter(sampling.stop.token_ids))
        ids, mask = _left_padded(prompts, pad)
        ids, mask = ids.to(self._device), mask.to(self._device)
        sampled = sampling.temperature > 0
        config = GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            do_sample=sampled,
            temperature=sampling.temperature if sampled else None,
            top_p=sampling.top_p if sampled else None,
            top_k=0 if sampled else None,
            eos_token_id=list(sampling.stop.token_ids),
            pad_token_id=pad,
            stop_strings=list(sampling.stop.strings) or None,
        )
        output = self._model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, tokenizer=self._tokenizer
        )
        rows = output[:, ids.shape[1] :].tolist()
        completions = [self._completion(row, sampling) for row in rows]
        if not sampling.logprobs:
            return completions
        return [
            Completion(c.token_ids, c.stop_reason, self._logprobs(prompt, c.token_ids, sampling.temperature))
            for prompt, c in zip(prompts, completions, strict=True)
        ]

    def _completion(self, row: list[int], sampling: Sampling) -> Completion:
        """Cut a row of the batch where it ended: the rest is padding."""
        end = next((i for i, token in enumerate(row) if token in sampling.stop.token_ids), None)
        ids = row if end is None else row[: end + 1]
        text = self._decode(ids) if sampling.stop.strings else ""
        if any(string in text for string in sampling.stop.strings):
            return Completion(self._without_padding(ids, sampling), "stop")
        return Completion(ids, "length" if end is None else "eos")

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _without_padding(self, ids: list[int], sampling: Sampling) -> list[int]:
        """A row that a stop string ended is padded with an end token, which it did not generate itself."""
        while ids and ids[-1] in sampling.stop.token_ids:
            ids = ids[:-1]
        return ids

    def _logprobs(self, prompt: list[int], completion: list[int], temperature: float) -> list[float]:
        ids = torch.tensor([prompt + completion], device=self._device)
        logits = self._model(ids).logits[0, len(prompt) - 1 : -1].float() / (temperature or 1.0)
        chosen = ids[0, len(prompt) :, None]
        logprobs: list[float] = logits.log_softmax(-1).gather(-1, chosen)[:, 0].tolist()
        return logprobs

    def load_weights(self, weights: Path | Iterable[tuple[str, torch.Tensor]]) -> None:
        if isinstance(weights, Path):
            weights = [item for shard in sorted(weights.glob("*.safetensors")) for item in load_file(shard).items()]
        own = dict(self._model.named_parameters(remove_duplicate=False)) | dict(self._model.named_buffers())
        with torch.no_grad():
            for name, tensor in weights:
                own[name].copy_(tensor)
        self._model.to(self._device)
        self.loaded = None

    def sleep(self) -> None:
        if self._device != "cpu":
            self._model.to("cpu")
            torch.cuda.empty_cache()
            self.loaded = None

    def close(self) -> None:
        del self._model


def _left_padded(prompts: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, both of shape (prompts, longest prompt); padding is masked by length."""
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)
