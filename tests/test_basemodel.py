"""Which files are the model: they decide its fingerprint, and come with what is trained from it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import training_job
from recorder import Holding

from chattpl.basemodel import EMBEDDED, files_fingerprint
from chattpl.training.run import run_job

TEMPLATE, CODE = "additional_chat_templates/tools.jinja", "modeling_micro.py"
MODELING = """
from transformers import Qwen3ForCausalLM


class Micro(Qwen3ForCausalLM):
    pass
"""


@pytest.fixture
def model(micro_model, tmp_path) -> Path:
    """A model that comes with code and with a second chat template."""
    folder = tmp_path / "model"
    shutil.copytree(micro_model, folder)
    (folder / TEMPLATE).parent.mkdir()
    (folder / TEMPLATE).write_text("{{ tools }}")
    (folder / CODE).write_text(MODELING)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": f"{CODE.removesuffix('.py')}.Micro"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def changes_the_fingerprint(folder: Path, name: str, trust_remote_code: bool) -> bool:
    before = files_fingerprint(folder, trust_remote_code)
    (folder / name).write_text((folder / name).read_text() + "\n")
    return files_fingerprint(folder, trust_remote_code) != before


@pytest.mark.parametrize("trust_remote_code", [False, True])
@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", TEMPLATE])
def test_another_configuration_or_template_is_another_model(model, name, trust_remote_code):
    assert changes_the_fingerprint(model, name, trust_remote_code)


def test_other_code_is_another_model_where_it_is_trusted(model):
    assert changes_the_fingerprint(model, CODE, trust_remote_code=True)


def test_code_that_does_not_run_is_no_part_of_a_model(model):
    assert not changes_the_fingerprint(model, CODE, trust_remote_code=False)


def test_a_template_of_another_name_is_another_model(model):
    before = files_fingerprint(model, False)
    (model / TEMPLATE).rename(model / TEMPLATE.replace("tools", "rag"))
    assert files_fingerprint(model, False) != before


@pytest.mark.parametrize("trust_remote_code", [False, True])
def test_a_trained_model_has_the_files_of_its_base(model, trust_remote_code, tmp_path):
    options = ["sft.max_steps=1", "sft.per_device_train_batch_size=2", "task.train_limit=4"]
    job = training_job(tmp_path / "job", *options, trust_remote_code=trust_remote_code, base=str(model))
    run_job(replace(job, inputs={**job.inputs, "base": files_fingerprint(model, trust_remote_code)}), Holding(None))
    trained = {path.relative_to(job.output).as_posix() for path in Path(job.output).rglob("*") if path.is_file()}
    code = {CODE} if trust_remote_code else set()
    assert trained == {path.name for path in EMBEDDED.iterdir()} | {TEMPLATE, "train.json"} | code
