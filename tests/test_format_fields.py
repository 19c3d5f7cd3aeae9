"""From the configuration's `formats.NAME` to fields: defaults, what is refused, and in which words."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chattpl.errors import UserError
from chattpl.formats import KINDS, ChatFields, RawFields, parse_fields

CONF = Path(__file__).parents[1] / "conf"
SHIPPED = yaml.safe_load((CONF / "formats.yaml").read_text(encoding="utf-8"))

every_kind = pytest.mark.parametrize("kind", KINDS)


def refused(message, **values):
    with pytest.raises(UserError) as caught:
        parse_fields("mine", values)
    assert str(caught.value) == message


# --- values


@every_kind
def test_each_kind_is_shipped_under_its_own_name_with_every_field_at_its_default(kind):
    assert SHIPPED[kind] == KINDS[kind].Fields(kind=kind).to_dict()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_format_writes_out_every_field(name):
    assert SHIPPED[name].keys() == KINDS[SHIPPED[name]["kind"]].Fields(kind="").to_dict().keys()


@every_kind
def test_what_is_left_out_has_its_default(kind):
    assert parse_fields("mine", {"kind": kind}) == KINDS[kind].Fields(kind=kind)


def test_all_fields_of_a_chat_format_can_be_set():
    values = {
        "kind": "chat",
        "eos": "<|end|>",
        "shots": 3,
        "turns": False,
        "system": "Be brief.",
        "template_kwargs": {"enable_thinking": True},
    }
    assert parse_fields("mine", values) == ChatFields(**values)


def test_all_fields_of_a_raw_format_can_be_set():
    values = {"kind": "raw", "eos": "</s>", "shots": 3, "turns": False, "prompt": "Q: {question}", "answer_prefix": ""}
    assert parse_fields("mine", values) == RawFields(**values)


@every_kind
def test_fields_come_back_from_json_as_they_were(kind):
    fields = parse_fields("mine", {"kind": kind, "shots": 2})
    assert parse_fields("mine", json.loads(json.dumps(fields.to_dict()))) == fields


def test_fields_of_which_one_differs_are_written_differently():
    changed = [
        {"eos": "</s>"},
        {"shots": 1},
        {"turns": False},
        {"system": "s"},
        {"template_kwargs": {}},
    ]
    written = [json.dumps(parse_fields("mine", {"kind": "chat", **one}).to_dict()) for one in [{}, *changed]]
    assert len(set(written)) == len(written)


def test_a_change_to_what_was_written_changes_no_fields():
    fields = ChatFields()
    fields.to_dict()["template_kwargs"]["enable_thinking"] = True
    assert fields == ChatFields()


# --- what is refused


@pytest.mark.parametrize("values", [{}, {"kind": None}, {"kind": "???"}])
def test_a_format_without_a_kind_is_refused(values):
    refused("formats.mine.kind: is not set (possible: chat, raw)", **values)


def test_an_unknown_kind_is_refused_with_the_nearest():
    refused("formats.mine.kind=row: no such value, did you mean 'raw'? (possible: chat, raw)", kind="row")


@pytest.mark.parametrize("kind", [[], {"raw": 1}, 1, True])
def test_a_kind_that_is_no_text_is_refused(kind):
    with pytest.raises(UserError, match=rf"formats\.mine\.kind={re.escape(str(kind))}: no such value.*chat, raw"):
        parse_fields("mine", {"kind": kind})


def test_a_misspelt_key_is_refused_with_the_nearest():
    refused(
        "formats.mine.promt: no such key, did you mean 'prompt'? "
        "(possible: answer_prefix, eos, kind, prompt, shots, teach_empty_thought, turns)",
        kind="raw",
        promt="{question}",
    )


@pytest.mark.parametrize(("kind", "key"), [("raw", "system"), ("raw", "template_kwargs"), ("chat", "answer_prefix")])
def test_a_key_of_the_other_kind_is_refused(kind, key):
    with pytest.raises(UserError, match=rf"formats.mine.{key}: no such key.* \(possible: .*\)"):
        parse_fields("mine", {"kind": kind, key: "x"})


@pytest.mark.parametrize(
    ("kind", "key", "value", "wanted"),
    [
        ("raw", "shots", "two", "int"),
        ("raw", "shots", 2.0, "int"),
        ("raw", "shots", True, "int"),
        ("raw", "shots", None, "int"),
        ("raw", "turns", 1, "bool"),
        ("raw", "turns", "true", "bool"),
        ("raw", "prompt", 5, "str"),
        ("raw", "answer_prefix", None, "str"),
        ("chat", "eos", 2, "str or null"),
        ("chat", "system", False, "str or null"),
        ("chat", "template_kwargs", None, "dict with names as keys"),
        ("chat", "template_kwargs", ["enable_thinking"], "dict with names as keys"),
        ("chat", "template_kwargs", {1: 2}, "dict with names as keys"),
    ],
)
def test_a_value_of_another_type_is_refused(kind, key, value, wanted):
    refused(f"formats.mine.{key}={value!r}: must be of type {wanted}", **{"kind": kind, key: value})


@pytest.mark.parametrize(("prompt", "count"), [("Answer me", 0), ("{question} {question}", 2)])
def test_a_prompt_must_hold_the_question_once(prompt, count):
    refused(
        f"formats.mine.prompt: must hold '{{question}}' once, holds it {count} times",
        kind="raw",
        prompt=prompt,
    )


@every_kind
def test_the_number_of_shots_cannot_be_negative(kind):
    refused("formats.mine.shots=-1: must be at least 0", kind=kind, shots=-1)


def test_a_format_that_is_no_mapping_is_refused():
    with pytest.raises(UserError, match=r"formats\.mine='raw': must be of type dict"):
        parse_fields("mine", "raw")


# --- what it costs


def test_importing_the_formats_imports_neither_torch_nor_transformers():
    script = "import sys, chattpl.formats; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=CONF.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
