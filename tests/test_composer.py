"""Jobs of a sweep are composed as Hydra composes them."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from chattpl import hydra_app
from chattpl.composer import Composer

JOBS = [
    ["seed=1", "eval_format=raw"],
    ["seed=2", "eval_format=raw", "eval.format=chat"],
    ["model=smollm2_135m", "seed=3", "sft.learning_rate=1e-3", "study='${task.name}-${seed}'"],
    ["task={name:mine}", "task.name=yours", "method=grpo"],
    ["+sft.adam_beta1=0.5", "sft.adam_beta1=0.6", "~sft.max_length"],
    ["experiment=sft_no_chat_mask_q", "hydra.job.config.override_dirname.kv_sep=:", "seed=4"],
    ["seed=1", "eval_format=raw"],
]


@pytest.fixture
def composing():
    """Hydra's loader and the configuration of a sweep."""
    hydra_app.register()
    with initialize_config_dir(str(hydra_app.configuration_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", ["output_root=elsewhere"], RunMode.MULTIRUN)
        yield loader, config


def test_a_job_is_composed_as_hydra_composes_it(composing):
    loader, config = composing
    composer = Composer(loader, config)
    for job in JOBS:
        one, other = composer.compose(job), loader.load_sweep_config(config, job)
        assert OmegaConf.to_container(one) == OmegaConf.to_container(other)
        assert OmegaConf.is_struct(one)


def test_a_key_that_is_not_there_is_refused_as_hydra_refuses_it(composing):
    loader, config = composing
    messages = []
    for compose in (Composer(loader, config).compose, lambda job: loader.load_sweep_config(config, job)):
        with pytest.raises(HydraException) as caught:
            compose(["seed=1", "sed=2"])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_files_are_read_once_for_jobs_that_differ_in_values(composing, monkeypatch):
    loader, config = composing
    composer, read = Composer(loader, config), []
    load = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *given: read.append(given) or load(*given))
    seeds = [composer.compose([f"seed={seed}", "eval_format=raw"]).seed for seed in range(3)]
    assert (seeds, len(read)) == ([0, 1, 2], 1)
