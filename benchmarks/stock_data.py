"""What the stock scripts are given: the model, the questions and the hyperparameters of a command line of chattpl."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import gpu
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from chattpl import hydra_app
from chattpl.config import checked_config
from chattpl.tasks import Sample
from chattpl.tasks.loading import test_samples, train_samples


@dataclass(frozen=True)
class Composed:
    """A command line's configuration: `config` as chattpl checked it, `formats` as plain values."""

    config: Any
    formats: DictConfig

    @classmethod
    def of(cls, overrides: list[str]) -> "Composed":
        """Compose it as `python -m chattpl.main OVERRIDES` does."""
        hydra_app.register()
        with initialize_config_dir(str(hydra_app.configuration_folder()), version_base="1.3"):
            composed = compose("config", overrides=overrides)
        return cls(checked_config(composed), composed.formats)

    def question(self, sample: Sample, form: str) -> Any:
        """The question with its instruction: messages where the format is a chat, else text."""
        fields, asked = self.formats[form], sample.question
        if self.config.task.instruction:
            asked = f"{asked}\n{self.config.task.instruction}"
        text = fields.prompt.replace("{question}", asked)
        return [{"role": "user", "content": text}] if fields.kind == "chat" else text

    def answer(self, sample: Sample, form: str) -> Any:
        """The worked answer, as a message or as text."""
        fields = self.formats[form]
        if fields.kind == "chat":
            return [{"role": "assistant", "content": sample.answer}]
        return fields.answer_prefix + sample.answer

    def write(self, folder: Path) -> None:
        """`train.FORMAT.jsonl` and `test.FORMAT.jsonl` for the formats chat and raw."""
        splits = {"train": train_samples(self.config.task), "test": test_samples(self.config.task)}
        for split, samples in splits.items():
            for form in ("chat", "raw"):
                rows = (
                    {
                        "prompt": self.question(sample, form),
                        "completion": self.answer(sample, form),
                        "gold": sample.gold,
                    }
                    for sample in samples
                )
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (folder / f"{split}.{form}.jsonl").write_text(text, encoding="utf-8")

    def training(self, method: str) -> list[str]:
        """The hyperparameters that a user takes over into the stock script of this method, as its arguments."""
        fields = {"sft": self.config.sft, "grpo": self.config.grpo}[method]
        names = {
            "batch": "per_device_train_batch_size",
            "accumulation": "gradient_accumulation_steps",
            "rate": "learning_rate",
            "max-length": "max_length",
            "generations": "num_generations",
            "max-completion-length": "max_completion_length",
        }
        values = [f"--{ours}={fields[name]}" for ours, name in names.items() if name in fields]
        if gpu():
            return values
        # Where a CPU trains in float32, so does whoever writes the script; nor is there memory to save.
        return [*values, f"--dtype={self.config.model.train_dtype}", "--no-checkpointing"]
