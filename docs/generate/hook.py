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
PAGES = {
    "concepts/glossary.md": glossary.page,
    "reference/configuration.md": configuration.page,
    "reference/files.md": files.page,
}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and the tables of `benchmarks/` with their pictures."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for source in sorted((ROOT / "benchmarks").glob("*")):
        if source.suffix in (".md", ".png"):
            files.append(File.generated(config, f"benchmarks/{source.name}", abs_src_path=str(source)))
    return files
