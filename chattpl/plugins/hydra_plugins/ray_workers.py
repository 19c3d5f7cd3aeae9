"""Hydra's door to `chattpl.workers`."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chattpl.queue import Queued, QueueLauncher
from chattpl.workers import Workers, connect


class RayWorkers(QueueLauncher):
    """`hydra/launcher=ray_gpu`: a worker of Ray's for each GPU, each with its own engine.

    Args:
        ray: `init`, the arguments of `ray.init`, and `remote`, what Ray reserves for a worker.
    """

    def __init__(self, ray: Mapping[str, Any]):
        given: Any = OmegaConf.to_container(ray, resolve=True) if OmegaConf.is_config(ray) else ray
        # Ray's own default is a core for each: workers beyond the number of cores would never start.
        self.ray = {**given, "remote": {"num_cpus": 0, **given["remote"]}}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        self.context, self.config, self.task = hydra_context, config, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs of which nothing is known but their overrides."""
        return self.launch_queued([Queued(overrides) for overrides in job_overrides], initial_job_idx)

    def launch_queued(self, jobs: Sequence[Queued], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs in an order in which no worker waits for a model that another one trains."""
        connect(self.ray["init"])
        return Workers(self.context, self.config, self.task, self.ray["remote"]).run(jobs, initial_job_idx)
