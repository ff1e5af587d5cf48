"""Names that are one person: whose tracks stay together, and what is said of a file that cannot be used."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from data.artists import Artist, Artists, artist_key, load_artists
from data.errors import InputError

# As MedleyDB's reader names them: the part of the id before the underscore.
NYU = [
    ("medleydb/debussy-lenfantprodigue", "Debussy"),
    ("medleydb/handel-tornamiavagheggiar", "Handel"),
    ("medleydb/mozart-besterjungling", "Mozart"),
    ("medleydb/mozart-diesbildnis", "Mozart"),
    ("medleydb/schubert-erstarrung", "Schubert"),
    ("medleydb/schumann-mignon", "Schumann"),
    ("medleydb/wolf-diebekherte", "Wolf"),
    ("medleydb/verdi-iltrovatore", "Verdi"),
    ("own/x", "NYU"),
]


def entry(name: str, *names: str, tracks: tuple[str, ...] = ()) -> Artist:
    return Artist(name=name, names=names, tracks=tracks, source="a test")


def one_key(artists: Artists, tracks: list[tuple[str, str]]) -> str:
    (key,) = {artists.key(*track) for track in tracks}
    return key


def test_the_singers_of_one_university_are_one_whatever_composer_they_are_filed_under() -> None:
    artists = load_artists()
    assert one_key(artists, NYU) == "nyu"
    assert artists.key("own/requiem", "Mozart") == "mozart"  # another Mozart is not theirs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MatthewEntwistle", "Matthew Entwistle"),
        ("MusicDelta", "Music Delta"),
        ("MusicDelta", "LizNelson"),
        ("LizNelson", "Liz Nelson & Jennifer Davies"),
        ("EthanHein", "TablaBreakbeatScience"),
        ("Phoenix", "TablaBreakbeatScience"),
        ("AlexanderRoss", "The Scarlet Brand"),
        ("The Easton Ellises", "The Easton Ellises (Baumi)"),
        ("Triviul", "Triviul feat. The Fiend"),
        ("StevenClark", "Steven A. Clark"),
    ],
)
def test_one_artist_of_two_names_has_one_key_across_datasets(one: str, other: str) -> None:
    artists = load_artists()
    assert artists.key("medleydb/a", one) == artists.key("musdb18/b", other)


def test_whoever_is_not_in_the_table_keeps_the_key_of_the_name() -> None:
    artists = load_artists()
    assert artists.key("musdb18/a", "Clara Berry And Wooldog") != artists.key("musdb18/b", "Hollow Ground")
    assert artists.key("musdb18/b", "Hollow Ground") == "hollowground"


def test_chains_join_in_whatever_order_the_entries_stand() -> None:
    entries = [
        entry("Duo", "Anna", "Bert"),
        entry("Bert", "Bert's Band"),
        entry("Cleo", tracks=("own/Song One",)),
        entry("Zoe", "bert s band", tracks=("own/song-one",)),
    ]
    tracks = [("a/1", "Duo"), ("a/2", "ANNA"), ("b/3", "Zoe"), ("own/song-one", "?"), ("c/4", "Cleo")]
    keys = set()
    for order in itertools.permutations(entries):
        artists = Artists(order)
        keys.add(one_key(artists, tracks))
    assert keys == {"bert"}  # a name of an entry, the first of them


def test_a_listed_track_leaves_the_artist_that_its_dataset_names() -> None:
    artists = Artists([entry("Singer", tracks=("own/Brahms_Lied",))])
    assert artists.key("own/brahms-lied", "Brahms") == artists.key("x/y", "singer")
    assert artists.key("own/brahms-symphony", "Brahms") == "brahms"


def test_names_without_a_letter_are_told_apart() -> None:
    assert artist_key("!!!") != artist_key("???")
    assert artist_key("Björk") == artist_key("Bjork")
    assert artist_key("") == artist_key("  ") == "untitled"


def test_a_users_own_file_joins_further(tmp_path: Path) -> None:
    own = tmp_path / "artists.yaml"
    own.write_text("- {name: Anna, names: [Hollow Ground], source: she told me}\n")
    artists = load_artists(own)
    assert artists.key("musdb18/a", "Hollow Ground") == artists.key("own/b", "Anna") == "anna"
    assert one_key(artists, NYU)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name: Anna", "dict"),
        ("- {name: Anna, names: [Bert]}", "entry 1: source"),
        ("- {name: A, names: [B], source: x}\n- {name: '  ', names: [B], source: x}", "entry 2: name"),
        ("- {name: Anna, source: x}", "nothing is joined"),
        ("- {name: Anna, tracks: [song], source: x}", "entry 1: tracks.0"),
        ("- {name: Anna, names: [B], source: x, nick: y}", "entry 1: nick"),
        ("- [", "while parsing"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_entry(tmp_path: Path, text: str, found: str) -> None:
    own = tmp_path / "artists.yaml"
    own.write_text(text)
    with pytest.raises(InputError, match="ISOLATION_ARTISTS") as caught:
        load_artists(own)
    assert found in caught.value.found


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="ISOLATION_ARTISTS"):
        load_artists(tmp_path / name)
