"""A README does nothing on the page: whatever it holds, what comes out are plain marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats.model_card import card_body
from app.web.markdown import ATTRIBUTES, RENDERED_LENGTH, TAGS, Renderer, card_text
from tests.fixtures.pages import assert_harmless, parsed

FILES = "/alice/m/resolve/abc/"


def rendered(source: str) -> str:
    """The HTML of one text."""
    return Renderer(files=FILES)(source)


def assert_plain(html: str) -> None:
    """Nothing but the marks that are allowed, and nothing that runs."""
    assert_harmless(html)
    for tag, attributes in parsed(html):
        assert tag in TAGS, tag
        assert attributes.keys() <= ATTRIBUTES.get(tag, set()) | {"rel"}, (tag, attributes)


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml,<svg onload=alert(1)>)",
    '[x](http://e.org "onmouseover=alert(1) x=")',
    '![x](x" onerror="alert(1))',
    "<iframe src=//e.org></iframe>",
    "<base href=//e.org>",
    "<style>*{display:none}</style>",
    "<form action=//e.org><input name=token></form>",
    "<object data=x></object>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img onerror=a&gt;">',
    "[x]: javascript:alert(1)\n[x]",
    "<a href='vbscript:x'>x</a>",
    "`<script>`\n```\n<script>\n```",
    "<javascript:alert(1)>",
    "[a](<javascript:alert(1)>)",
    "[a](http://[b) ![a](//[b)",
    "| a |\n|-|\n| <script> |",
    "<details open ontoggle=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
]
MARKS = ["\n\n", "> ", "* ", "[", "](", ")", "`", "|", "\x00"]


@pytest.mark.parametrize("source", HOSTILE)
def test_nothing_runs(source: str):
    assert_plain(rendered(source))


@given(st.lists(st.sampled_from([*HOSTILE, *MARKS]) | st.text(max_size=8), max_size=12))
def test_no_mixture_runs_either(parts: list[str]):
    assert_plain(rendered("".join(parts)))


def test_what_cards_are_written_for_stays():
    html = rendered("# A\n\n**b** `c` [d](e/f.md) ![g](h.png)\n\n| i |\n|-|\n| j |")
    tags = dict(parsed(html))
    assert {"h1", "strong", "code", "table"} <= tags.keys()
    assert tags["a"]["href"] == FILES + "e/f.md"
    assert tags["img"]["src"] == FILES + "h.png"
    assert "noopener" in (tags["a"]["rel"] or "")


def test_the_head_is_not_shown():
    assert card_text(b"---\nlicense: mit\n---\n# A\n").strip() == "# A"
    assert card_body("# A") == "# A"


def test_deep_nesting_is_cheap():
    html = rendered("> " * 5_000 + "x" + "[" * 5_000)
    assert len(html) < 100_000


def test_what_would_take_long_is_shown_as_it_is():
    renderer = Renderer(files=FILES)
    texts = ["**a** <script>" + "![" * (RENDERED_LENGTH // 4), "**b** <script>", "**c**" * 40_000]
    first, second, third = map(renderer, texts)
    assert "<strong>a</strong>" in first
    assert "<strong>b</strong>" in second
    assert third.startswith("<pre>**c**")
    assert renderer("<img onerror=x>") == "<pre>&lt;img onerror=x&gt;</pre>"
