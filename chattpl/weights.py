"""The weights of a trained model, which a copy of a study may lack.

A copy without weights still says everything that is known: `train.json`, summaries and answers. What is finished there
stays finished; only what has to ask a model needs its weights, and trains it again where they are missing.
"""

import logging
import shutil
from pathlib import Path

from chattpl import basemodel
from chattpl.artifacts import Artifact
from chattpl.errors import UserError

logger = logging.getLogger(__name__)


def are_here(model: Artifact, overwrite: bool) -> bool:
    """Whether the model is finished and its weights lie in its folder.

    Raises:
        UserError: it was made from other inputs.
    """
    return model.is_finished(overwrite) and not basemodel.missing_weights(model.folder)


def check_can_train_again(model: Artifact, device: str) -> None:
    """Refuse to train again what another type of device trained: its inputs say so, hence it would be another model.

    Raises:
        UserError: names both devices and what to do.
    """
    trained_on = model.inputs["device"]
    if trained_on != device:
        raise UserError(
            f"{model.folder}: its weights are elsewhere, and were trained on {trained_on}, which rounds differently "
            f"from {device} here: copy its *.safetensors here, or give study=NAME to train it for another study"
        )


def keep_earlier_report(model: Artifact) -> None:
    """Before a model is trained again: keep its `train.json` beside it, under the name of the weights that it is of.

    The new training has the same inputs, but another machine rounds differently. What was evaluated with the earlier
    weights remains, and so does the account of how they came about.
    """
    report = model.read()
    target = report_of(model.folder, report["weights"])
    logger.warning("%s: its weights are elsewhere, so it is trained again", model.folder)
    shutil.copyfile(model.folder / model.manifest, target)


def report_of(folder: Path, weights: str) -> Path:
    """Where the `train.json` of earlier weights is kept."""
    return folder / f"train-{weights[:8]}.json"
