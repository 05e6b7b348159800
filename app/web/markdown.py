"""Markdown of strangers as HTML that can do nothing: all but plain marks is taken out.

Raw HTML in the source is text. What the renderer makes goes through nh3's allow-list as well, and
the page forbids scripts, frames and foreign pictures by its content security policy.
"""

from urllib.parse import urljoin, urlsplit

import nh3
from markdown_it import MarkdownIt

from app.formats.model_card import card_body

SCHEMES = {"http", "https", "mailto"}
TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
    *("img", "li", "ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr"),
    "ul",
}
ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title"}, "ol": {"start"}}
MAX_NESTING = 20

_markdown = MarkdownIt(
    "commonmark", {"html": False, "maxNesting": MAX_NESTING, "linkify": False}
).enable(["table", "strikethrough"])


def card_text(data: bytes) -> str:
    """The Markdown of a README, its YAML head left out."""
    return card_body(data.decode("utf-8", "replace"))


def render_markdown(source: str, *, files: str) -> str:
    """Safe HTML. ``files``: address that relative links and pictures are resolved against."""

    def judge(_tag: str, attribute: str, value: str) -> str | None:
        if attribute not in {"href", "src"}:
            return value
        if urlsplit(value).scheme in SCHEMES or value.startswith("#"):
            return value
        return urljoin(files, value) if not urlsplit(value).scheme else None

    return nh3.clean(
        _markdown.render(source),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=judge,
        url_schemes=SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )
