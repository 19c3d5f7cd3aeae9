"""What a cell came to: its `summary.json`, and its line in the log."""

import logging

from chattpl.display import STAYS
from chattpl.evaluation import Questions
from chattpl.generation.device import conditions
from chattpl.plan import CellPlan
from chattpl.results import SCHEMA, Figures, Summary
from chattpl.versions import versions

logger = logging.getLogger(__name__)


def say(summary: Summary) -> None:
    """Log the accuracy with its interval."""
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
        weights=plan.weights,
        prompt_fingerprint=questions.fingerprint,
        grader=plan.grader,
        versions=versions(),
        fingerprint=plan.evaluation.fingerprint,
        inputs=dict(plan.evaluation.inputs),
    )
