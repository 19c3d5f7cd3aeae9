"""report.html: the text of report.md, its pictures, and a browser of all samples, in one file that loads nothing.

page.html is the frame, page.css its look. The scripts are read in the order of `SCRIPTS`, as one module:

    dom.js       elements whose text is text
    tables.js    tables that can be sorted
    layout.js    pictures at full size, and room for the links at the top
    data.js      the embedded samples, unpacked when a cell is first looked at
    choice.js    which samples are listed: pairs of answers, heaps, filters, search
    words.js     what differs between two answers, and where an answer stands in its text
    sample.js    one sample: the answers side by side
    browser.js   the form, the list, the keys, the link to a sample

Model output reaches the page inside compressed data alone, and the document by `textContent` alone. The policy in the
page's head allows the one script and no request.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from chattpl.report.collect import Cell
from chattpl.report.html.markdown import to_html
from chattpl.report.html.settings import settings_section

SCRIPTS = ("dom.js", "tables.js", "layout.js", "data.js", "choice.js", "words.js", "sample.js", "browser.js")


def render(study: str, text: str, pictures: Mapping[str, bytes], cells: Sequence[Cell], data: Iterable[str]) -> str:
    """The whole page. The same cells give the same page.

    Args:
        study: the study's name.
        text: the content of report.md.
        pictures: the content of the SVG file, by the name of each figure.
        cells: the finished cells.
        data: what `embed` made of their samples.
    """
    head, sections = to_html(text, pictures)
    shown = [*sections, settings_section(cells)]
    style, script = _read("page.css"), "\n".join(_read(name) for name in SCRIPTS)
    links = [(section.id, section.title) for section in shown] + [("samples", "Samples")]
    return Template(_read("page.html")).substitute(
        title=escape(f"Report of study {study}"),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
        style=style,
        navigation="\n".join(f'<a href="#{id}">{escape(title)}</a>' for id, title in links),
        head=head,
        sections="\n".join(f'<section id="{section.id}">\n{section.html}\n</section>' for section in shown),
        data="\n".join(data),
        script=script,
    )


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """What the policy knows an inline style or script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}'"
