"""The glossary, which stands in CONTRIBUTING.md."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def page() -> str:
    """The section of CONTRIBUTING.md as a page."""
    _, _, rest = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Glossary\n")
    section, _, _ = rest.partition("\n## ")
    return f"# Glossary\n{section}"
