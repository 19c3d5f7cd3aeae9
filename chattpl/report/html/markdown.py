"""The sections of report.md as HTML."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

SCROLLED = '<div class="scrolled" tabindex="0" role="region" aria-label="Table">'


@dataclass(frozen=True)
class Section:
    """A section of the page: the id that links lead to, its heading as plain text, and its content."""

    id: str
    title: str
    html: str


def to_html(text: str, pictures: Mapping[str, bytes]) -> tuple[str, list[Section]]:
    """What stands before the first heading of the second level, and the section below each of these.

    HTML in the text stays text. An image `NAME.png` becomes the picture NAME, inside the page; of another image the
    page shows the caption alone.

    Args:
        text: Markdown.
        pictures: SVG by name.
    """
    markdown = _parser()
    tokens = markdown.parse(text)
    starts = [place for place, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    edges = [*starts, len(tokens)]
    rendered = [
        markdown.renderer.render(tokens[start:end], markdown.options, {"pictures": pictures})
        for start, end in zip([0, *starts], edges, strict=True)
    ]
    titles = [_text(tokens[start + 1]) for start in starts]
    sections = map(Section, _ids(titles), titles, rendered[1:])
    return rendered[0], list(sections)


def _parser() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    for name, rule in {"image": _image, "th_open": _field, "td_open": _field}.items():
        markdown.add_render_rule(name, rule)
    markdown.add_render_rule("table_open", lambda *_: f"{SCROLLED}\n<table>\n")
    markdown.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return markdown


def _image(renderer: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    token = tokens[place]
    caption = escape(renderer.renderInlineAsText(token.children, options, env))
    picture = env["pictures"].get(PurePosixPath(str(token.attrs["src"])).stem)
    if picture is None:
        return f"<em>{caption}</em>"
    content = base64.b64encode(picture).decode("ascii")
    return f'<img class="picture" alt="{caption}" src="data:image/svg+xml;base64,{content}">'


def _field(renderer: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    """A field of a table; its alignment is a class, since the page's policy allows no style of its own."""
    token = tokens[place]
    number = "right" in str(token.attrs.get("style", ""))
    return f'<{token.tag} class="number">' if number else f"<{token.tag}>"


def _text(heading: Token) -> str:
    return "".join(child.content for child in heading.children or [])


def _ids(titles: Sequence[str]) -> list[str]:
    """An id for each title, all different."""
    ids: list[str] = []
    for title in titles:
        id = "section-" + re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
        ids.append(id if id not in ids else f"{id}-{len(ids)}")
    return ids
