"""Experiment trackers: what a training logs, live, in a tool of the user's choice."""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from chattpl.environment import restored
from chattpl.errors import UserError


@dataclass(frozen=True)
class Tracker:
    """One that transformers reports to under this name.

    Attributes:
        package: what must be installed; empty if nothing.
        environment: variables that say where it writes and what it calls a study. `{folder}`, `{study}` and `{name}`
            stand for the study's folder for this tracker, the study and the model. What is set already stays.
    """

    package: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


TRACKERS: dict[str, Tracker] = {
    "none": Tracker(),
    "tensorboard": Tracker("tensorboard", {"TENSORBOARD_LOGGING_DIR": "{folder}/{name}"}),
    "trackio": Tracker("trackio", {"TRACKIO_DIR": "{folder}"}),
    "wandb": Tracker("wandb", {"WANDB_DIR": "{folder}", "WANDB_PROJECT": "{study}"}),
}


def check_tracker(name: str) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        UserError: says what to install.
    """
    package = TRACKERS[name].package
    if package and importlib.util.find_spec(package) is None:
        raise UserError(f"tracker={name}: {package} is not installed: pip install {package}")


@contextmanager
def tracked(name: str, folder: str, study: str, model: str) -> Iterator[None]:
    """Set the environment in which the tracker finds its folder and names."""
    added = {key: value for key, value in TRACKERS[name].environment.items() if key not in os.environ}
    with restored(added):
        for variable, value in added.items():
            os.environ[variable] = value.format(folder=folder, study=study, name=model)
        yield
