"""Slugs over histories of tracks that come, go, return and are spelt another way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.names import Named, after, as_it_was, in_letters, kept, read_names, slugs_for, track_slug, write_names

# Few names, many of which spell one slug: signs, capitals, accents composed or not, letters that ASCII has not.
NAMES = [
    "C",
    "C#",
    "c",
    "Beyoncé",
    "Beyonce\u0301",
    "Beyonce",
    "王菲 - 她",
    "王菲 - 他",
    "🎵",
    "🎶",
    "Caf\udce9",
    "D",
    "E",
]
LONG = "x" * 130
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def named(name: str, audio: str = "") -> Named:
    return Named(name, track_slug(name), audio)


# A state of a source: its names, each with one of three recordings.
states = st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["one", "two", "three"])), max_size=8)


@settings(deadline=None)
@given(states)
def test_live_names_never_share_a_slug_and_one_that_stays_keeps_its_own(history: list[dict[str, str]]) -> None:
    known: dict[str, Named] = {}
    before: dict[str, str] = {}
    for state in history:
        names = [named(name, audio) for name, audio in state.items()]
        given_ = slugs_for(names, known)
        assert given_.keys() == state.keys()
        assert len(set(given_.values())) == len(given_)
        assert all(given_[name] == slug for name, slug in before.items() if name in given_)
        assert all(SLUG.fullmatch(slug) and len(slug) <= 129 for slug in given_.values())
        known, before = after(known, names, given_), given_


@settings(deadline=None)
@given(states)
def test_a_slug_passes_to_another_name_only_with_its_audio_and_its_spelling(history: list[dict[str, str]]) -> None:
    known: dict[str, Named] = {}
    for state in history:
        names = [named(name, audio) for name, audio in state.items()]
        given_ = slugs_for(names, known)
        for one in names:
            holder = known.get(given_[one.name], one)
            assert holder.name == one.name or (
                holder.name not in state and (holder.audio, holder.spelt) == (one.audio, one.spelt)
            )
        known = after(known, names, given_)


@settings(deadline=None)
@given(states)
def test_a_name_that_returns_has_its_slug_again_unless_its_audio_took_it_along(history: list[dict[str, str]]) -> None:
    known: dict[str, Named] = {}
    had: dict[str, str] = {}
    for state in history:
        names = [named(name, audio) for name, audio in state.items()]
        given_ = slugs_for(names, known)
        for name, slug in given_.items():
            if name in had and known[had[name]].name == name:
                assert slug == had[name]
        known, had = after(known, names, given_), had | given_


@settings(deadline=None)
@given(st.permutations(NAMES), st.lists(st.sampled_from(NAMES)))
def test_from_an_empty_root_equal_sets_have_equal_slugs_in_any_order(one: list[str], other: list[str]) -> None:
    assert slugs_for(map(named, one)) == slugs_for(map(named, NAMES))
    assert slugs_for(map(named, other)) == slugs_for(named(name) for name in sorted(set(other)))


def test_a_name_alone_has_the_slug_that_it_spells() -> None:
    assert slugs_for([named("Ann - One"), named("C#")]) == {"Ann - One": "ann-one", "C#": "c"}


def test_of_names_that_collide_from_the_start_each_has_a_hash_of_its_own() -> None:
    slugs = slugs_for(map(named, ["王菲 - 她", "王菲 - 他", f"{LONG} one", f"{LONG} two", "🎵", "🎶"]))
    assert len(set(slugs.values())) == 6
    assert re.fullmatch("wang-fei-ta-[0-9a-f]{8}", slugs["王菲 - 她"])
    assert re.fullmatch("untitled-[0-9a-f]{8}", slugs["🎵"])
    # The hash is the name's own: who else spells the slug does not change it.
    assert slugs_for([named("王菲 - 她"), named("王菲 - 它")])["王菲 - 她"] == slugs["王菲 - 她"]


def test_who_was_first_keeps_the_plain_slug_and_nobody_inherits_it_with_other_audio() -> None:
    known = after({}, [named("C", "one")], slugs_for([named("C", "one")]))
    both = [named("C", "one"), named("C#", "two")]
    slugs = slugs_for(both, known)
    assert slugs["C"] == "c"
    known = after(known, both, slugs)
    assert slugs_for([named("C#", "two")], known) == {"C#": slugs["C#"]}
    assert slugs_for([named("c!", "three")], known)["c!"].startswith("c-")
    assert slugs_for([named("C", "four")], known) == {"C": "c"}


def test_the_same_audio_keeps_its_slug_when_its_name_is_spelt_another_way() -> None:
    known = after({}, [named("Beyonce\u0301 - X", "one")], {"Beyonce\u0301 - X": "beyonce-x"})
    assert slugs_for([named("Beyoncé - X", "one")], known) == {"Beyoncé - X": "beyonce-x"}
    assert slugs_for([named("Beyoncé - Y", "one")], known) == {"Beyoncé - Y": "beyonce-y"}


def test_a_hash_that_is_somebodys_plain_slug_is_made_longer() -> None:
    hashed = slugs_for([named("C"), named("C#")])["C#"]
    slugs = slugs_for([named("C"), named("C#"), named(hashed)])
    assert slugs[hashed] == hashed
    assert slugs["C#"].startswith(hashed)
    assert len(set(slugs.values())) == 3


@settings(deadline=None)
@given(st.binary(min_size=1).filter(lambda content: b"//" not in content))
def test_any_name_of_the_file_system_can_be_kept_and_given_back(content: bytes) -> None:
    name = content.decode("utf-8", "surrogateescape")
    kept(name).encode()
    assert as_it_was(kept(name)) == name
    in_letters(name).encode()
    assert SLUG.fullmatch(track_slug(name))


def test_names_that_are_text_are_kept_as_they_are() -> None:
    assert kept("/music/Café – 100 %/a\\b") == "/music/Café – 100 %/a\\b"
    assert in_letters("Caf\udce9\nSong") == "Caf\\xe9 Song"


def test_the_table_of_names_is_written_when_it_says_something_new(tmp_path: Path) -> None:
    assert read_names(tmp_path) is None
    names = {"c": named("C", "one"), "caf-xe9": named("Caf\udce9")}
    write_names(tmp_path, names)
    assert read_names(tmp_path) == names
    before = (tmp_path / "names.parquet").stat().st_mtime_ns
    write_names(tmp_path, names)
    assert (tmp_path / "names.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["", "...", "-", "\n", "/"])
def test_a_name_without_a_letter_has_a_slug(name: str) -> None:
    assert track_slug(name) == "untitled"
