"""Composing the jobs of a sweep. The files that they choose are read once, not once for each job."""

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig


class Composer:
    """Composes jobs as `ConfigLoader.load_sweep_config` does.

    Hydra composes the chosen files first and then sets the values of the command line in their order, so jobs that
    differ in values alone have their composition in common.

    Args:
        config: that of the sweep.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig):
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._config = config
        self._parser = OverridesParser.create(config_loader=loader)
        self._chosen: dict[tuple[str, ...], DictConfig] = {}

    def compose(self, job: Sequence[str]) -> DictConfig:
        """The whole configuration of a job, Hydra's node included, from its overrides."""
        parsed = self._parser.parse_overrides(list(job))
        values = [each for each in parsed if not self._chooses(each)]
        choices = tuple(str(each.input_line) for each in parsed if self._chooses(each))
        if choices not in self._chosen:
            self._chosen[choices] = self._loader.load_sweep_config(self._config, list(choices))
        composed = copy.deepcopy(self._chosen[choices])
        self._loader._apply_overrides_to_config(values, composed)
        typed = [each for each in parsed if not each.is_hydra_override()]
        composed.hydra.overrides.task = [each.input_line for each in typed]
        settings = composed.hydra.job.config.override_dirname
        composed.hydra.job.override_dirname = get_overrides_dirname(
            typed, kv_sep=settings.kv_sep, item_sep=settings.item_sep, exclude_keys=settings.exclude_keys
        )
        return composed

    def _chooses(self, override: Override) -> bool:
        """Whether it chooses files, or is Hydra's own, which may say where files are looked for."""
        is_group = self._loader.repository.group_exists(override.key_or_group)
        return override.is_hydra_override() or (is_group and not isinstance(override.value(), dict))
