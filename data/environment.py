"""The variables of the settings: those of the environment, then those of the file `.env` in the folder of the command.

The only module that reads them. What they mean does not belong here (`data.settings`). The environment wins, also
inside of Dagster's programs, which put what they read in `.env` over the environment before they load this project.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv.main import DotEnv
from dotenv.parser import parse_stream

from data.errors import InputError, os_error

PREFIX = "ISOLATION_"
FILE = ".env"
SETTLED = "ISOLATION_SETTLED"
"""Set for a child process whose environment holds all settings: its `.env` may be another folder's."""
_LARGEST = 1 << 20  # bytes
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def variables() -> dict[str, str]:
    """Every variable of this project that has a value, by its name in capitals; one of nothing but spaces has none.

    Raises InputError where `.env` cannot be read.
    """
    own = _named(os.environ)
    try:
        written = _named(read_file())
    except InputError:
        if SETTLED not in own:
            raise
        written = {}
    before = _named(_before_dagster())
    for name, value in before.items():
        # What differs from the start of the program and equals the file, Dagster has read there.
        if value != own.get(name) == written.get(name):
            own[name] = value
    merged = own if SETTLED in own else written | own
    return {name: value for name, value in merged.items() if name != SETTLED}


def read_file() -> dict[str, str]:
    """The variables of `.env`, this project's and others; none where there is no such file.

    Raises InputError naming the line that is none of the form NAME=value, and for a file that is no text in UTF-8.
    """
    path = Path(FILE)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return {}  # a virtual environment is often called so
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise _refusal("a text file with lines NAME=value", "something else")
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise os_error(error, "settings", file=path.absolute()) from error
    text = _decoded(raw)
    for binding in parse_stream(io.StringIO(text)):
        named = (binding.key or "").upper().startswith(PREFIX)
        if binding.error or (named and binding.value is None):
            # Not what it says: it may be a token.
            blank = len(binding.original.string) - len(binding.original.string.lstrip())
            line = binding.original.line + binding.original.string.count("\n", 0, blank)
            raise _refusal("lines NAME=value", f"another form in line {line}")
    found = DotEnv(None, io.StringIO(text), override=False).dict()
    return {name: value for name, value in found.items() if value is not None}


def _decoded(raw: bytes) -> str:
    encoding = _MARKS.get(raw[:2]) or ("UTF-16 or no text" if b"\0" in raw else None)
    if encoding:
        raise _refusal("text in UTF-8", encoding)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refusal("text in UTF-8", f"the byte 0x{raw[error.start]:02x} in line {line}") from error


def _refusal(expected: str, found: str) -> InputError:
    remedy = "correct the file, save it as text in UTF-8, or remove it"
    return InputError("settings", file=Path(FILE).absolute(), expected=expected, found=found, remedy=remedy)


def _named(variables: Mapping[str, str]) -> dict[str, str]:
    """This project's variables that have a value; of two spellings of one name that in capitals counts."""
    ours = sorted(name for name in variables if name.upper().startswith(PREFIX) and variables[name].strip())
    # Capitals sort first, and later ones would replace them.
    return {name.upper(): variables[name] for name in reversed(ours)}


def _before_dagster() -> dict[str, str]:
    """What the environment was before any program of Dagster changed it, where the system tells (Linux), else nothing.

    A process shows the environment that it was started with; of this one's parents those count that are Dagster's.
    """
    process, found = os.getpid(), b""
    try:
        while True:
            found = Path(f"/proc/{process}/environ").read_bytes()
            parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
            if not _is_dagster(parent):
                break
            process = parent
    except (OSError, ValueError, IndexError):
        pass  # another system, or a parent of another user
    pairs = (os.fsdecode(entry).partition("=") for entry in found.split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


def _is_dagster(process: int) -> bool:
    words = [Path(os.fsdecode(word)).name for word in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:3]]
    return any(word == "dg" or word.startswith("dagster") for word in words)
