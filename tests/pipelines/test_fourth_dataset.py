"""A fourth dataset with labels of its own, as the README adds one: a reader, a line, and the chain takes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import soundfile
from pipelines_site import PROJECT, Site, build_site
from small_datasets import tone

from data.tables import read_table

README = PROJECT / "README.md"


def reader() -> str:
    """The Python file that the README's section on adding a dataset shows."""
    section = README.read_text().partition("## Adding a dataset")[2]
    return section.partition("```python\n")[2].partition("```")[0]


def test_one_file_and_one_line_add_a_dataset(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (tmp_path / "duets").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "duets" / f"Song {number}.mix.wav", tone(1.0, 100 + number), 44100)
        soundfile.write(tmp_path / "duets" / f"Song {number}.voices.wav", tone(1.0, 300 + number), 44100)
    (tmp_path / "duets" / "voices.csv").write_text("id,voice\nSong 0,soprano\nSong 0,bass\nSong 1,\nSong 2,alto\n")
    (tmp_path / "duets_reader.py").write_text(reader())
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from duets_reader import Duets; from data.datasets import DATASETS\n"
        "DATASETS['duets'] = Duets()\n"
        "from data.settings import load_settings; from pipelines.chain import Chain; import dagster as dg\n"
        "from pipelines.definitions import build_definitions; from assets.lanes import LANES\n"
        "settings = load_settings()\n"
        "with dg.DagsterInstance.ephemeral() as instance:\n"
        "    chain = Chain(build_definitions(settings), instance)\n"
        "    assert chain.run('ingest')\n"
        "    for lane in LANES: chain.prepare(lane, settings)\n"
        "    assert chain.run('assemble'), chain.tally.failures\n"
        "    key = dg.AssetCheckKey(dg.AssetKey(['duets', 'metadata']), 'every_file_readable')\n"
        "    seen = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]\n"
        "    print(seen.event.dagster_event.event_specific_data.metadata['problems'].value)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = Site(tmp_path).environment | {"ISOLATION_DUETS": str(tmp_path / "duets")}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = read_table(site.storage / "training_set/manifest/manifest.parquet")
    assert set(manifest["dataset"]) == {"musdb18", "medleydb", "duets"}
    kinds = manifest[manifest["dataset"] == "duets"].set_index("title")["vocal_kinds"].map(list).to_dict()
    assert kinds == {"Song 0": ["bass", "soprano"], "Song 1": [], "Song 2": ["alto"]}
    assert "duets/Song 1" in done.stdout
    assert "voices.csv" in done.stdout
    assert list(read_table(site.storage / "duets/metadata/voices.parquet")["voice"]) == ["soprano", "bass", "alto"]
    splits = read_table(site.storage / "training_set/splits/splits.parquet")
    assert (splits["dataset"] == "duets").sum() == 3
