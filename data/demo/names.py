"""Invented names of artists and songs.

No name here is that of a track in MUSDB18 or MedleyDB, so that neither leakage guards nor errata mistake the demo for
the real thing.
"""

from __future__ import annotations

_ARTIST_FIRST = (
    "Copper", "Paper", "Velvet", "Hollow", "Northern", "Marble",
    "Saffron", "Winter", "Quiet", "Amber", "Tin", "Distant",
)  # fmt: skip
_ARTIST_SECOND = (
    "Lanterns", "Foxes", "Cartographer", "Orchard", "Parade", "Tides", "Kites", "Avenue", "Sparrows", "Engine", "Choir",
)  # fmt: skip
_TITLE_FIRST = (
    "Morning", "Slow", "Borrowed", "Electric", "Second", "Falling", "Silver", "Open", "Careless", "Midnight",
    "Ordinary", "Burning", "Almost",
)  # fmt: skip
_TITLE_SECOND = ("Ferry", "Rivers", "Light", "Weather", "Summer", "Stations", "Windows", "Road", "Letters", "Home")

LIMIT = 120  # names stay distinct below the least common multiples of the lists' lengths: 132 artists, 130 titles


def artist(number: int) -> str:
    """The name of artist `number`, 0 to LIMIT - 1; different numbers give different names."""
    return f"{_ARTIST_FIRST[_in_range(number) % 12]} {_ARTIST_SECOND[number % 11]}"


def title(number: int) -> str:
    """The title of song `number`, 0 to LIMIT - 1; different numbers give different titles."""
    return f"{_TITLE_FIRST[_in_range(number) % 13]} {_TITLE_SECOND[number % 10]}"


def _in_range(number: int) -> int:
    if not 0 <= number < LIMIT:
        raise ValueError(f"the demo has {LIMIT} names, number {number} is not among them")
    return number
