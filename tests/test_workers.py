"""What Ray is asked to reserve for a worker, and how many workers that makes."""

import pytest
from hydra import compose, initialize_config_dir

from chattpl import hydra_app
from chattpl.workers import capacity


@pytest.mark.parametrize(
    ("typed", "cards"), [([], 1), (["gpus=2"], 2), (["gpu_share=0.5"], 0.5), (["gpu_share=0.1"], 0.1)]
)
def test_a_worker_has_the_cards_of_its_jobs(typed, cards):
    hydra_app.register()
    with initialize_config_dir(str(hydra_app.configuration_folder()), version_base="1.3"):
        composed = compose("config", ["hydra/launcher=ray_gpu", *typed], return_hydra_config=True)
    assert composed.hydra.launcher.ray.remote.num_gpus == cards


@pytest.mark.parametrize(("cards", "workers"), [(1, 4), (2, 2), (0.5, 8), (0.1, 40), (0.34, 8)])
def test_there_are_as_many_workers_as_cards_have_room_for(cards, workers):
    nodes = [{"Alive": True, "Resources": {"GPU": 4.0}}, {"Alive": False, "Resources": {"GPU": 4.0}}]
    assert capacity(nodes, {"num_gpus": cards}) == workers
