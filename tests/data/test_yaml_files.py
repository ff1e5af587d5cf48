"""YAML that people write, or that somebody means harm with."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.yaml_files import LARGEST, parse_yaml, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def read(path: Path, words: bool = False) -> object:
    return read_yaml(path, "a list", expected="YAML", remedy="mend it", words=words)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\na: 2", "the key a stands twice"),
        ("a: &x 1\nb: *x", "anchor or alias"),
        (BOMB, "anchor or alias"),
        ("&a [*a]", "anchor or alias"),
        ("a: !!binary aGk=", "a tag"),
        ("!!python/object/apply:os.system ['true']", "a tag"),
        ("a: !mine b", "a tag"),
        ("---\na: 1\n---\nb: 2", "a second document"),
        ("[" * 100_000, "in each other"),
        ("- " * 100_000, "in each other"),
        ("? " * 100_000, "in each other"),
        ("{a: " * 100_000, "in each other"),
        ("? [a, b]\n: c", "a key that is a list"),
        ('a: "\\0"', "a character that is none"),
        ('a: "\\ud800"', "line 1"),
        ("a: \x07", "control characters"),
        ("a: 'x", "line 1"),
        ("a: " + "9" * 5000, "4300 digits"),
    ],
)
def test_what_harms_or_misleads_is_refused_with_its_reason(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "list.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"list\.yaml") as caught:
        read(file)
    assert found in caught.value.found


@pytest.mark.parametrize("value", ["no", "2020-13-45", "2020-01-01", "4:33", "007", "0b", "0x1F", "1_000", "=", "<<"])
def test_what_other_readers_take_for_something_else_is_text(value: str) -> None:
    assert parse_yaml(f"a: {value}") == parse_yaml(f"a: {value}", words=True) == {"a": value}


def test_values_are_numbers_booleans_and_null_and_words_are_what_stands_there() -> None:
    text = "{a: 1, b: -2.5, c: 1e-3, d: true, e: null, f: , g: [x]}"
    assert parse_yaml(text) == {"a": 1, "b": -2.5, "c": 1e-3, "d": True, "e": None, "f": None, "g": ["x"]}
    words = {"a": "1", "b": "-2.5", "c": "1e-3", "d": "true", "e": None, "f": None, "g": ["x"]}
    assert parse_yaml(text, words=True) == words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_editors_write_are_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "list.yaml"
    file.write_bytes("artist: Beyoncé\n".encode(encoding))
    assert read(file) == {"artist": "Beyoncé"}


def test_bytes_of_another_encoding_and_large_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    file.write_bytes("artist: Beyoncé\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read(file)
    file.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(InputError, match=f"more than {LARGEST} bytes"):
        read(file)


def test_what_is_no_file_is_named_for_what_it_is_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("nowhere")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.yaml"))
        kinds = {
            "folder": "a folder",
            "pipe": "a pipe",
            "link": "no such file",
            "socket": "a socket",
            "gone": "no such",
        }
        for name, found in (kinds | {"loop": "symbolic links"}).items():
            with pytest.raises(InputError, match=found):
                read(tmp_path / f"{name}.yaml")


def test_deep_nesting_does_not_end_the_process() -> None:
    program = "import sys; from data.yaml_files import parse_yaml; parse_yaml(sys.stdin.read())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input="[" * 900_000, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "in each other" in done.stderr


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(blacklist_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcno-:#é ", max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(plain)
def test_what_other_programs_write_is_read_as_they_mean_it(content: object) -> None:
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    # Programs of YAML 1.2 quote a text of this form; PyYAML, of 1.1, does not.
    exponent = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+\Z")
    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+.0123456789"))
    assert parse_yaml(yaml.dump(content, Dumper=Dumper, allow_unicode=True)) == content


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("[]{}:-?&*!|>'\"#%@`,\n \tab0", max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "list.yaml"
    file.write_bytes(content)
    for words in (False, True):
        with contextlib.suppress(InputError):
            read(file, words)
