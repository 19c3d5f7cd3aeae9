"""The reference of configuration and output files, which is made from the code."""

import re
from dataclasses import asdict, fields

import pytest
import yaml
from command_line import command
from conftest import ROOT, configuration

from chattpl.results import Result, Summary
from chattpl.train_report import TrainReport

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]


@pytest.fixture
def generated(monkeypatch) -> dict[str, str]:
    """The pages that are made from the code."""
    monkeypatch.syspath_prepend(str(DOCS / "generate"))
    import configuration as keys
    import files
    import glossary

    return {"configuration": keys.page(), "files": files.page(), "glossary": glossary.page()}


def leaves(node: dict, prefix: str = "") -> list[str]:
    return [
        name
        for key, value in node.items()
        for name in (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"])
    ]


@pytest.mark.parametrize("task", ["arithmetic", "gsm8k", "math500"])
def test_the_reference_has_every_key_of_the_configuration_with_type_and_default(task, generated, tmp_path):
    composed = yaml.safe_load(command(f"task={task}", "--cfg", "job", cwd=tmp_path).out)
    page = generated["configuration"]
    assert [name for name in leaves(composed) if f"| `{name}` |" not in page] == []


def test_the_reference_says_what_the_code_checks(generated):
    page = generated["configuration"]
    assert "| `eval.top_p` | `float`, above 0 to 1 | `1.0` | evaluation |" in page
    assert "| `train.masking` | `answer`, `full` | `answer` | model |" in page
    assert "| `sft.learning_rate` | `float` | `${times:${lora.learning_rate_factor},1.0e-5}` | model |" in page
    assert "| `sft.output_dir` | chattpl decides" in page


def test_the_reference_of_the_files_has_every_field(generated):
    for record in (Summary, Result, TrainReport):
        assert [each.name for each in fields(record) if f"| `{each.name}` |" not in generated["files"]] == []


def test_the_glossary_is_that_of_the_contributors(generated):
    assert "| cell | one trained model in one evaluation format" in generated["glossary"]


def test_every_page_names_only_keys_that_exist():
    known = set(leaves(asdict(configuration())))
    nodes = {name.partition(".")[0] for name in known} - {"formats", "wordings", "hydra"}
    named = {
        (page.name, key)
        for page in PAGES
        for key in re.findall(r"`((?:\w+\.)+\w+)=?[^`]*`", page.read_text(encoding="utf-8"))
        if key.partition(".")[0] in nodes - {"sft", "grpo", "lora", "task"}
        and not key.endswith((".json", ".jsonl", ".md", ".html"))
    }
    assert {(page, key) for page, key in named if key not in known} == set()
