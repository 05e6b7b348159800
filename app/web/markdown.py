"""Markdown of strangers as HTML that can do nothing: all but plain marks is taken out.

Raw HTML in the source is text. What the renderer makes goes through nh3's allow-list as well, and
the page forbids scripts, frames and foreign pictures by its content security policy.
"""

from urllib.parse import urljoin, urlsplit

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from app.formats.model_card import card_body

SCHEMES = {"http", "https", "mailto"}
TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
    *("img", "li", "ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr"),
    "ul",
}
ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title"}, "ol": {"start"}}
MAX_NESTING = 20
RENDERED_LENGTH = 100_000

_markdown = MarkdownIt(
    "commonmark", {"html": False, "maxNesting": MAX_NESTING, "linkify": False}
).enable(["table", "strikethrough"])


def card_text(data: bytes) -> str:
    """The Markdown of a README, its YAML head left out."""
    return card_body(data.decode("utf-8", "replace"))


class Renderer:
    """Renders the texts of one page as safe HTML. Not thread-safe.

    ``files``: address that relative links and pictures are resolved against. Rendering takes up to
    ten microseconds a character: texts beyond ``RENDERED_LENGTH`` together are shown as they are.
    """

    def __init__(self, *, files: str) -> None:
        self._files = files
        self._room = RENDERED_LENGTH

    def __call__(self, source: str) -> Markup:
        """One text."""
        self._room -= len(source)
        if self._room < 0:
            return Markup("<pre>{}</pre>").format(source)
        cleaned = nh3.clean(
            _markdown.render(source),
            tags=TAGS,
            attributes=ATTRIBUTES,
            attribute_filter=self._judge,
            url_schemes=SCHEMES,
            link_rel="nofollow noopener noreferrer",
        )
        return Markup(cleaned)  # noqa: S704  just cleaned

    def _judge(self, _tag: str, attribute: str, value: str) -> str | None:
        if attribute not in {"href", "src"}:
            return value
        try:
            scheme = urlsplit(value).scheme
            if scheme in SCHEMES or value.startswith("#"):
                return value
            return None if scheme else urljoin(self._files, value)
        except ValueError:  # as of http://[
            return None
