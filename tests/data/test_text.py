import errno
import io
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError, os_error
from data.text import markdown, one_line, plain, say


@given(st.text() | st.binary().map(os.fsdecode))
def test_no_text_can_act_on_a_terminal_or_fail_to_be_written(text: str) -> None:
    shown = plain(text)
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    shown.encode("utf-8")
    for encoding in ("ascii", "latin-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        say(text, stream)
        stream.flush()
    assert "\n" not in one_line(text)


def test_names_that_are_not_utf8_stay_readable() -> None:
    assert plain(Path(os.fsdecode(b"caf\xe9.wav"))) == "caf\\xe9.wav"
    assert plain("\x1b[31mred") == "\\x1b[31mred"
    assert plain("王菲 - 她 é") == "王菲 - 她 é"


@pytest.mark.parametrize(
    "title",
    ["![x](http://127.0.0.1/p)", "[a](javascript:x)", "<img src=x>", "http://a.b/c", "a | b", "`x`", "# h", "a@b.c"],
)
def test_no_markup_comes_of_a_title(title: str) -> None:
    shown = markdown(title)
    assert shown.replace("\\", "") == title
    for character in "![]()<>|`#:@":
        assert all(shown[at - 1] == "\\" for at, found in enumerate(shown) if found == character)


def test_an_error_of_the_operating_system_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    told = os_error(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x.wav")), "song")
    assert isinstance(told, InputError)
    assert told.file == str(tmp_path / "x.wav")
    assert "larger disk" in told.remedy
    assert os_error(OSError("odd"), "song").found == "odd"


def test_a_message_stays_readable_whatever_was_found() -> None:
    problem = InputError("settings", expected="a number", found="9" * 100_000, remedy="correct it")
    assert "(100000 characters)" in str(problem)
    assert len(str(problem)) < 5_000
    assert problem.about("settings").found == problem.found
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)
