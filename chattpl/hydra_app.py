"""What Hydra needs to know of chattpl: its configuration, its sweeper and its resolvers."""

import sys
from pathlib import Path

from omegaconf import OmegaConf

from chattpl.basemodel import EMBEDDED
from chattpl.schema import register_schema

PACKAGE = Path(__file__).parent
PLUGINS = str(PACKAGE / "plugins")  # where Hydra finds the sweeper


def register() -> None:
    """Tell Hydra; every process that composes a configuration does this first, and may do it again."""
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    register_schema()
    OmegaConf.register_new_resolver("embedded_model", lambda: str(EMBEDDED), replace=True)
    OmegaConf.register_new_resolver("times", _product, replace=True)


def _product(one: float, other: float) -> float:
    """In the digits that the factors have: ten times 1e-6 is 1e-5."""
    product = one * other
    return float(f"{product:.12g}") if isinstance(product, float) else product


def configuration_folder() -> Path:
    """`conf/`: inside the package where it was installed, beside it in a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"
