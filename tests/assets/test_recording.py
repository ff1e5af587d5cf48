"""How what comes from data is shown in the UI, which takes it for Markdown."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from assets.recording import markdown_table, picture, sentence
from data.text import one_line

HOSTILE = [
    "![x](http://127.0.0.1:9/p)",
    "<img src=http://127.0.0.1:9/p>",
    "[a](javascript:alert(1))",
    "<http://a.b>",
    "a | b \\| c \\\\| d",
    "`code` **bold** _it_ ~~no~~ $x$",
    "# heading",
    "- item",
    "line\nbreak\n\n| a |\n|---|",
    "&lt;script&gt; <script>alert(1)</script>",
    "\\",
    "ends with \\",
    "[x]: http://127.0.0.1:9/p",
]


def cells(text: str) -> list[str]:
    """The text of a rendered table's cells, if each is nothing but text."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    shapes = {"table", "thead", "tbody", "tr", "th", "td"}
    assert {token.type.rpartition("_")[0] for token in tokens if token.type != "inline"} <= shapes
    return [_only_text(token) for token in tokens if token.type == "inline"]


def _only_text(token: Token) -> str:
    assert {child.type for child in token.children or []} <= {"text", "text_special"}
    return "".join(child.content for child in token.children or [])


@pytest.mark.parametrize("title", HOSTILE)
def test_a_title_in_a_table_is_shown_as_it_is(title: str) -> None:
    assert cells(markdown_table(pd.DataFrame({title: [title], "n": [-0.5]}))) == [
        one_line(title),
        "n",
        one_line(title),
        "-0.50",
    ]


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=4))
def test_whatever_titles_say_a_table_stays_a_table(titles: list[str]) -> None:
    table = markdown_table(pd.DataFrame({"title": titles, "number": range(len(titles))}))
    told = [one_line(title) for title in titles]
    shown = [(text if len(text) <= 60 else text[:57] + "...", str(place)) for place, text in enumerate(told)]
    assert cells(table) == ["title", "number", *(text for row in shown for text in row)]


def test_long_titles_are_cut_and_still_escaped() -> None:
    for filling in range(50, 62):
        (_, shown) = cells(markdown_table(pd.DataFrame({"title": ["x" * filling + "*a*|b|" * 5]})))
        assert len(shown) == 60


def test_on_a_terminal_nothing_is_escaped() -> None:
    assert markdown_table(pd.DataFrame({"candidate": ["bs-roformer"]}), one_line).endswith("| bs-roformer |")


def test_a_sentence_stays_readable_unless_a_name_in_it_acts() -> None:
    told = "bs-roformer is not better than the champion: +0.05 dB uSDR, 95 % interval -0.05 to +0.10"
    assert sentence(told) == told
    for title in HOSTILE:
        tokens = MarkdownIt("commonmark", {"html": True}).parse(sentence(f"the champion is {title}"))
        inside = {child.type for token in tokens for child in token.children or []}
        assert not {token.type for token in tokens} & {"html_block", "fence"}
        assert not inside & {"image", "link_open", "html_inline", "code_inline"}


def test_a_pictures_name_ends_no_picture() -> None:
    (token,) = [t for t in MarkdownIt().parse(str(picture(b"png", "a](http://b) ![c").value)) if t.type == "inline"]
    (image,) = token.children or []
    assert (image.type, image.content) == ("image", r"a\]\(http\:\/\/b\) \!\[c")
