"""Every asset leads to its source: a file here, or the page of a host where the code is published."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dagster as dg
import pytest

from data.settings import Settings
from pipelines.definitions import build_definitions
from pipelines.links import PROJECT, address, linked_to_source, published_at


def references(assets: list[dg.AssetsDefinition]) -> dict[str, list[object]]:
    found = {}
    for asset in assets:
        for spec in asset.specs:
            value = spec.metadata.get("dagster/code_references")
            found[spec.key.to_user_string()] = list(value.code_references) if value else []
    return found


def test_every_asset_points_at_a_file_and_a_line_where_it_is_defined(tmp_path: Path) -> None:
    repository = build_definitions(Settings(storage=tmp_path)).get_repository_def()
    found = references([*repository.assets_defs_by_key.values()])
    assert {key.to_user_string() for key in repository.asset_graph.materializable_asset_keys} <= found.keys()
    for name, sources in found.items():
        (source,) = sources
        if isinstance(source, dg.LocalFileCodeReference):
            path, line = Path(source.file_path), source.line_number
        else:  # where this checkout is published
            assert isinstance(source, dg.UrlCodeReference)
            place, _, number = source.url.partition("#L")
            path, line = PROJECT / "assets" / place.rpartition("/")[2], int(number)
        assert path.is_relative_to(PROJECT / "assets"), name
        assert path.read_text().splitlines()[(line or 0) - 1].strip().startswith("@dg."), name


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://github.com/someone/some-project.git", "https://github.com/someone/some-project"),
        ("git@github.com:someone/project.git", "https://github.com/someone/project"),
        ("ssh://git@gitlab.com/group/sub/project", "https://gitlab.com/group/sub/project"),
        ("https://name:secret@github.com/someone/project", "https://github.com/someone/project"),
        ("https://git.example.org/someone/project", None),
        ("/srv/git/project.git", None),
        ("https://example.org/github.com/x", None),
        ("", None),
    ],
)
def test_a_remote_is_shown_without_what_is_secret_in_it(remote: str, shown: str | None) -> None:
    assert address(remote) == shown


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True)


def test_what_is_pushed_is_linked_to_where_it_is_published(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    assert published_at(project) is None  # no checkout
    git(project, "init")
    git(project, "commit", "--allow-empty", "-m", "a")
    assert published_at(project) is None  # pushed nowhere
    git(project, "remote", "add", "origin", "https://token@github.com/someone/project.git")
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(project, "branch", "--set-upstream-to=origin/main")
    assert published_at(project) == ("https://github.com/someone/project", "main")

    @dg.asset
    def here() -> None: ...

    (source,) = references(linked_to_source([here], PROJECT.parent))["here"]
    assert isinstance(source, dg.LocalFileCodeReference)
    (source,) = references(linked_to_source([here], project))["here"]
    assert isinstance(source, dg.UrlCodeReference)
    assert source.url.startswith("https://github.com/someone/project/tree/main/")
    assert source.url.partition("#")[0].endswith("tests/pipelines/test_links.py")
