"""The one error for bad input: it names the thing, what was expected, what was found and what to do.

Only errors about what a user gave belong here; a bug in the code raises an ordinary Python exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class InputError(Exception):
    """Something the user gave cannot be used.

    `what` names the thing (a track, a setting, a candidate), `file` the file if there is one, `expected` and `found`
    the two sides of the disagreement, `remedy` what the user can do.
    """

    def __init__(self, what: str, *, expected: str, found: str, remedy: str, file: Path | str | None = None) -> None:
        self.what = what
        self.file = None if file is None else str(file)
        self.expected = expected
        self.found = found
        self.remedy = remedy
        lines = [what]
        if self.file is not None:
            lines.append(f"  file:     {self.file}")
        lines += [f"  expected: {expected}", f"  found:    {found}", f"  to do:    {remedy}"]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries (worker pools) by pickle, which by default replays `args` only.
        return _rebuild, (self.what, self.expected, self.found, self.remedy, self.file)

    def about(self, what: str) -> InputError:
        """The same error, told of `what`: a reader knows the file, its caller knows the track."""
        return InputError(what, expected=self.expected, found=self.found, remedy=self.remedy, file=self.file)


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
