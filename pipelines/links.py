"""Where the source of every asset is, for the UI: the file and line here, or at a host where this code is published."""

from __future__ import annotations

import re
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

PROJECT = Path(__file__).resolve().parent.parent
_REMOTE = re.compile(r"(?:https?://|ssh://|git@)(?:[^@/]*@)?(git(?:hub|lab)\.com)[:/](.+?)(?:\.git)?/?")


def linked_to_source(assets: Sequence[dg.AssetsDefinition], project: Path = PROJECT) -> list[dg.AssetsDefinition]:
    """The assets, each with a link to where it is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # links may change with the pinned Dagster, which is tested
        linked = dg.with_source_code_references(assets)
        published = published_at(project)
        if published is not None:
            url, branch = published
            anchor = dg.AnchorBasedFilePathMapping(project / "pyproject.toml", "pyproject.toml")
            linked = dg.link_code_references_to_git(linked, url, branch, anchor)
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]


def published_at(project: Path) -> tuple[str, str] | None:
    """The address and branch to which what is checked out here is pushed, at GitHub or GitLab; None for no such."""
    upstream = _git(project, "rev-parse", "--abbrev-ref", "@{upstream}")
    remote, _, branch = upstream.partition("/")
    url = address(_git(project, "config", "--get", f"remote.{remote}.url")) if branch else None
    return (url, branch) if url else None


def address(remote: str) -> str | None:
    """The web address of a remote, without whatever name or password stands in it; None for other hosts."""
    found = _REMOTE.fullmatch(remote)
    return f"https://{found[1]}/{found[2]}" if found else None


def _git(project: Path, *arguments: str) -> str:
    """What git says; nothing where it is not installed, or this is no checkout of its own."""
    if not (project / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
