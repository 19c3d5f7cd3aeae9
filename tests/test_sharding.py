"""A model shared out among ranks: from the beginning no rank has more of it than its part and what it works on."""

import ctypes
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import training_job
from recorder import Holding
from test_ranks import LORA, PLANS, Scripted, together
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from chattpl import ranks
from chattpl.basemodel import EMBEDDED, read_json
from chattpl.files import write_json
from chattpl.ranks import Ranks, joined
from chattpl.training import memory, sharding
from chattpl.training.adapter import bare, weights_of
from chattpl.training.grpo import train_grpo
from chattpl.training.job import TrainingJob
from chattpl.training.live import LiveJob
from chattpl.training.sft import train_sft
from chattpl.training.weights import Tensors

COUNT = 2
LAYERS = 8
# A training, and how many models it has on its device.
TRAININGS = {
    "all weights": ([], 1),
    "an adapter": (LORA, 1),
    "a reference model": (["method=grpo", "grpo.beta=0.1", "grpo.bf16=false"], 2),
}


class Watch:
    """The largest number of bytes that lay on a rank's device as weights, and in memory of its own.

    The device is the CPU, where a weight lies that was put there, and where others lie in the files.
    """

    def __init__(self) -> None:
        self._shards = 0
        self.placed = 0
        self._began = _own_memory()
        self.own = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        with (
            mock.patch.object(torch.nn.Module, "to", self._counting(torch.nn.Module.to)),
            mock.patch.object(sharding, "fully_shard", self._counting(sharding.fully_shard)),
        ):
            yield

    def _counting(self, place: Callable[..., Any]) -> Callable[..., Any]:
        def counted(module, *args, **kwargs):
            parts = _parts(module)
            ignored = kwargs.get("ignored_params", ())
            plain = [each for each in module.parameters() if not isinstance(each, DTensor) and each not in ignored]
            self.placed = max(self.placed, self._shards + sum(each.nbytes for each in plain))
            del plain
            result = place(module, *args, **kwargs)
            self._shards += _parts(module) - parts
            self.own = max(self.own, _own_memory() - self._began)
            return result

        return counted


def _parts(module: torch.nn.Module) -> int:
    return sum(each.to_local().nbytes for each in module.parameters() if isinstance(each, DTensor))


def _own_memory() -> int:
    """Bytes of this process that lie in no file, without those that are only kept for later."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Loaded(Exception):
    """A trainer is about to train."""


def trainer_of(job: TrainingJob) -> Any:
    def stop(trainer, *_, **__):
        raise Loaded(trainer)

    method = {"sft": train_sft, "grpo": train_grpo}[job.method]
    with (
        mock.patch.object(memory, "shared_out", return_value=PLANS[1]),
        mock.patch(f"chattpl.training.{job.method}.train", stop),
        pytest.raises(Loaded) as loaded,
    ):
        method(LiveJob.of(job), Holding(Scripted(seeded=True)))
    return loaded.value.args[0]


def be_loading(small: TrainingJob, large: TrainingJob, rank: int, meeting: Path) -> None:
    """A process of its own; what the first model takes is not the second one's."""
    torch.set_num_threads(1)
    with joined(Ranks(rank, COUNT), meeting, "cpu"):
        trainer_of(small)
        watch = Watch()
        with watch.watching():
            trainer = trainer_of(large)
        found = {"placed": watch.placed, "own": watch.own, "differ": differing(trainer.model, Path(large.base))}
        write_json(meeting / f"{rank}.json", found)


def differing(model: Any, folder: Path) -> list[str]:
    """What is not as in the folder: weights by their names, buffers, and whether the output layer is the embedding."""
    saved, plain = Tensors(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    found = []
    for names, each, dtype in weights_of(model):
        whole = ranks.whole(ranks.local(each.detach()), like=each).to(dtype)
        if not torch.equal(whole, saved.find(names, plain.base_model_prefix)):
            found += names
    buffers = dict(bare(model).named_buffers())
    found += [name for name, each in plain.named_buffers() if not torch.equal(each, buffers[name])]
    ends = bare(model).get_input_embeddings(), bare(model).get_output_embeddings()
    return found + ["tied"] * (ends[0].weight is not ends[1].weight)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """The embedded model's tokenizer with layers of 8 MiB."""
    folder = tmp_path_factory.mktemp("large") / "model"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 4,
             "head_dim": 64, "num_hidden_layers": LAYERS, "layer_types": ["full_attention"] * LAYERS}  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config.from_pretrained(EMBEDDED, **sizes)).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=TRAININGS)
def loading(request, large, micro_model, tmp_path_factory) -> tuple[list[dict[str, Any]], int, int]:
    """What each rank found, how many models it has, and the bytes of one."""
    folder = tmp_path_factory.mktemp("loading")
    options, models = TRAININGS[request.param]
    common = ["device=cpu", "engine.name=transformers", "train.format=raw", "task.train_limit=8"]
    small, big = (
        replace(
            training_job(folder / base.parent.name, *common, *options, gpus=COUNT, train_dtype="bfloat16"),
            base=str(base),
        )
        for base in (micro_model, large)
    )
    meeting = folder / "meeting"
    assert together(COUNT, meeting, lambda rank: (be_loading, small, big, rank, meeting)) == [0] * COUNT
    found = [read_json(meeting / f"{rank}.json") for rank in range(COUNT)]
    return found, models, (large / "model.safetensors").stat().st_size


def test_no_rank_ever_has_the_whole_model_on_its_device(loading):
    found, models, size = loading
    assert all(0.5 < each["placed"] / (models * size) < 0.65 for each in found)


def test_what_is_not_a_ranks_own_part_lies_in_the_files_alone(loading):
    found, models, size = loading
    assert all(0.4 < each["own"] / (models * size) < 0.75 for each in found)


def test_together_ranks_have_the_model_that_is_in_its_folder(loading):
    found, _, _ = loading
    assert [each["differ"] for each in found] == [[]] * COUNT
