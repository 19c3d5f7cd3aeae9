"""What exactly the model sees, token by token: `stage=preview`.

Needs a tokenizer; loads no weights and starts no engine. What is shown comes from the very functions that make the
training sets and the test set, and parity is checked between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from chattpl.errors import UserError
from chattpl.formats import Format
from chattpl.plan import CellPlan
from chattpl.tasks import Sample
from chattpl.tasks.loading import train_samples
from chattpl.training import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def make_preview(plan: CellPlan) -> dict[str, Any]:
    """The content of `preview.json`, for the first training and the first test sample.

    `parity` is true where SFT, rollouts and evaluation are given the same prompt, or says what differs.
    """
    from chattpl.training.data import loss_mask

    config, trained_in, tested_in = plan.config, plan.taught_format, plan.asked_format
    sample = train_samples(config.task, trained_in.fields.shots)[0]
    masking = config.train.masking if METHODS[config.train.method].learns_answers else "answer"
    example = trained_in.example(sample.question, sample.answer)
    asked = tested_in.prompt_ids(plan.samples[0].question)
    return {
        "train": {
            "text": plan.encoding.tokenizer.decode(example.token_ids),
            "token_ids": example.token_ids,
            "trained": loss_mask(example, masking),
        },
        "rollout": {"token_ids": _rollout_prompt(sample, trained_in)},
        "eval": {
            "text": plan.encoding.tokenizer.decode(asked),
            "token_ids": asked,
            "stop_token_ids": list(plan.stop.token_ids),
            "stop": list(plan.stop.strings),
        },
        "parity": _parity(sample, trained_in) or _parity(sample, tested_in) or True,
    }


def _rollout_prompt(sample: Sample, form: Format) -> list[int]:
    from chattpl.training.data import grpo_dataset

    prompt: list[int] = grpo_dataset([sample], form, longest_prompt=10**9).dataset[0]["prompt"]
    return prompt


def _parity(sample: Sample, form: Format) -> str | None:
    """What differs between the prompts of one sample in one format; None if nothing does."""
    from chattpl.evaluation import make_questions
    from chattpl.training.data import sft_dataset

    prompt = make_questions([sample], form, 1, 10**9).prompts[0]
    row = sft_dataset([sample], form, "answer", None).dataset[0]
    learnt_from = row["input_ids"][: row["labels"].count(-100)]
    if learnt_from != prompt:
        return _differ(form, "SFT", learnt_from, prompt)
    if (rolled_out := _rollout_prompt(sample, form)) != prompt:
        return _differ(form, "GRPO's rollouts", rolled_out, prompt)
    reference = form.reference_ids(sample.question)
    if reference is not None and reference != prompt:
        return _differ(form, "the tokenizer's own apply_chat_template", reference, prompt)
    return None


def _differ(form: Format, where: str, theirs: list[int], evaluated: list[int]) -> str:
    return f"format {form.name}: {where} has the prompt {theirs}, evaluation {evaluated}"


def print_preview(preview: dict[str, Any], tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """The preview in colour: green tokens carry the loss, grey ones are read only."""
    console = Console()
    train, evaluated = preview["train"], preview["eval"]
    learnt = sum(train["trained"])
    console.print(
        Panel(
            _tokens(tokenizer, train["token_ids"], train["trained"]),
            title=f"training: {len(train['token_ids'])} tokens, {learnt} of them (green) carry the loss",
        )
    )
    rollout = preview["rollout"]["token_ids"]
    console.print(Panel(_tokens(tokenizer, rollout, None), title=f"rollout: a prompt of {len(rollout)} tokens"))
    asked = evaluated["token_ids"]
    console.print(Panel(_tokens(tokenizer, asked, None), title=f"evaluation: a prompt of {len(asked)} tokens"))
    ends = ", ".join(f"{index}={tokenizer.decode([index])}" for index in evaluated["stop_token_ids"])
    console.print(Text(f"generation ends at {ends}; or after {evaluated['stop']}"))
    same = preview["parity"] is True
    verdict = "the same prompt in SFT, rollouts and evaluation" if same else str(preview["parity"])
    console.print(Text(f"parity: {verdict}", style="bold green" if same else "bold red"))
    console.print(Text(f"written: {path}"))
    if not same:
        raise UserError(f"parity: {verdict}")


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: list[int], trained: list[int] | None) -> Text:
    """Each token's text, and its id in small print behind it."""
    shown = Text()
    for place, index in enumerate(ids):
        token = tokenizer.decode([index]).replace("\n", "⏎")
        learnt = trained is not None and trained[place]
        shown.append(token, style="bold black on green" if learnt else "black on bright_white")
        shown.append(f"{index} ", style="dim")
        if "⏎" in token:
            shown.append("\n")
    return shown
