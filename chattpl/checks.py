"""What can be found wrong with a cell without loading a model."""

from chattpl import basemodel
from chattpl.errors import UserError
from chattpl.formats import KINDS, check_thoughts
from chattpl.generation import ENGINES
from chattpl.generation.cards import visible_cards
from chattpl.plan import CellPlan
from chattpl.report.settings import check_inspect
from chattpl.stages import STAGES
from chattpl.tasks.loading import examples, train_samples
from chattpl.training.trackers import check_tracker
from chattpl.training.trl_fields import value_of


def check_plan(plan: CellPlan) -> None:
    """Look at everything that can be looked at before anything heavy is imported.

    Raises:
        UserError: the first thing that is wrong.
    """
    config, method = plan.config, plan.method
    if config.report.inspect and STAGES[config.stage].reports:
        check_inspect()
    if STAGES[config.stage].needs_weights:
        _check_gpus(plan)
        if method.trains:
            check_tracker(config.tracker)
        _check_lengths(plan)
    if method.rolls_out and not ENGINES[config.engine.name].live:
        raise UserError(
            f"engine.name={config.engine.name}: cannot take the weights of a model in training, as "
            f"train.method={plan.cell.method} needs"
        )
    _check_formats(plan)
    if method.trains:
        fields = config.formats[config.train.format]
        samples = train_samples(config.task, fields.shots)
        if method.learns_answers and fields.asks_for_thought and not fields.teach_empty_thought:
            check_thoughts(config.train.format, samples)
    assert plan.samples
    examples(config.asked, config.formats[config.eval.format].shots)


def _check_gpus(plan: CellPlan) -> None:
    """One training takes cards of one machine. On a CPU `gpus` are processes, of which there can be any number."""
    asked = plan.config.gpus
    if plan.config.device == "auto" and asked == 1:
        return
    there = 0 if plan.device == "cpu" else len(visible_cards())
    if 0 < there < asked:
        raise UserError(
            f"gpus={asked}: this process sees {there}, and a training does not go across machines; set gpus={there}, "
            "or have CUDA_VISIBLE_DEVICES show more"
        )


def _check_lengths(plan: CellPlan) -> None:
    """Nothing that is generated may fill the context, which holds the prompt as well."""
    config, context = plan.config, plan.config.engine.max_model_len
    assert context is not None
    lengths = {"eval.max_tokens": config.eval.max_tokens}
    if plan.method.rolls_out:
        lengths["grpo.max_completion_length"] = value_of("grpo", config.grpo, "max_completion_length")
    for key, length in lengths.items():
        if length >= context:
            raise UserError(f"{key}={length}: prompt and answer must fit into the context of {context} tokens")


def _check_formats(plan: CellPlan) -> None:
    for key, name in (("train", plan.cell.train_format), ("eval", plan.cell.eval_format)):
        needs_template = name and KINDS[plan.config.formats[name].kind].needs_chat_template
        if needs_template and not basemodel.has_chat_template(plan.base):
            raise UserError(
                f"{key}.format={name}: the model in {plan.base} has no chat template (choose a raw format, or a model "
                "that was tuned to chat)"
            )
