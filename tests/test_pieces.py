"""A study that is continued from a copy without weights, as a user does it: copy, then the same command again."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import command

OPTIONS = ["engine.name=transformers", "method=sft", "sft.max_steps=2", "study=pieces"]
WEIGHTS = "*.safetensors"
MODEL = "sft_chat_template--sft.max_steps=2"


@pytest.fixture(scope="module")
def original(micro, tmp_path_factory) -> Path:
    """A folder with a study of one cell."""
    folder = tmp_path_factory.mktemp("original")
    ended = command(*micro, *OPTIONS, "eval.format=chat", cwd=folder)
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture
def copy(original, tmp_path) -> Path:
    """A copy of it without weights, in another folder."""
    shutil.copytree(original, tmp_path / "copy", ignore=shutil.ignore_patterns(WEIGHTS))
    return tmp_path / "copy"


def model_of(folder: Path) -> Path:
    return folder / "outputs" / "pieces" / "models" / MODEL


def weights_of(folder: Path) -> bytes:
    return (model_of(folder) / "model.safetensors").read_bytes()


def manifest_of(folder: Path) -> dict:
    return json.loads((model_of(folder) / "train.json").read_text())


def test_the_report_needs_no_weights_and_shows_the_curves(copy):
    ended = command("stage=report", "study=pieces", cwd=copy)
    assert ended.status == 0, ended.err
    assert "## Training" in (copy / "outputs/pieces/report/report.md").read_text()


def test_an_evaluated_cell_trains_nothing(copy, micro):
    ended = command(*micro, *OPTIONS, "eval.format=chat", cwd=copy)
    assert ended.status == 0, ended.err
    assert "0 trained, 0 evaluated" in ended.out + ended.err
    assert not list(model_of(copy).glob(WEIGHTS))


def test_an_evaluated_cell_is_finished_though_its_model_folder_is_not_there(copy, micro):
    shutil.rmtree(model_of(copy))
    ended = command(*micro, *OPTIONS, "eval.format=chat", cwd=copy)
    assert ended.status == 0, ended.err
    assert not model_of(copy).exists()


def test_grading_again_needs_no_weights(copy, micro):
    ended = command(*micro, *OPTIONS, "eval.format=chat", "stage=grade", cwd=copy)
    assert ended.status == 0, ended.err


def test_a_cell_that_must_ask_trains_the_same_weights_again_and_says_so(copy, original, micro):
    ended = command("-m", *micro, *OPTIONS, "eval.format=chat,raw", cwd=copy)
    assert ended.status == 0, ended.err
    assert "its weights are elsewhere, so it is trained again" in ended.out + ended.err
    assert "1 trained, 1 evaluated" in ended.out + ended.err
    assert weights_of(copy) == weights_of(original)
    assert manifest_of(copy)["fingerprint"] == manifest_of(original)["fingerprint"]


def test_stage_eval_says_that_the_weights_are_elsewhere(copy, micro):
    ended = command(*micro, *OPTIONS, "eval.format=raw", "stage=eval", cwd=copy)
    assert ended.status == 1
    assert f"error: stage=eval: {MODEL} has its weights elsewhere" in ended.err


def test_stage_train_trains_what_is_known_but_not_there(copy, micro):
    ended = command(*micro, *OPTIONS, "stage=train", cwd=copy)
    assert ended.status == 0, ended.err
    assert list(model_of(copy).glob(WEIGHTS))


def test_a_missing_shard_is_missing_weights(copy, micro, original):
    shutil.copy(model_of(original) / "model.safetensors", model_of(copy) / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model_of(copy) / "model.safetensors.index.json").write_text(json.dumps(index))
    ended = command(*micro, *OPTIONS, "eval.format=raw", "stage=eval", cwd=copy)
    assert "has its weights elsewhere" in ended.err


def test_what_another_type_of_device_trained_is_not_trained_again_in_its_place(copy, micro):
    from chattpl.hashing import digest

    path = model_of(copy) / "train.json"
    manifest = manifest_of(copy)
    manifest["inputs"]["device"] = "cuda"
    path.write_text(json.dumps({**manifest, "fingerprint": digest(manifest["inputs"])}))
    ended = command(*micro, *OPTIONS, "eval.format=raw", cwd=copy)
    assert ended.status == 1
    assert "its weights are elsewhere, and were trained on cuda" in ended.err
    assert not list(model_of(copy).glob(WEIGHTS))


def pretend_other_weights(folder: Path) -> None:
    """As if a machine that rounds differently had trained and asked the model."""
    for path in (model_of(folder) / "train.json", *folder.glob("outputs/pieces/eval/*/summary.json")):
        path.write_text(json.dumps({**json.loads(path.read_text()), "weights": "0" * 64}))


def test_the_earlier_account_of_a_training_is_kept_and_the_report_names_both(copy, micro):
    pretend_other_weights(copy)
    earlier = manifest_of(copy)
    ended = command(*micro, *OPTIONS, "eval.format=raw", cwd=copy)
    assert ended.status == 0, ended.err
    assert json.loads((model_of(copy) / "train-00000000.json").read_text()) == earlier
    assert manifest_of(copy)["weights"] != earlier["weights"]
    report = (copy / "outputs/pieces/report/report.md").read_text()
    assert "The training run of" in report


def test_answers_of_earlier_weights_are_not_continued(copy, micro):
    pretend_other_weights(copy)
    (evaluated,) = copy.glob("outputs/pieces/eval/*")
    folder = next((copy / "outputs/pieces/.work/eval").glob("*.lock")).with_suffix("")
    folder.mkdir()
    answers = [[[index, 0, [5], "eos"]] for index in range(8)]
    lines = [json.dumps({"seconds": 1.0, "answers": each}) for each in answers]
    (folder / "answers-00000000.jsonl").write_text("\n".join(lines) + "\n")
    before = json.loads((evaluated / "results.json").read_text())
    shutil.rmtree(evaluated)
    ended = command(*micro, *OPTIONS, "eval.format=chat", cwd=copy)
    assert ended.status == 0, ended.err
    (evaluated,) = copy.glob("outputs/pieces/eval/*")
    assert json.loads((evaluated / "results.json").read_text()) == before


def test_a_checkpoint_without_weights_is_none(tmp_path):
    from chattpl.training.callbacks import last_checkpoint

    for step, name in ((1, "model.safetensors"), (2, "optimizer.pt")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / name).touch()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
