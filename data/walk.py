"""Going through folders that people, programs and storage devices fill: in one order, and without what is not music.

Which folders a source has and which are left alone is said here, for every dataset; what makes a track of a folder is
the datasets' own.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.layout import Layout

# Put there by operating systems, storage devices and archivers; compared in small letters.
_FOREIGN = {
    "$recycle.bin": "deleted files",
    "recycler": "deleted files",
    "recycled": "deleted files",
    "#recycle": "deleted files",
    "@recycle": "deleted files",
    "@recycle_bin": "deleted files",
    "network trash folder": "deleted files",
    "lost+found": "what a repair of the disk found",
    "found.000": "what a repair of the disk found",
    "system volume information": "the operating system's own",
    "temporary items": "the operating system's own",
    "thevolumesettingsfolder": "the operating system's own",
    "__macosx": "what a Mac adds to an archive",
    "@eadir": "the storage device's own",
    "@tmp": "the storage device's own",
    "@recently-snapshot": "the storage device's own",
    "@sharesnap": "the storage device's own",
    "#snapshot": "the storage device's own",
    "~snapshot": "the storage device's own",
}
OURS = "what this project made"
_LARGEST_NOTE = 10_000  # bytes
_NAMES = 8  # of a reason, in a line
_GROUPS = 8


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that might have been a track and is none, and the reason as half a sentence."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Folder:
    """A folder as it was looked at: its regular files, sorted by name, hidden ones left out.

    `odd` has the other entries that are no folder to go into, by name: a broken link, a pipe, a folder called like a
    file.
    """

    path: Path
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    odd: Mapping[str, str]


class Walk:
    """All folders from `top` downwards, each once, in an order that the names alone decide.

    Linked folders are gone into, after all others: what is reached without a link keeps that path. Left alone are
    hidden folders, those of operating systems and storage devices, storage roots of this project, whatever is named in
    `leave`, and what cannot be read. These, and what `pass_over` is told of, stand in `passed_over`.
    """

    def __init__(self, top: Path, leave: Collection[Path] = ()) -> None:
        self.top = top
        self.passed_over: list[PassedOver] = []
        self._leave = {os.path.realpath(path) for path in leave}

    def pass_over(self, path: Path, reason: str) -> None:
        """Remember that a file or folder is passed over."""
        self.passed_over.append(PassedOver(path, reason))

    def __iter__(self) -> Iterator[Folder]:
        top = os.path.realpath(self.top)
        above = {str(parent) for parent in Path(top).parents}
        seen: dict[str, Path] = {}
        links: list[Path] = []
        waiting = deque([(self.top, top)])
        while waiting or links:
            if not waiting:
                link = links.pop(0)
                real = os.path.realpath(link)
                if real in above:
                    self.pass_over(link, "a link to a folder that it lies in")
                    continue
                waiting.append((link, real))
            path, real = waiting.popleft()
            if real in seen:
                self.pass_over(path, f"a link to {seen[real]}, which is looked at there")
                continue
            seen[real] = path
            try:
                folder, linked = self._look(path)
                ours = path != self.top and (real in self._leave or _is_storage(folder))
            except OSError as error:
                self.pass_over(path, f"cannot be read ({error.strerror})")
                continue
            if ours:
                self.pass_over(path, OURS)
                continue
            yield folder
            for inner in folder.folders:
                if reason := left_alone(inner.name):
                    self.pass_over(inner, reason)
                elif inner in linked:
                    links.append(inner)
                else:
                    waiting.append((inner, f"{real}/{inner.name}"))
            links.sort(key=os.fsencode)

    def _look(self, path: Path) -> tuple[Folder, set[Path]]:
        files, folders, odd, linked = [], [], {}, set()
        with os.scandir(path) as entries:
            # By bytes: names need not be text.
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                place = path / entry.name
                kind = _kind(entry)
                if kind == "":
                    if not _hidden(entry.name):
                        files.append(place)
                    continue
                odd[entry.name] = kind
                if kind == "a folder":
                    folders.append(place)
                    if entry.is_symlink():
                        linked.add(place)
        return Folder(path, tuple(files), tuple(folders), odd), linked


def left_alone(name: str) -> str | None:
    """Why a folder of this name is nobody's music, None where it may be."""
    if _hidden(name):
        return "hidden"
    return _FOREIGN.get(name.casefold())


def change_times(top: Path, leave: Collection[Path] = ()) -> tuple[list[int], list[int]]:
    """When each file, and each folder, below a folder changed last, in nanoseconds; what vanishes is left out."""
    files: list[int] = []
    folders: list[int] = []
    for folder in Walk(top, leave):
        folders += _changed(folder.path)
        for path in folder.files:
            files += _changed(path)
    return files, folders


def _changed(path: Path) -> list[int]:
    try:
        return [path.stat().st_mtime_ns]
    except OSError:  # gone since its folder was looked at
        return []


def note(path: Path) -> str | None:
    """The text of a small file of words (a licence), without anything that is no UTF-8; None where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with open(path, "rb") as file:
            return file.read(_LARGEST_NOTE).decode("utf-8-sig", "replace").strip() or None
    except OSError:
        return None


def by_reason(passed_over: Iterable[PassedOver]) -> dict[str, list[Path]]:
    """What is passed over by its reason, the rarest first: of a thousand of one kind none hides the one of another."""
    reasons: dict[str, list[Path]] = {}
    for one in passed_over:
        reasons.setdefault(one.reason, []).append(one.path)
    return dict(sorted(reasons.items(), key=lambda item: (len(item[1]), item[0])))


def told(passed_over: Iterable[PassedOver], top: Path, most: int = _NAMES) -> str:
    """What is passed over in a line, by reason, with `most` names a reason; empty where nothing is."""
    reasons = list(by_reason(passed_over).items())
    lines = []
    for reason, paths in reasons[:_GROUPS]:
        more = f" and {len(paths) - most} more" if len(paths) > most else ""
        lines.append(f"{', '.join(_below(path, top) for path in paths[:most])}{more} ({reason})")
    rest = sum(len(paths) for _, paths in reasons[_GROUPS:])
    return "; ".join(lines) + (f"; and {rest} for other reasons" if rest else "")


def _below(path: Path, top: Path) -> str:
    try:
        return path.relative_to(top).as_posix()
    except ValueError:
        return str(path)


def _hidden(name: str) -> bool:
    # Titles begin with an ellipsis ('...Baby One More Time'), hidden files with one dot.
    return name.startswith(".") and not name.startswith("...")


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry of a folder is, a link being what it leads to; empty for a regular file."""
    try:
        # What the folder itself says of an entry costs nothing; a link has to be followed.
        linked = entry.is_symlink()
        if entry.is_dir(follow_symlinks=linked):
            return "a folder"
        if entry.is_file(follow_symlinks=linked):
            return ""
    except OSError as error:
        return f"nothing that can be read ({error.strerror})"
    return "a broken link" if linked and not os.path.exists(entry.path) else "a pipe, socket or device"  # noqa: PTH110


def _is_storage(folder: Folder) -> bool:
    """Whether a folder is a storage root of this project, whichever settings it belongs to."""
    home = Layout(folder.path).dagster
    return home in folder.folders and (home / "dagster.yaml").is_file()
