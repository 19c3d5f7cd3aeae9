"""Hydra's door to `chattpl.sweep`: it finds plugins in the namespace package `hydra_plugins` alone."""

from collections.abc import Mapping

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from chattpl.sweep import Sweep


class CellSweeper(Sweeper):
    """`hydra/sweeper=cells`: all combinations of the values, each cell once, what is finished left alone.

    Args:
        max_batch_size: jobs that are launched together; null for all.
        params: key to values that are swept over besides those on the command line.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None):
        self.max_batch_size = max_batch_size
        self.params = params or {}
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over, and make the launcher."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep; its conclusion is drawn by `chattpl.conclusion`."""
        assert self.hydra_context is not None
        assert self.launcher is not None
        assert self.config is not None
        configured = [f"{key}={value}" for key, value in self.params.items()]
        sweep = Sweep(self.hydra_context.config_loader, self.launcher, self.config)
        sweep.run([*configured, *arguments], self.max_batch_size)
