"""`hydra/sweeper=optuna` with defaults that suit an accuracy, where Optuna's sweeper is installed.

Its own minimize, and end the search at the first trial that fails. They are changed where they are stored: Hydra
refuses a file `conf/hydra/sweeper/optuna.yaml` beside a stored config that has a defaults list.
"""

from contextlib import suppress
from warnings import catch_warnings

from hydra.core.config_store import ConfigStore

with suppress(ImportError):
    from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf

    # direction: of the figure that `objective` names. n_jobs: trials launched together.
    node = OptunaSweeperConf(direction="maximize", n_jobs=1, max_failure_rate=1.0)
    with catch_warnings(action="ignore"):  # Hydra 1.4 warns of a stored config that is replaced
        ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=node, provider="chattpl")
