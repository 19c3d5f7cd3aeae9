"""The pages that mkdocs makes from the code at build time, so that they cannot get out of date."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))  # a hook is loaded by its path

import configuration
import files
import glossary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BROWSER = "browser.html"  # a study's report.html on the site, where its report.md becomes report.html
PAGES = {
    "concepts/glossary.md": glossary.page,
    "reference/configuration.md": configuration.page,
    "reference/files.md": files.page,
}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, the tables and pictures of `benchmarks/`, and the studies' browsers of samples."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for source in sorted((ROOT / "benchmarks").glob("*")):
        if source.suffix in (".md", ".png"):
            files.append(File.generated(config, f"benchmarks/{source.name}", abs_src_path=str(source)))
    for source in sorted(DOCS.glob("results/*/report.html")):
        path = source.relative_to(DOCS).with_name(BROWSER)
        files.append(File.generated(config, path.as_posix(), abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Lead a study's links to its `report.html` to where the site has it."""
    return markdown.replace("(report.html)", f"({BROWSER})") if page.file.src_uri.startswith("results/") else markdown
