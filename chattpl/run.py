"""One cell: train the model if it is missing, let it answer, grade, and publish."""

import functools
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from chattpl import progress, weights
from chattpl.artifacts import Artifact
from chattpl.errors import UserError
from chattpl.evaluation import Answers, ask, make_questions
from chattpl.files import logged, write_json
from chattpl.formats import decode_completion
from chattpl.generation import Sampling
from chattpl.generation.cards import take_cards
from chattpl.generation.pool import EnginePool
from chattpl.grading import figures, grade, grade_again
from chattpl.manifests import read_summary
from chattpl.plan import CellPlan
from chattpl.progress import Work
from chattpl.results import Summary, read_results
from chattpl.stages import STAGES
from chattpl.summing_up import say, summary_of
from chattpl.tasks.loading import make_task

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
        if self._stage.previews or self._stage.grades:
            return False
        if self._stage.evaluates:
            return not self._needs_model() and self._is_graded(self.plan.evaluation)
        return self._has_model()

    def works(self) -> list[Work]:
        """What `run` would have to do, as far as that takes time."""
        works = [self.plan.training_work] if self.model_to_train() else []
        if self._stage.evaluates and not self.plan.evaluation.is_finished(self._overwrite):
            works.append(self.plan.evaluation_work)
        return works

    def model_to_train(self) -> str:
        """The folder of the model that `run` would train; empty if there is none."""
        if not self._stage.trains:
            return ""
        model = self.plan.model
        return "" if model is None or not self._needs_model() or self._has_model() else str(model.folder)

    def run(self) -> None:
        """Train, evaluate and grade, as far as `stage` says and nothing finished lies there."""
        if self._stage.previews:
            self._preview()
        if self._stage.needs_weights and self._needs_model():
            self.done = Done(trained=self._have_model())
        if self._stage.evaluates:
            self._have_evaluation(self.plan.evaluation)
        if self._stage.grades:
            kept = self.plan.kept_evaluation()
            kept.renew(functools.partial(self._grade_again, kept), is_current=lambda: False)
            self.done = replace(self.done, graded=True, summary=read_summary(kept.folder / kept.manifest))

    def _needs_model(self) -> bool:
        """Whether weights are needed: for their own sake, or for answers that are not there."""
        if self.plan.model:
            self.plan.model.is_finished(self._overwrite)  # whose error says more than that of the evaluation
        return not (self._stage.evaluates and self.plan.evaluation.is_finished(self._overwrite))

    def _has_model(self) -> bool:
        return self.plan.model is None or weights.are_here(self.plan.model, self._overwrite)

    def _have_model(self) -> bool:
        """Train the model unless it is there; whether that was done here."""
        model = self.plan.model
        if model is None or self._has_model():
            return False
        is_elsewhere = model.is_finished(self._overwrite)
        if not self._stage.trains:
            problem = "has its weights elsewhere" if is_elsewhere else "is not trained yet"
            raise UserError(f"stage=eval: {self.plan.cell.model_name} {problem}; run stage=train or stage=all first")
        self._take_card()
        if is_elsewhere:
            weights.check_can_train_again(model, self.plan.engine_spec.device)
        return model.renew(functools.partial(self._train, model), is_current=self._has_model)

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
            take_cards(self.plan.engine_spec.gpus)

    def _is_graded(self, evaluation: Artifact) -> bool:
        return bool(evaluation.read().get("grader") == self.plan.grader)

    def _train(self, model: Artifact) -> None:
        from chattpl.training.run import run_job

        if model.is_finished(self._overwrite):
            weights.keep_earlier_report(model)
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
            say(summary)
        if (plan.folder / "preview.json").is_file():
            shutil.copyfile(plan.folder / "preview.json", staged / "preview.json")
        write_json(staged / "summary.json", summary.to_json())  # last: it says that the folder is whole

    def _answer_and_grade(self) -> Summary:
        plan, config, asked = self.plan, self.plan.config, self.plan.config.eval
        questions = make_questions(plan.samples, plan.asked_format, asked.max_tokens, plan.engine_spec.max_model_len)
        engine = self._pool.serving(plan.engine_spec, plan.base_model, plan.asked_model)
        sampling = Sampling(asked.max_tokens, asked.temperature, asked.top_p, plan.stop)
        answers, repeats = Answers(plan.answers_file), asked.num_samples
        ask(engine, questions, sampling, answers, repeats=repeats, batch=asked.batch_size, seed=config.seed)
        decode = functools.partial(decode_completion, plan.encoding.tokenizer, stop=plan.stop)
        progress.current().activity = "grading"
        results = grade(make_task(config.asked), questions, answers, decode, repeats)
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
            results = grade_again(make_task(plan.config.asked), kept, plan.samples)
            counted = figures(results, summary.seconds)
            summary = replace(summary, **vars(counted), grader=plan.grader)
            say(summary)
        write_json(staged / "results.json", [result.to_json() for result in results])
        write_json(staged / evaluation.manifest, summary.to_json())

    def _preview(self) -> None:
        from chattpl.preview import make_preview, print_preview

        plan = self.plan
        preview = make_preview(plan)
        write_json(plan.folder / "preview.json", preview)
        if not (plan.folder / "summary.json").is_file():
            self._record(plan.folder)
        print_preview(preview, plan.encoding.tokenizer, plan.folder / "preview.json")
