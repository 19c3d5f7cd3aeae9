"""What a cell is made of: its folders, its inputs, its formats and engine. Nothing is loaded or done here."""

import functools
from pathlib import Path

from chattpl import basemodel
from chattpl.artifacts import Artifact
from chattpl.cell import Cell
from chattpl.config import Config
from chattpl.encoding import Encoding
from chattpl.formats import StopPolicy
from chattpl.generation import EngineSpec, resolved_device
from chattpl.generation.pool import Model
from chattpl.tasks.loading import examples, samples_fingerprint, test_samples, train_samples
from chattpl.training import METHODS
from chattpl.training.job import TrainingJob


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
        self.encoding = Encoding(base, config.model.trust_remote_code, config.task)

    @functools.cached_property
    def model(self) -> Artifact | None:
        """The trained model; None for the untrained one."""
        if not self.method.trains:
            return None
        form, name = self.config.train.format, self.cell.model_name
        samples = train_samples(self.config.task, self.config.formats[form].shots)
        content = {"base": self.base_model.fingerprint, "data": samples_fingerprint(samples), **self._examples(form)}
        inputs = {**content, **self.cell.model_keys}
        return Artifact.at(self.study, "models", name, "train.json", inputs, f"the training of {name}")

    @functools.cached_property
    def evaluation(self) -> Artifact:
        """The evaluation of the model."""
        form, name = self.config.eval.format, self.cell.eval_name
        data = samples_fingerprint(test_samples(self.config.task))
        content = {"model": self.asked_model.fingerprint, "data": data, **self._examples(form)}
        inputs = {**content, **self.cell.eval_keys}
        return Artifact.at(self.study, "eval", name, "summary.json", inputs, f"the evaluation of {name}")

    def _examples(self, format_name: str) -> dict[str, str]:
        shown = examples(self.config.task, self.config.formats[format_name].shots)
        return {"examples": samples_fingerprint(shown)} if shown else {}

    @functools.cached_property
    def base_model(self) -> Model:
        """The model that training starts from."""
        return Model(self.base, basemodel.files_fingerprint(self.base))

    @property
    def asked_model(self) -> Model:
        """The model that is evaluated."""
        return Model(self.model.folder, self.model.fingerprint) if self.model else self.base_model

    @functools.cached_property
    def stop(self) -> StopPolicy:
        """How generation ends, the same for all cells of a model."""
        name = self.cell.train_format
        taught = self.encoding.format(name, self.config.formats[name]) if name else None
        return self.encoding.stop(taught, self.config.eval.stop)

    @functools.cached_property
    def engine_spec(self) -> EngineSpec:
        """The engine that answers, and makes the rollouts."""
        shared = {key: getattr(self.config.model, key) for key in ("dtype", "attn_implementation", "trust_remote_code")}
        return EngineSpec(**vars(self.config.engine), **shared, device=resolved_device(self.config.device))

    def training_job(self, model: Artifact) -> TrainingJob:
        """What is to be trained, as data."""
        config = self.config
        shared = ("dtype", "train_dtype", "attn_implementation", "trust_remote_code")
        return TrainingJob(
            name=self.cell.model_name,
            study=config.study,
            method=self.cell.method,
            masking=self.cell.masking,
            base=str(self.base.absolute()),
            work=str((model.work / "run").absolute()),
            output=str(model.staged.absolute()),
            **{key: getattr(config.model, key) for key in shared},
            format_name=config.train.format,
            format=config.formats[config.train.format].to_dict(),
            task=config.task,
            hyperparameters=getattr(config, self.cell.method),
            stop=tuple(config.eval.stop),
            engine=self.engine_spec if self.method.rolls_out else None,
            seed=config.seed,
            device=resolved_device(config.device),
            tracker=config.tracker,
            tracking=str((self.study / "tracking" / config.tracker).absolute()),
            inputs=model.inputs,
        )
