"""The fields of `train.json`: what decided a model, and how its training went."""

from dataclasses import dataclass
from typing import Any

from chattpl.records import Record


@dataclass(frozen=True, kw_only=True)
class Curves(Record):
    """The course of a training; part of `train.json`.

    Attributes:
        seconds: those before an interruption included.
        steps: optimizer steps.
        device, hardware, threads, gpus, gpu_share: on what it was computed, after the last interruption; `gpus`
            processes of which each has a card or a part of one, or a part of the CPU.
        tokens: seen (SFT) or generated (GRPO).
        trained_parameters: how many; with LoRA those of the adapter.
        changed_weights: the share of the weights that differ from the base's, "trained" (in the optimizer's precision)
            and "published" (rounded to `model.dtype`); null where the base's files name the weights otherwise.
        relative_distance: ||w - w0|| / ||w0|| over all weights w, the base's being w0; likewise.
        loss, mean_reward: `[step, value]` for each log entry that holds it.
        truncated_rate: of the rollouts, those that ran into `grpo.max_completion_length`.
        discarded_rate: of the rollouts, those that the importance-sampling correction gave the weight 0; where it
            weighs tokens, the mean share of their tokens. None where nothing is corrected.
        uniform_group_rate: of the groups of rollouts, those whose rewards are all the same, which teach nothing.
        truncated, discarded, uniform_groups: the curves of these rates, as that of the loss.
        log: everything that the trainer logged.
    """

    seconds: float
    steps: int
    resumed_from_step: int | None
    device: str
    hardware: str
    threads: int
    gpus: int
    samples: int
    dropped_samples: int
    tokens: int
    tokens_per_second: float
    end_token: dict[str, Any]
    trained_parameters: int
    changed_weights: dict[str, float] | None
    relative_distance: dict[str, float] | None
    loss: list[list[float]]
    log: list[dict[str, Any]]
    gpu_share: float = 1.0
    mean_reward: list[list[float]] | None = None
    truncated_rate: float | None = None
    discarded_rate: float | None = None
    uniform_group_rate: float | None = None
    truncated: list[list[float]] | None = None
    discarded: list[list[float]] | None = None
    uniform_groups: list[list[float]] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainReport(Curves):
    """`train.json`: everything that decided the model (`fingerprint` is its SHA-256), and the training's course.

    `weights` is the SHA-256 of what came out of it: a machine that rounds differently makes other weights of the same.
    """

    schema: int
    fingerprint: str
    inputs: dict[str, Any]
    weights: str
    versions: dict[str, Any]
