"""`stage=preview`: what exactly the model sees, without weights and without an engine."""

import json

import pytest
from command_line import command

from chattpl.basemodel import EMBEDDED


@pytest.fixture(scope="module")
def tokenizer_only(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    for path in EMBEDDED.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def previewed(tokenizer_only, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("preview")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        ended = command("stage=preview", f"model.path={tokenizer_only}", "eval.format=raw", cwd=cwd)
    assert ended.status == 0, ended.err
    folder = cwd / "outputs/arithmetic-tiny/eval/sft_chat_template_eval_raw"
    return json.loads((folder / "preview.json").read_text()), ended.out


def test_it_needs_no_weights(previewed):
    assert previewed[0]["parity"] is True


def test_the_rollouts_prompt_is_how_the_training_sample_begins(previewed):
    preview = previewed[0]
    rollout = preview["rollout"]["token_ids"]
    assert preview["train"]["token_ids"][: len(rollout)] == rollout


def test_the_loss_is_on_the_answer_and_its_end_token(previewed, tiny_formats):
    preview = previewed[0]
    prompt = len(preview["rollout"]["token_ids"])
    assert preview["train"]["trained"] == [0] * prompt + [1] * (len(preview["train"]["token_ids"]) - prompt)
    assert preview["train"]["token_ids"][-1] == tiny_formats["chat"].end_token_id


def test_the_stop_policy_is_told(previewed, tiny_stop):
    shown = previewed[0]["eval"]
    assert shown["stop_token_ids"] == list(tiny_stop.token_ids)
    assert shown["stop"] == list(tiny_stop.strings)


def test_the_terminal_shows_each_tokens_id_and_the_verdict(previewed):
    preview, terminal = previewed
    for index in preview["train"]["token_ids"]:
        assert str(index) in terminal
    assert "parity: the same prompt in SFT, rollouts and evaluation" in terminal


def test_the_evaluation_prompt_is_raw_text(previewed):
    assert previewed[0]["eval"]["text"].startswith("Question: ")
    assert previewed[0]["eval"]["text"].endswith("\nAnswer:")
