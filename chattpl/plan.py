"""What a cell is made of: its folders, its inputs, its formats and engine. Nothing is loaded or done here."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chattpl import basemodel, hub
from chattpl.artifacts import Artifact, read_manifest
from chattpl.cell import Cell
from chattpl.encoding import Encoding
from chattpl.errors import UserError
from chattpl.formats import Format, StopPolicy
from chattpl.generation import EngineSpec, resolved_device
from chattpl.generation.pool import Model
from chattpl.hashing import digest
from chattpl.progress import Work
from chattpl.schema import Config
from chattpl.tasks import Sample
from chattpl.tasks.config import TaskConfig
from chattpl.tasks.loading import (
    SPLITS,
    examples,
    grader_fingerprint,
    questions_fingerprint,
    reward_fingerprint,
    samples_fingerprint,
    train_samples,
)
from chattpl.training import METHODS
from chattpl.training.job import TrainingJob
from chattpl.training.lora_fields import adapter_fields


class CellPlan:
    """One cell, as far as it is known before anything is computed.

    Args:
        config: checked, with `engine.name` and `engine.max_model_len` resolved.
        cell: the one that `config` asks for.
        base: folder of the base model.
    """

    def __init__(self, config: Config, cell: Cell, base: Path):
        self.config = config
        self.cell = cell
        self.base = base
        self.method = METHODS[cell.method]
        self.study = Path(config.output_root) / config.study
        self.folder = self.study / "eval" / cell.eval_name
        self.encoding = Encoding(base, config.model.trust_remote_code)

    @functools.cached_property
    def model(self) -> Artifact | None:
        """The trained model; None for the untrained one."""
        if not self.method.trains:
            return None
        task, form, name = self.config.task, self.config.train.format, self.cell.model_name
        data = samples_fingerprint(train_samples(task, self.config.formats[form].shots))
        content = {"base": self.base_model.fingerprint, "data": data, **self._examples(task, form)}
        if self.method.rolls_out:
            content["reward"] = reward_fingerprint(task)
        inputs = self._with_device({**content, **self.cell.model_keys}, self.study / "models" / name / "train.json")
        return Artifact.at(self.study, "models", name, "train.json", inputs, f"the training of {name}")

    @functools.cached_property
    def evaluation(self) -> Artifact:
        """The evaluation of the model."""
        shown = self._examples(self.config.asked, self.config.eval.format)
        questions = questions_fingerprint(self.samples)
        content = {"model": self.asked_model.fingerprint, "questions": questions, **shown}
        inputs = self._with_device({**content, **self.cell.eval_keys}, self.folder / "summary.json")
        return self._evaluation_of(inputs)

    def kept_evaluation(self) -> Artifact:
        """The evaluation that lies there, whatever its inputs.

        Raises:
            UserError: there is none.
        """
        summary = read_manifest(self.folder / "summary.json")
        if summary is None:
            raise UserError(f"stage=grade: {self.cell.eval_name} has no answers yet; run stage=all or stage=eval first")
        return self._evaluation_of(summary["inputs"])

    def _evaluation_of(self, inputs: Mapping[str, Any]) -> Artifact:
        name = self.cell.eval_name
        return Artifact.at(self.study, "eval", name, "summary.json", inputs, f"the evaluation of {name}")

    @functools.cached_property
    def grader(self) -> str:
        """The fingerprint of what grades the answers: code and gold answers."""
        return grader_fingerprint(self.config.asked, self.samples)

    def _with_device(self, inputs: Mapping[str, Any], manifest: Path) -> dict[str, Any]:
        """The inputs and what computes: the two types of device round differently.

        With `device=auto`, what was finished on the other type stays finished here.
        """
        kept = read_manifest(manifest) if self.config.device == "auto" else None
        if kept is not None:
            same = {**inputs, "device": kept.get("inputs", {}).get("device")}
            if digest(same) == kept["fingerprint"]:
                return same
        return {**inputs, "device": self.device}

    @property
    def device(self) -> str:
        """The type of device that computes: "cpu" or "cuda"."""
        return resolved_device(self.config.device)

    def _examples(self, task: TaskConfig, form: str) -> dict[str, str]:
        shown = examples(task, self.config.formats[form].shots)
        return {"examples": samples_fingerprint(shown)} if shown else {}

    @property
    def samples(self) -> Sequence[Sample]:
        """What is asked."""
        return SPLITS[self.config.eval.split](self.config.asked)

    @functools.cached_property
    def base_model(self) -> Model:
        """The model that training starts from."""
        return Model(self.base, basemodel.files_fingerprint(self.base, self.config.model.trust_remote_code))

    @property
    def asked_model(self) -> Model:
        """The model that is evaluated."""
        return Model(self.model.folder, self.model.fingerprint) if self.model else self.base_model

    @property
    def weights(self) -> str | None:
        """The SHA-256 of the trained model's weights; None for the untrained one."""
        return str(self.model.read()["weights"]) if self.model else None

    @property
    def answers_file(self) -> Path:
        """The answers so far; what earlier weights answered is not continued with those of another training."""
        return self.evaluation.work / f"answers{f'-{self.weights[:8]}' if self.weights else ''}.jsonl"

    @functools.cached_property
    def stop(self) -> StopPolicy:
        """How generation ends in this cell."""
        taught = self.taught_format if self.cell.train_format else None
        return self.encoding.stop(taught, self.asked_format, self.config.eval.stop)

    @functools.cached_property
    def taught_format(self) -> Format:
        """The training format, in the wording of the training."""
        return self._format(self.config.train.format, self.config.task)

    @functools.cached_property
    def asked_format(self) -> Format:
        """The evaluation format, in the wording of the evaluation."""
        return self._format(self.config.eval.format, self.config.asked)

    def _format(self, name: str, task: TaskConfig) -> Format:
        return self.encoding.format(name, self.config.formats[name], task)

    @functools.cached_property
    def engine_spec(self) -> EngineSpec:
        """The engine that answers, and makes the rollouts."""
        shared = {key: getattr(self.config.model, key) for key in ("dtype", "attn_implementation", "trust_remote_code")}
        gpus = self.config.gpus if self.device == "cuda" else 1
        share = self.config.gpu_share
        return EngineSpec(**vars(self.config.engine), **shared, device=self.device, gpus=gpus, gpu_share=share)

    @property
    def training_work(self) -> Work:
        """The training of the model, for whoever watches."""
        return Work("training", self.cell.model_name, self.cell.method)

    @property
    def evaluation_work(self) -> Work:
        """The evaluation, for whoever watches."""
        return Work("evaluating", self.cell.eval_name)

    def training_job(self, model: Artifact) -> TrainingJob:
        """What is to be trained, as data."""
        config = self.config
        shared = ("dtype", "train_dtype", "master_weights", "attn_implementation", "trust_remote_code")
        return TrainingJob(
            name=self.cell.model_name,
            study=config.study,
            method=self.cell.method,
            masking=self.cell.masking,
            base=str(self.base.absolute()),
            base_name=config.model.path if hub.named_folder(config.model.path) is None else str(self.base.absolute()),
            work=str((model.work / "run").absolute()),
            output=str(model.staged.absolute()),
            **{key: getattr(config.model, key) for key in shared},
            format_name=config.train.format,
            format=config.formats[config.train.format].to_dict(),
            task=config.task,
            hyperparameters=getattr(config, self.cell.method),
            lora=adapter_fields(config.lora),
            stop=tuple(config.eval.stop),
            engine=replace(self.engine_spec, gpus=1) if self.method.rolls_out else None,  # the ranks decide
            seed=config.seed,
            device=self.device,
            gpus=config.gpus,
            gpu_share=config.gpu_share,
            tracker=config.tracker,
            tracking=str((self.study / "tracking" / config.tracker).absolute()),
            inputs=model.inputs,
        )
