"""The site builds without a warning, holds together, and works from disk in a real browser."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import Browser, chromium
from conftest import ROOT


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
    options = ["--strict", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(folder)]
    search = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": search, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO ")]
    assert (done.returncode, said) == (0, [])  # with --quiet, --strict would see no warning
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
