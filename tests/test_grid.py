"""`grid=ptst`: five prompt templates, each a format of training and evaluation, as typed."""

import json

import pytest
import yaml
from command_line import command
from conftest import ROOT, configuration
from known_tokenizers import NAMES, known

from chattpl.basemodel import EMBEDDED
from chattpl.formats import ChatFields, make_format

GRID = yaml.safe_load((ROOT / "conf/grid/ptst.yaml").read_text(encoding="utf-8"))
INSTRUCTION = "End with a number."


@pytest.fixture(scope="module")
def previews(tmp_path_factory):
    """What `stage=preview` shows of each template, trained and evaluated in it."""
    cwd = tmp_path_factory.mktemp("grid")
    for name in GRID:
        ended = command("grid=ptst", "stage=preview", f"train.format={name}", f"eval.format={name}", cwd=cwd)
        assert ended.status == 0, ended.err
    folders = {name: cwd / f"outputs/arithmetic-tiny/eval/sft_{name}_eval_{name}/preview.json" for name in GRID}
    return {name: json.loads(path.read_text()) for name, path in folders.items()}


def test_it_adds_five_formats_and_leaves_those_that_ship():
    assert len(GRID) == 5
    assert {*GRID, "chat", "raw"} <= {*configuration("grid=ptst").formats}
    assert not {*GRID} & {*configuration().formats}


def test_each_template_has_the_same_prompt_in_training_and_evaluation(previews):
    assert [preview["parity"] for preview in previews.values()] == [True] * 5


def test_no_two_templates_write_the_same_prompt(previews):
    assert len({preview["eval"]["text"] for preview in previews.values()}) == 5


def test_the_plain_ones_have_no_turn_and_the_others_have(previews):
    turns = {name: "<|im_start|>" in preview["eval"]["text"] for name, preview in previews.items()}
    assert turns == {name: values["kind"] == "chat" for name, values in GRID.items()}


def test_a_models_name_shows_the_template_alone(previews):
    assert "text_alpaca" in previews  # found in sft_text_alpaca_eval_text_alpaca


@pytest.mark.parametrize("tokenizer", NAMES)
@pytest.mark.parametrize("name", ["chat", "thinking", "raw", *GRID])
def test_a_template_that_ships_is_trained_on_exactly_the_prompt_that_is_asked(name, tokenizer):
    form = make_format(name, configuration("grid=ptst").formats[name], known(tokenizer), INSTRUCTION)
    example = form.example("Natalia sold 48 clips. How many?", "Natalia sold\n48 clips.\n#### 48")
    assert example.prompt_ids == form.prompt_ids("Natalia sold 48 clips. How many?")


# The user's turn of a chat format


def test_a_prompt_stands_around_the_question_and_its_instruction(tiny_tokenizer):
    form = make_format("mine", ChatFields(prompt="Task: {question}\nSolve it."), tiny_tokenizer, INSTRUCTION)
    text = tiny_tokenizer.decode(form.prompt_ids("1 + 1?"))
    assert "<|im_start|>user\nTask: 1 + 1?\nEnd with a number.\nSolve it.<|im_end|>" in text
    assert form.prompt_ids("1 + 1?") == form.reference_ids("1 + 1?")


def test_it_stands_around_each_worked_example_too(tiny_tokenizer):
    from chattpl.tasks import Sample

    fields = ChatFields(prompt="Task: {question}", shots=1)
    form = make_format("mine", fields, tiny_tokenizer, INSTRUCTION, [Sample("2 + 2?", "It is 4.", "4")])
    text = tiny_tokenizer.decode(form.prompt_ids("1 + 1?"))
    assert text.count("Task: ") == 2
    assert "Task: 2 + 2?" in text


def test_a_chat_prompt_without_the_question_is_refused(tmp_path):
    ended = command("stage=preview", "formats.chat.prompt=Solve it", f"model.path={EMBEDDED}", cwd=tmp_path)
    assert ended.status == 1
    assert "formats.chat.prompt: must hold '{question}' once, holds it 0 times" in ended.err
