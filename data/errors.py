"""The one error for bad input: it names the thing, what was expected, what was found and what to do.

Only errors about what a user gave belong here; a bug in the code raises an ordinary Python exception.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from data.text import plain


class InputError(Exception):
    """Something the user gave cannot be used.

    `what` names the thing (a track, a setting, a candidate), `file` the file if there is one, `expected` and `found`
    the two sides of the disagreement, `remedy` what the user can do.
    """

    def __init__(self, what: str, *, expected: str, found: str, remedy: str, file: Path | str | None = None) -> None:
        what, expected, found = map(_shortened, (what, expected, found))
        self.what = what
        self.file = None if file is None else plain(file)
        self.expected = expected
        self.found = found
        self.remedy = remedy
        lines = [what]
        if self.file is not None:
            lines.append(f"  file:     {self.file}")
        lines += [f"  expected: {expected}", f"  found:    {found}", f"  to do:    {remedy}"]
        super().__init__(plain("\n".join(lines)))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries (worker pools) by pickle, which by default replays `args` only.
        return _rebuild, (self.what, self.expected, self.found, self.remedy, self.file)

    def about(self, what: str) -> InputError:
        """The same error, told of `what`: a reader knows the file, its caller knows the track."""
        return InputError(what, expected=self.expected, found=self.found, remedy=self.remedy, file=self.file)

    def at(self, temporary: Path, final: Path) -> InputError:
        """The same error, told of the place where a file was to be, and not of the one where it was written."""
        file = None if self.file is None else self.file.replace(plain(temporary), plain(final))
        return InputError(self.what, expected=self.expected, found=self.found, remedy=self.remedy, file=file)


_LONGEST = 4000  # characters of a part of a message: what was found may be megabytes on one line


def _shortened(text: str) -> str:
    # Some more, so that what was shortened stays as it is when the error is told again.
    return text if len(text) <= _LONGEST + 100 else f"{text[:_LONGEST]} ... ({len(text)} characters)"


# What a person can do about what an operating system refuses; the rest is told in its own words.
_REFUSALS = {
    errno.ENOSPC: ("room on the disk", "free space, or choose a place on a larger disk; then try again"),
    errno.EDQUOT: ("room in the quota", "free space, or choose a place with a larger quota; then try again"),
    errno.EFBIG: ("room for a file of this size", "choose a place whose file system takes files of this size"),
    errno.EROFS: ("a place that can be written to", "choose a place that is not read-only"),
    errno.EACCES: ("the right to use it", "correct its permissions, or choose another place"),
    errno.EPERM: ("the right to use it", "correct its permissions, or choose another place"),
    errno.ENOENT: ("a file or folder at this path", "check the path"),
    errno.ENOTDIR: ("folders on the way to it", "check the path: a file lies where a folder should"),
    errno.EISDIR: ("a file at this path", "check the path: it is a folder"),
    errno.EEXIST: ("a name that is free", "choose another name, or remove what is there"),
    errno.ENAMETOOLONG: ("a shorter name", "choose a shorter name"),
    errno.EMFILE: ("fewer files open at a time", "raise the limit (ulimit -n), or lower ISOLATION_WORKERS"),
    errno.EADDRINUSE: ("a port that is free", "choose another port"),
    errno.EIO: ("a disk that answers", "check the disk: it reports an error of its own"),
    errno.ESTALE: ("a file system that answers", "mount it again, then try again"),
}


def os_error(error: OSError, what: str = "file", *, file: Path | str | None = None) -> InputError:
    """What an operating system refuses, as bad input of `what`: `file`, or the path that the error itself names."""
    path = file if file is not None else error.filename
    expected, remedy = _REFUSALS.get(
        error.errno or 0, ("a file system that takes it", "mend what the message says, then try again")
    )
    found = error.strerror or str(error) or type(error).__name__
    return InputError(what, file=os.fsdecode(path) if path else None, expected=expected, found=found, remedy=remedy)


def _rebuild(what: str, expected: str, found: str, remedy: str, file: str | None) -> InputError:
    return InputError(what, expected=expected, found=found, remedy=remedy, file=file)


class TracksFailed(Exception):
    """Some tracks of a batch could not be processed; all others were. Lists every bad one."""

    def __init__(self, stage: str, problems: Sequence[InputError], done: int) -> None:
        self.problems = list(problems)
        listing = "\n".join(str(problem) for problem in problems)
        super().__init__(
            f"{stage}: {len(self.problems)} of {len(self.problems) + done} tracks failed, {done} are done:\n{listing}"
        )
