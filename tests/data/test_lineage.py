"""How a tree of outputs is told, given what is known of each."""

from __future__ import annotations

from data.lineage import CURRENT, MISSING, STALE, Input, Node, parameters_shown, render
from data.recipe import Recipe


def output(name: str, *inputs: Node, problems: tuple[str, ...] = (), state: str = "", version: str = "v") -> Node:
    made_of = Recipe("1", {}, {})
    return Node(
        name,
        version,
        made_of,
        state or (STALE if problems else CURRENT),
        problems,
        tuple(Input(n, "v") for n in inputs),
    )


def told(node: Node, **options: bool) -> str:
    return "\n".join(render(node, **options))


def test_the_chain_is_drawn_down_to_the_raw_files() -> None:
    raw = Node("song.wav", "f" * 64)
    stems = Node("own/stems x", "a" * 64, Recipe("2", {"gains": "measured"}, {}), CURRENT, (), (Input(raw, "f" * 64),))
    assert told(stems).splitlines() == [
        "own/stems x  aaaaaaaaaaaa  current",
        "│ code version 2; gains measured",
        "└─ song.wav  ffffffffffff",
        "",
        "all current (1 outputs)",
    ]
    assert "f" * 64 in told(stems, everything=True)


def test_what_is_stale_says_what_differs_and_what_stands_on_it_says_so() -> None:
    manifest = output("manifest", problems=("seed 0 -> 3", "1 changed (own/x)"))
    lines = told(output("loopback", manifest)).splitlines()
    assert lines[0] == "loopback  v  current, but not what it is made of"
    assert "└─ manifest  v  stale: seed 0 -> 3; 1 changed (own/x)" in lines
    assert lines[-1] == "not current: manifest (stale)"


def test_what_does_not_count_is_told_where_it_stands_only() -> None:
    index = output("archive", problems=("1 new (own/y)",))
    lines = told(Node("raw", "v", "", CURRENT, (), (Input(index, counts=False),))).splitlines()
    assert lines[0] == "raw  v  current"
    assert lines[-1] == "not current: archive (stale)"


def test_an_input_that_has_another_version_now_shows_both() -> None:
    now = output("stems", version="new")
    assert "stems  old -> new" in told(Node("normalised", "v", "", CURRENT, (), (Input(now, "old"),)))


def test_what_was_shown_before_is_only_named() -> None:
    manifest = output("manifest", output("stems"))
    lines = told(output("loopback", manifest, output("splits", manifest)))
    assert lines.count("stems") == 1
    assert "manifest  v  current  (as above)" in lines


def test_of_many_inputs_a_few_are_shown_and_the_others_counted() -> None:
    tracks = [output(f"track {number}") for number in range(240)]
    text = told(output("manifest", *tracks))
    assert text.count("track ") == 2
    assert "... and 238 more (--all shows them)" in text
    assert told(output("manifest", *tracks), everything=True).count("track ") == 240
    assert told(output("manifest", *tracks[:6])).count("track ") == 6


def test_what_is_stale_or_missing_is_shown_first_however_many_there_are() -> None:
    tracks = [output(f"track {number}") for number in range(240)]
    tracks[200] = output("track 200", problems=("raw files changed (a.wav)",))
    tracks[220] = output("track 220", problems=("not made yet",), state=MISSING)
    tracks[230] = output("track 230", output("stems 230", problems=("its labels changed",)))
    lines = [line for line in told(output("manifest", *tracks)).splitlines() if "track" in line and "─" in line]
    assert [line.split("  ")[0].strip("├─└ ") for line in lines[:3]] == ["track 200", "track 220", "track 230"]
    assert "track 230  v  current, but not what it is made of" in lines[2]
    few = told(output("manifest", *tracks[:2], tracks[200]))
    assert few.index("track 200") < few.index("track 0")
    every = [output(f"track {number}", problems=("not made yet",), state=MISSING) for number in range(240)]
    assert "more, 220 of them not current (--all shows them)" in told(output("manifest", *every))


def test_parameters_are_short_unless_everything_is_asked_for() -> None:
    parameters = {
        "seed": 0,
        "quality": {"a": 1, "b": 2},
        "artists": "f" * 64,
        "text": "x" * 300,
        "files": [[1, 2], [3]],
    }
    assert parameters_shown(parameters) == [
        "seed 0",
        "quality (2 values)",
        "artists ffffffffffff",
        f"text {'x' * 44}...",
        "files (2 values)",
    ]
    assert parameters_shown({str(number): number for number in range(9)})[-1] == "3 more"
    assert "quality.a 1; quality.b 2" in told(Node("x", made_of=Recipe("1", parameters, {})), everything=True)


def test_names_from_data_stay_on_their_line() -> None:
    text = told(output("own/stems x", Node("a\nb\x1b[31m.wav", "f"), problems=("1 changed (c\nd)",)))
    assert "a b\\x1b[31m.wav" in text
    assert "stale: 1 changed (c d)" in text
