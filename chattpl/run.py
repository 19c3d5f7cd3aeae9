"""One cell: train the model if it is missing, let it answer, grade, and publish."""

import functools
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from chattpl import progress
from chattpl.artifacts import Artifact
from chattpl.display import STAYS
from chattpl.errors import UserError
from chattpl.evaluation import Answers, Questions, ask, make_questions
from chattpl.files import logged, write_json
from chattpl.formats import decode_completion
from chattpl.generation import Sampling
from chattpl.generation.cards import take_cards
from chattpl.generation.device import conditions
from chattpl.generation.pool import EnginePool
from chattpl.grading import figures, grade, grade_again
from chattpl.manifests import read_summary
from chattpl.plan import CellPlan
from chattpl.progress import Work
from chattpl.results import SCHEMA, Figures, Summary, read_results
from chattpl.stages import STAGES
from chattpl.tasks.loading import make_task
from chattpl.versions import versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What a cell's run did so far. Each is false for what was finished before."""

    trained: bool = False
    evaluated: bool = False
    graded: bool = False
    summary: Summary | None = None


class CellRun:
    """One cell at work.

    Args:
        plan: the cell.
        pool: holds this process's engine.
        record: writes the composed configuration into a folder.

    Attributes:
        done: what `run` did, also where it failed in the middle.
    """

    def __init__(self, plan: CellPlan, pool: EnginePool, record: Callable[[Path], None]):
        self.plan = plan
        self._stage = STAGES[plan.config.stage]
        self._overwrite = plan.config.overwrite
        self._pool = pool
        self._record = record
        self.done = Done()

    def is_done(self) -> bool:
        """Whether `run` would find everything finished.

        Raises:
            UserError: what is finished has other inputs.
        """
        model = self.plan.model
        if self._stage.previews or self._stage.grades or (model and not model.is_finished(self._overwrite)):
            return False
        evaluation = self.plan.evaluation
        return not self._stage.evaluates or (evaluation.is_finished(self._overwrite) and self._is_graded(evaluation))

    def works(self) -> list[Work]:
        """What `run` would have to do, as far as that takes time."""
        model, evaluation, works = self.plan.model, self.plan.evaluation, []
        if self._stage.trains and model and not model.is_finished(self._overwrite):
            works.append(self.plan.training_work)
        if self._stage.evaluates and not evaluation.is_finished(self._overwrite):
            works.append(self.plan.evaluation_work)
        return works

    def model_to_train(self) -> str:
        """The folder of the model that `run` would train; empty if there is none."""
        model = self.plan.model
        missing = model is not None and self._stage.trains and not model.is_finished(self._overwrite)
        return str(model.folder) if model is not None and missing else ""

    def run(self) -> None:
        """Train, evaluate and grade, as far as `stage` says and nothing finished lies there."""
        if self._stage.previews:
            self._preview()
        if self._stage.needs_weights:
            self.done = Done(trained=self._have_model())
        if self._stage.evaluates:
            self._have_evaluation(self.plan.evaluation)
        if self._stage.grades:
            kept = self.plan.kept_evaluation()
            kept.renew(functools.partial(self._grade_again, kept), is_current=lambda: False)
            self.done = replace(self.done, graded=True, summary=read_summary(kept.folder / kept.manifest))

    def _have_model(self) -> bool:
        """Train the model unless it is there; whether that was done here."""
        model = self.plan.model
        if model is None or model.is_finished(self._overwrite):
            return False
        if not self._stage.trains:
            name = self.plan.cell.model_name
            raise UserError(f"stage=eval: {name} is not trained yet; run stage=train or stage=all first")
        self._take_card()
        return model.produce(functools.partial(self._train, model), self._overwrite)

    def _have_evaluation(self, evaluation: Artifact) -> None:
        """Evaluate unless that is done; grade again what another grader graded."""
        finished = evaluation.is_finished(self._overwrite)
        if not finished:
            self._take_card()
        evaluated = not finished and evaluation.produce(self._evaluate, self._overwrite)
        graded = False
        if not self._is_graded(evaluation):
            logger.info("%s: the grader changed since it was graded", self.plan.cell.eval_name)
            again = functools.partial(self._grade_again, evaluation)
            graded = evaluation.renew(again, is_current=lambda: self._is_graded(evaluation))
        summary = read_summary(evaluation.folder / evaluation.manifest)
        self.done = replace(self.done, evaluated=evaluated, graded=graded, summary=summary)

    def _take_card(self) -> None:
        """Before the lock of an artifact: a process that holds one and waits for a card could wait forever."""
        if self.plan.engine_spec.device == "cuda":
            take_cards()

    def _is_graded(self, evaluation: Artifact) -> bool:
        return bool(evaluation.read().get("grader") == self.plan.grader)

    def _train(self, model: Artifact) -> None:
        from chattpl.training.run import run_job

        job = self.plan.training_job(model)
        write_json(model.work / "job.json", job.to_json())
        with progress.current().working(self.plan.training_work), logged(model.work / "train.log"):
            run_job(job, self._pool)

    def _evaluate(self) -> None:
        plan, staged = self.plan, self.plan.evaluation.staged
        with progress.current().working(self.plan.evaluation_work), logged(staged / "main.log"):
            logger.info("evaluating %s", plan.cell.eval_name)
            self._record(staged)
            summary = self._answer_and_grade()
            _say(summary)
        if (plan.folder / "preview.json").is_file():
            shutil.copyfile(plan.folder / "preview.json", staged / "preview.json")
        write_json(staged / "summary.json", summary.to_json())  # last: it says that the folder is whole

    def _answer_and_grade(self) -> Summary:
        plan, config, asked = self.plan, self.plan.config, self.plan.config.eval
        form = plan.encoding.format(asked.format, config.formats[asked.format])
        questions = make_questions(plan.samples, form, asked.max_tokens, plan.engine_spec.max_model_len)
        engine = self._pool.serving(plan.engine_spec, plan.base_model, plan.asked_model)
        sampling = Sampling(asked.max_tokens, asked.temperature, asked.top_p, plan.stop)
        answers, repeats = Answers(plan.evaluation.work / "answers.jsonl"), asked.num_samples
        ask(engine, questions, sampling, answers, repeats=repeats, batch=asked.batch_size, seed=config.seed)
        decode = functools.partial(decode_completion, plan.encoding.tokenizer, stop=plan.stop)
        progress.current().activity = "grading"
        results = grade(make_task(config.task), questions, answers, decode, repeats)
        write_json(plan.evaluation.staged / "results.json", [result.to_json() for result in results])
        return summary_of(plan, questions, figures(results, answers.seconds))

    def _grade_again(self, evaluation: Artifact) -> None:
        """Grade the answers that are kept; nothing is generated.

        Raises:
            UserError: they are not answers to today's questions.
        """
        plan, staged = self.plan, evaluation.staged
        summary = read_summary(evaluation.folder / evaluation.manifest)
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(
            evaluation.folder, staged, ignore=shutil.ignore_patterns(evaluation.manifest, "results.json", "*.eval")
        )
        with logged(staged / "main.log"):
            logger.info("grading %s again", plan.cell.eval_name)
            kept = read_results(evaluation.folder / "results.json")
            results = grade_again(make_task(plan.config.task), kept, plan.samples)
            counted = figures(results, summary.seconds)
            summary = replace(summary, **vars(counted), grader=plan.grader)
            _say(summary)
        write_json(staged / "results.json", [result.to_json() for result in results])
        write_json(staged / evaluation.manifest, summary.to_json())

    def _preview(self) -> None:
        from chattpl.preview import make_preview, print_preview

        plan = self.plan
        preview = make_preview(plan.config, plan.encoding, plan.stop)
        write_json(plan.folder / "preview.json", preview)
        if not (plan.folder / "summary.json").is_file():
            self._record(plan.folder)
        print_preview(preview, plan.encoding.tokenizer, plan.folder / "preview.json")


