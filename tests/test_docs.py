"""The site: every command on it runs, its reference is whole, and it builds, holds together and works from disk."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from unittest import mock
from urllib.parse import unquote, urlsplit

import pytest
from browser import Browser, chromium
from command_line import command
from conftest import MICRO_CONFIG, ROOT, SHARED, configuration

from chattpl import hydra_app

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(r"^```(\w+)(?: title=\"(.+)\")?\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
MATRIX = ["-m", "experiment=glob(*)", "eval.format=chat,raw"]
# What does not run here: another machine's launcher, a model that would be downloaded, a folder of the reader's.
LAUNCHERS = {"slurm_gpu": "submitit", "ray_gpu": "ray", "joblib_cpu": "joblib"}
ELSEWHERE = ("hydra/launcher=", "qwen3_", "Qwen/", "model.path=/models/")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, file name and content of each fenced block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    return [line for language, _, text in blocks(page) if language == "bash" for line in text.splitlines() if line]


SLOW = {"docs/howto/grid.md": [pytest.mark.slow]}  # 25 cells
NAMES = {page.relative_to(ROOT).as_posix(): page for page in PAGES if commands(page)}
WITH_COMMANDS = [pytest.param(page, id=name, marks=SLOW.get(name, [])) for name, page in NAMES.items()]


@pytest.fixture(scope="module")
def small(micro_model, tmp_path_factory) -> Iterator[Path]:
    """A folder for all pages. Commands run as they are typed, with a model and data of which a cell takes a second."""
    folder = tmp_path_factory.mktemp("docs") / "conf"
    shutil.copytree(ROOT / "conf", folder)
    tiny = MICRO_CONFIG.replace("name: micro", "name: tiny").replace("PATH", str(micro_model))
    (folder / "model/tiny.yaml").write_text(tiny)
    for name, train, test in (("arithmetic", 600, 8), ("gsm8k", 16, 4)):
        path = folder / f"task/{name}.yaml"
        text = re.sub(r"train_limit: .*", f"train_limit: {train}", path.read_text())
        path.write_text(re.sub(r"test_limit: .*", f"test_limit: {test}", text))
    with (
        mock.patch.object(hydra_app, "configuration_folder", return_value=folder),
        mock.patch.dict(sys.modules, {"vllm": None}),
    ):
        yield folder.parent


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_of_a_page_runs(page, small, monkeypatch):
    monkeypatch.syspath_prepend(str(small))
    for _, name, text in blocks(page):
        if name:
            (small / name).parent.mkdir(parents=True, exist_ok=True)
            (small / name).write_text(text)
    for line in commands(page):
        run(line, small)


def run(line: str, folder: Path) -> None:
    """Run one command of a page, or what can be run of it here."""
    name, *arguments = shlex.split(line)
    if name == "./multirun.sh":
        assert os.access(ROOT / name, os.X_OK)
        run_chattpl([] if arguments == ["--setup"] else [*MATRIX, *arguments], folder)
    elif name == "chattpl":
        run_chattpl(arguments, folder)
    elif name == "eval":
        run_chattpl(["-sc", "install=bash"], folder)
    elif name == "pip":
        check_extra(arguments[-1])
    elif name in ("mkdir", "rsync"):
        assert shutil.which(name), f"needs {name} (apt-get install {name})"
        subprocess.run([name, *arguments], cwd=folder, check=True)
    else:
        assert line in ("source .venv/bin/activate", "tests/run.sh"), f"no test runs this: {line}"


def run_chattpl(arguments: list[str], folder: Path) -> None:
    if "task.source=data/gsm8k" in arguments and SHARED.is_dir():
        (folder / "data").symlink_to(SHARED / "data")
    elif any(word in argument for word in ELSEWHERE for argument in arguments):
        arguments = [*composable(arguments), "--cfg", "job"]
    elif "hydra/sweeper=optuna" in arguments:
        pytest.importorskip("optuna", reason="optuna is not installed")
    # A report takes longer than all the rest. It is written where a page asks for one, from all cells so far.
    reports = contextlib.nullcontext() if "stage=report" in arguments else mock.patch("chattpl.conclusion._report")
    with reports:
        ended = command(*arguments, cwd=folder)
    assert ended.status == 0, f"{shlex.join(arguments)}: {ended.err}"


def composable(arguments: list[str]) -> list[str]:
    """One job of a sweep; a launcher that is not installed here is left out with its keys."""
    chosen = next((each.partition("=")[2] for each in arguments if each.startswith("hydra/launcher=")), None)
    left_out = ("hydra",) if chosen and find_spec(LAUNCHERS[chosen]) is None else ()
    single = [each for each in arguments if each != "-m" and not any(word in each for word in ("glob", *left_out))]
    return [re.sub(r"^([\w.]+=[\w.]+),.*", r"\1", each) for each in single]


def check_extra(requirement: str) -> None:
    (name,) = re.findall(r"\[(\w+)\]$", requirement)
    assert name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


# --- the reference


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
    import yaml

    composed = yaml.safe_load(command(f"task={task}", "--cfg", "job", cwd=tmp_path).out)
    page = generated["configuration"]
    assert [name for name in leaves(composed) if f"| `{name}` |" not in page] == []


def test_the_reference_says_what_the_code_checks(generated):
    page = generated["configuration"]
    assert "| `eval.top_p` | `float`, above 0 to 1 | `1.0` | evaluation |" in page
    assert "| `train.masking` | `answer`, `full` | `answer` | model |" in page
    assert "| `sft.learning_rate` | `float` | `1.0e-5` | model |" in page
    assert "| `sft.output_dir` | chattpl decides" in page


def test_the_reference_of_the_files_has_every_field(generated):
    from dataclasses import fields

    from chattpl.results import Result, Summary
    from chattpl.train_report import TrainReport

    for record in (Summary, Result, TrainReport):
        assert [each.name for each in fields(record) if f"| `{each.name}` |" not in generated["files"]] == []


def test_the_glossary_is_that_of_the_contributors(generated):
    assert "| cell | one trained model in one evaluation format" in generated["glossary"]


def test_every_page_names_only_keys_that_exist():
    known = set(leaves(configuration_values()))
    nodes = {name.partition(".")[0] for name in known} - {"formats", "wordings", "hydra"}
    named = {
        (page.name, key)
        for page in PAGES
        for key in re.findall(r"`((?:\w+\.)+\w+)=?[^`]*`", page.read_text(encoding="utf-8"))
        if key.partition(".")[0] in nodes - {"sft", "grpo", "task"}
        and not key.endswith((".json", ".jsonl", ".md", ".html"))
    }
    assert {(page, key) for page, key in named if key not in known} == set()


def configuration_values() -> dict:
    from dataclasses import asdict

    return asdict(configuration())


# --- the site


class Links(HTMLParser):
    """What a page links to and loads, and the anchors that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get("src") or (tag == "link" and found.get("href")):
            self.loaded.append(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built without a warning."""
    for package in ("mkdocs", "material"):
        pytest.importorskip(package, reason="MkDocs Material is not installed (pip install '.[docs]')")
    folder = tmp_path_factory.mktemp("site")
    options = ["--strict", "--quiet", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(folder)]
    search = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": search, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def parsed(site) -> dict[Path, Links]:
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_leads_somewhere(parsed):
    broken = []
    for path, page in parsed.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (target in parsed and unquote(parts.fragment) not in parsed[target].anchors):
                broken.append((path.name, link))
    assert broken == []


def test_no_page_loads_anything_from_elsewhere(parsed):
    assert [link for page in parsed.values() for link in page.loaded if urlsplit(link).scheme not in ("", "data")] == []


def search_for(word: str) -> str:
    return f"""(() => {{
      const field = document.querySelector("[data-md-component=search-query]");
      field.focus();
      field.value = "{word}";
      for (const name of ["input", "keyup"]) field.dispatchEvent(new Event(name, {{bubbles: true}}));
    }})()"""


@pytest.mark.skipif(chromium() is None, reason="needs Chromium (apt-get install chromium)")
@pytest.mark.parametrize(("preference", "scheme"), [("light", "default"), ("dark", "slate")])
def test_the_site_works_from_disk_light_and_dark_without_a_complaint(preference, scheme, site):
    browser = Browser()
    try:
        browser.emulate(prefers_color_scheme=preference)
        browser.open(site / "index.html", until="document.querySelector('.md-header')")
        assert browser.evaluate("document.body.dataset.mdColorScheme") == scheme
        browser.evaluate(search_for("masking"))
        browser.wait("document.querySelector('.md-search-result__item a')")
        assert "Configuration" in browser.evaluate("document.querySelector('.md-search-result').innerText")
        browser.open(site / "reference/configuration.html")
        assert browser.complaints == []
        assert [each for each in browser.requests if not each.startswith(("file:", "data:"))] == []
    finally:
        browser.close()
