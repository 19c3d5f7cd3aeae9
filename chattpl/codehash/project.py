"""Which code is a project's own and is read; of all other code the version counts."""

import functools
import importlib.metadata
import importlib.util
import sys
from pathlib import Path

OWN = "chattpl"


class Project:
    """The project to which a module belongs."""

    def __init__(self, module: str):
        self._packages = {OWN, top(module)}
        self._folder = str(Path(_origin(top(module))).parent)

    def owns(self, module: str | None) -> bool:
        """Whether a module belongs to the project: to the same package, or not to an installed one."""
        package = top(module or "")
        origin = _origin(package)
        installed = "site-packages" in origin or "dist-packages" in origin
        return package in self._packages or (bool(origin) and not installed and package not in sys.stdlib_module_names)

    def within(self, text: str) -> str:
        """A text without the folder that the project is loaded from, which is another on another machine."""
        return text.replace(self._folder, "") if len(self._folder) > 1 else text


def top(place: str) -> str:
    """The top-level package of `package.module:name`."""
    return place.partition(":")[0].partition(".")[0]


def version(package: str) -> str:
    """The version of an installed package; empty for what has none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", ""))


@functools.cache
def _origin(package: str) -> str:
    """Where a top-level module or package is loaded from; empty for what is built in."""
    if package in sys.modules:
        module = sys.modules[package]
        return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
    spec = importlib.util.find_spec(package) if package else None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "") if spec else ""