def _say(summary: Summary) -> None:
    logger.info(
        "%s: accuracy %.1f %% [%.1f, %.1f]", summary.cell,
        100 * summary.accuracy, 100 * summary.ci_low, 100 * summary.ci_high,
        extra=STAYS,
    )  # fmt: skip


def summary_of(plan: CellPlan, questions: Questions, counted: Figures) -> Summary:
    """`summary.json` of a cell: what it is, its figures, and what decided them."""
    cell, config = plan.cell, plan.config
    return Summary(
        schema=SCHEMA,
        study=config.study,
        cell=cell.eval_name,
        group=cell.group,
        changes={**cell.model_changes, **cell.eval_changes},
        model_name=cell.model_name,
        task=config.task.name,
        split=config.eval.split,
        train_format=cell.train_format,
        train_method=cell.method,
        train_masking=cell.masking,
        eval_format=cell.eval_format,
        seed=config.seed,
        **vars(counted),
        engine=config.engine.name,
        **conditions(plan.engine_spec.device),
        stop={"token_ids": list(plan.stop.token_ids), "strings": list(plan.stop.strings)},
        model_fingerprint=plan.asked_model.fingerprint,
        prompt_fingerprint=questions.fingerprint,
        grader=plan.grader,
        versions=versions(),
        fingerprint=plan.evaluation.fingerprint,
        inputs=dict(plan.evaluation.inputs),
    )
