"""The stages of one cell: train what is missing, evaluate what is missing, preview."""

import functools
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chattpl import basemodel
from chattpl.artifacts import fingerprint, is_finished, locked, publish, read_marker, recover, write_json
from chattpl.cell import Cell, Places, eval_covers, model_covers
from chattpl.config import Config
from chattpl.errors import UserError
from chattpl.evaluation import Answers, ask, decoder, figures, grade, make_questions
from chattpl.formats import Format, StopPolicy, make_format, stop_policy
from chattpl.generation import Engine, EnginePool, Sampling, resolved_device
from chattpl.generation.pool import model_length
from chattpl.tasks.loading import make_task, samples_fingerprint, test_samples, train_samples
from chattpl.versions import versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model that can be evaluated: trained, or the base itself."""

    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class Done:
    """What a cell's job did. `trained` and `evaluated` are false for what was finished before."""

    trained: bool = False
    evaluated: bool = False
    summary: dict[str, Any] | None = None


class Study:
    """One cell at work: its configuration, its folders, and the pool that holds this process's engine.

    `save_composed` writes the composed configuration into a folder; `log_to` logs into a file while it is open.
    """

    def __init__(
        self,
        config: Config,
        cell: Cell,
        pool: EnginePool,
        save_composed: Callable[[Path], None],
        log_to: Callable[[Path], Any],
    ):
        self.config = config
        self.cell = cell
        self.places = Places(Path(config.output_root) / config.study)
        self._pool = pool
        self._save_composed = save_composed
        self._log_to = log_to

    def check(self) -> None:
        """Look at everything that can be looked at without loading a model.

        Raises:
            UserError: the first thing that is wrong.
        """
        config = self.config
        if config.stage != "preview":
            basemodel.check_model(self.base)
            if config.device == "cuda":
                resolved_device(config.device)
            self._check_lengths()
        for key, name in (("train", self.cell.train_format), ("eval", self.cell.eval_format)):
            if name and config.formats[name].kind == "chat" and not basemodel.has_chat_template(self.base):
                raise UserError(
                    f"{key}.format={name}: the model in {self.base} has no chat template (choose a raw format, or "
                    "a model that was tuned to chat)"
                )
        if self.cell.method != "none":
            train_samples(config.task)
        test_samples(config.task)

    def _check_lengths(self) -> None:
        """Nothing that is generated may fill the context, which holds the prompt as well."""
        config, context = self.config, model_length(self.config, self.base)
        lengths = {"eval.max_tokens": config.eval.max_tokens}
        if self.cell.method == "grpo":
            lengths["grpo.max_completion_length"] = config.grpo.get("max_completion_length", 256)
        for key, length in lengths.items():
            if length >= context:
                raise UserError(f"{key}={length}: prompt and answer must fit into the context of {context} tokens")

    def is_done(self) -> bool:
        """Whether `run` would find everything finished.

        Raises:
            UserError: what is finished was made from something else.
        """
        overwrite = self.config.overwrite
        if self.config.stage == "preview":
            return False
        covers = self._model_covers()
        if covers is not None and not is_finished(self._train_json, covers, overwrite):
            return False
        return self.config.stage == "train" or is_finished(self._summary_json, self._eval_covers(covers), overwrite)

    def run(self) -> Done:
        """Train and evaluate, as far as `stage` says and nothing finished lies there."""
        stage = self.config.stage
        if stage == "preview":
            self._preview()
            return Done()
        covers = self._model_covers()
        trained = False
        if covers is not None and not is_finished(self._train_json, covers, self.config.overwrite):
            trained = self._train(covers)
        if stage == "train":
            return Done(trained=trained)
        model = self._model(covers)
        covers = self._eval_covers(covers)
        if is_finished(self._summary_json, covers, self.config.overwrite):
            return Done(trained=trained, summary=read_marker(self._summary_json))
        evaluated = self._evaluate(model, covers)
        return Done(trained, evaluated, read_marker(self._summary_json))

    # --- what things are

    @functools.cached_property
    def base(self) -> Path:
        """The folder of the base model."""
        model = self.config.model
        return basemodel.local_folder(model.path, model.trust_remote_code, weights=self.config.stage != "preview")

    @property
    def _train_json(self) -> Path:
        return self.places.model(self.cell) / "train.json"

    @property
    def _summary_json(self) -> Path:
        return self.places.evaluation(self.cell) / "summary.json"

    def _eval_covers(self, model_covers: dict[str, Any] | None) -> dict[str, Any]:
        data = samples_fingerprint(test_samples(self.config.task))
        return eval_covers(self.config, self._model(model_covers).fingerprint, data, self.config.engine.name)

    def _model_covers(self) -> dict[str, Any] | None:
        if self.cell.method == "none":
            return None
        data = samples_fingerprint(train_samples(self.config.task))
        return model_covers(self.config, basemodel.files_fingerprint(self.base), data, self.config.engine.name)

    def _model(self, covers: dict[str, Any] | None) -> Model:
        if covers is None:
            return Model(self.base, basemodel.files_fingerprint(self.base))
        return Model(self.places.model(self.cell), fingerprint(covers))

    @functools.cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Of the base model; training never changes it."""
        return basemodel.load_tokenizer(self.base, self.config.model.trust_remote_code)

    def format(self, name: str) -> Format:
        """The format `formats.NAME` for this model and task."""
        return make_format(name, self.config.formats[name], self.tokenizer, self.config.task.get("instruction") or "")

    @functools.cached_property
    def stop(self) -> StopPolicy:
        """How generation ends, in rollouts and evaluation."""
        names = {self.cell.train_format, self.cell.eval_format} - {None}
        formats = [self.format(name) for name in sorted(names)]
        return stop_policy(self.tokenizer, basemodel.declared_eos_ids(self.base), formats, self.config.eval.stop)

    def _engine(self) -> Engine:
        return self._pool.get(self.config, self.base, basemodel.files_fingerprint(self.base))

    # --- training

    def _train(self, covers: dict[str, Any]) -> bool:
        """Train under the model's lock. Returns False where another process did it in the meantime."""
        name = self.cell.model_name
        if self.config.stage == "eval":
            raise UserError(f"stage=eval: {name} is not trained yet; run stage=train or stage=all first")
        work = self._work("models", name, covers)
        with locked(_lock_of(work), f"the training of {name}"):
            recover(work / "model", self._train_json.parent, "train.json")
            if is_finished(self._train_json, covers, self.config.overwrite):
                shutil.rmtree(work, ignore_errors=True)
                return False
            logger.info("training %s", name)
            began = time.monotonic()
            with self._logged(work / "train.log"):
                self._train_into(work, covers)
            if basemodel.files_fingerprint(self.base) != covers["base"]:
                raise UserError(f"model.path={self.base}: its files changed while {name} was trained; run it again")
            shutil.rmtree(work / "run", ignore_errors=True)  # first, or a process that dies in between leaves it
            publish(work / "model", self._train_json.parent)
            shutil.rmtree(work)
            logger.info("trained %s in %.1f s", name, time.monotonic() - began)
        return True

    def _train_into(self, work: Path, covers: dict[str, Any]) -> None:
        from chattpl.training.run import Job, save_model

        config = self.config
        form = self.format(self.cell.train_format)
        device = resolved_device(config.device)
        job = Job(config, self.base, self.tokenizer, form, self.stop, work / "run", device)
        if self.cell.method == "sft":
            from chattpl.training.sft import train_sft

            self._pool.sleep()
            model, report = train_sft(job, train_samples(config.task))
        else:
            from chattpl.training.grpo import train_grpo

            model, report = train_grpo(job, train_samples(config.task), make_task(config.task), self._engine())
        staged = work / "model"
        save_model(model, job, staged)
        end = {"token": form.end_token, "id": form.end_token_id}
        marker = {"fingerprint": fingerprint(covers), "made_from": covers, **covers, "end_token": end}
        speed = {"tokens_per_second": round(report["tokens"] / report["seconds"], 1), "versions": versions()}
        write_json(staged / "train.json", {**marker, **report, **speed})

    # --- evaluation

    def _evaluate(self, model: Model, covers: dict[str, Any]) -> bool:
        """Evaluate under the cell's lock. Returns False where another process did it in the meantime."""
        name = self.cell.eval_name
        final = self._summary_json.parent
        work = self._work("eval", name, covers)
        with locked(_lock_of(work), f"the evaluation of {name}"):
            recover(work / "cell", final, "summary.json")
            if is_finished(self._summary_json, covers, self.config.overwrite):
                shutil.rmtree(work, ignore_errors=True)
                return False
            staged = work / "cell"
            with self._logged(staged / "main.log"):
                logger.info("evaluating %s", name)
                self._save_composed(staged)
                self._evaluate_into(staged, work, model, covers)
            if (final / "preview.json").is_file():
                shutil.copyfile(final / "preview.json", staged / "preview.json")
            publish(staged, final)
            shutil.rmtree(work)
        return True

    def _evaluate_into(self, staged: Path, work: Path, model: Model, covers: dict[str, Any]) -> None:
        config = self.config
        engine = self._engine()
        engine.take(model.folder, model.fingerprint)
        form = self.format(config.eval.format)
        questions = make_questions(test_samples(config.task), form, config.eval.max_tokens, engine.max_model_len)
        if not all(questions.fits):
            logger.warning("%d prompts do not fit and count as not answered", questions.fits.count(False))
        sampling = Sampling(config.eval.max_tokens, config.eval.temperature, config.eval.top_p, self.stop)
        answers = Answers(work / "answers.jsonl")
        repeats = config.eval.num_samples
        ask(engine, questions, sampling, answers, repeats=repeats, batch=config.eval.batch_size, seed=config.seed)
        entries = grade(make_task(config.task), questions, answers, decoder(self.tokenizer, self.stop), repeats)
        summary = self._summary(model, covers, questions.fingerprint, figures(entries, answers.seconds))
        write_json(staged / "results.json", entries)
        write_json(staged / "summary.json", summary)
        logger.info(
            "%s: accuracy %.1f %% [%.1f, %.1f]", self.cell.eval_name,
            100 * summary["accuracy"], 100 * summary["ci_low"], 100 * summary["ci_high"],
        )  # fmt: skip

    def _summary(self, model: Model, covers: dict[str, Any], prompts: str, counted: dict[str, Any]) -> dict[str, Any]:
        config, cell = self.config, self.cell
        return {
            "study": config.study,
            "cell": cell.eval_name,
            "model_name": cell.model_name,
            "task": config.task["name"],
            "train_format": cell.train_format,
            "train_method": cell.method,
            "train_masking": cell.masking,
            "eval_format": cell.eval_format,
            "seed": config.seed,
            **counted,
            "engine": config.engine.name,
            "device": resolved_device(config.device),
            "stop": {"token_ids": list(self.stop.token_ids), "strings": list(self.stop.strings)},
            "model_fingerprint": model.fingerprint,
            "prompt_fingerprint": prompts,
            "versions": versions(),
            "fingerprint": fingerprint(covers),
            "made_from": covers,
        }

    # --- preview

    def _preview(self) -> None:
        from chattpl.preview import make_preview, print_preview

        preview = make_preview(self)
        folder = self._summary_json.parent
        write_json(folder / "preview.json", preview)
        if read_marker(self._summary_json) is None:
            self._save_composed(folder)
        print_preview(preview, self.tokenizer, folder / "preview.json")

    # --- folders

    def _work(self, kind: str, name: str, covers: dict[str, Any]) -> Path:
        """Where unfinished work lies. The fingerprint is in the name, so nothing made from something else is met."""
        return self.places.work / kind / f"{name}~{fingerprint(covers)[:8]}"

    @contextmanager
    def _logged(self, path: Path) -> Iterator[None]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_to(path):
            yield


def _lock_of(work: Path) -> Path:
    """Beside the work, so that it outlives it."""
    return work.parent / f"{work.name}.lock"
