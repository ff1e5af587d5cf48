"""How text that comes from data (names, titles, messages of other programs) is shown: on a terminal, and in Markdown.

Names are anything: bytes of another encoding, control characters, links, markup. Nothing of them may act where it is
shown. HTML is escaped by its templates.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext, suppress
from typing import TextIO

# What Markdown (with HTML in it) may take for markup, wherever in a line it stands. A backslash before ASCII
# punctuation makes it plain in every Markdown since CommonMark.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-!|~&$^:@./=\"'])")


def plain(text: object) -> str:
    """`text` without anything that a terminal or a log would act on or cannot show, on one line or several.

    Bytes that are no UTF-8 (surrogates, as `os.fsdecode` makes them) and control characters become `\\xe9`; line breaks
    and tabs stay.
    """
    told = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    return "".join(_shown(character) for character in told)


def one_line(text: object) -> str:
    """`plain` text with line breaks and tabs shown as a space."""
    return " ".join(plain(text).split())


def markdown(text: object) -> str:
    """`text` as Markdown that shows it as it is: no link, picture, heading or HTML comes of it, and no line break."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def say(text: object, stream: TextIO | None = None) -> None:
    """Write a line for a person, on standard error unless told otherwise; what the stream cannot show is escaped.

    Raises OSError where another stream takes nothing. Standard error that is closed, or goes to a full disk, is no
    reason to end what is told of.
    """
    told = sys.stderr if stream is None else stream
    encoding = told.encoding or "utf-8"
    with suppress(OSError) if told is sys.stderr else nullcontext():
        told.write(plain(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _shown(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not decode
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
