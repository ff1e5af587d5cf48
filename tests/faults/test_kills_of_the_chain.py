"""The whole chain, killed at random moments until it comes to its end, leaves what an undisturbed one leaves."""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from faults_site import CHAIN, Undisturbed, change_raw, copy_of, differences, environment_of, undisturbed_run
from marked import PATIENCE, Marked
from pipelines_site import PROJECT
from tried import Tried

KILLS_A_CHAIN = 5
# How a run ends that nobody planned to end: the machine's memory killer, `kill`, Ctrl-C, a terminal that is closed.
WAYS = (
    (signal.SIGKILL, True),
    (signal.SIGKILL, False),
    (signal.SIGTERM, False),
    (signal.SIGINT, True),
    (signal.SIGHUP, True),
)
_STEP = re.compile(r"\[ *[\d.]+ s\] (\S+)")


@dataclass(frozen=True)
class Kill:
    """A signal, `delay` seconds after a step is first heard of; no step: after the start."""

    step: str | None
    delay: float
    number: signal.Signals
    group: bool

    def __str__(self) -> str:
        whom = "all its processes" if self.group else "it alone"
        return f"{self.number.name} to {whom} {self.delay:.2f} s after {self.step or 'the start'}"


def moments(lines: Sequence[tuple[float, str]], rng: random.Random, count: int) -> list[Kill]:
    """Moments in the order in which a chain comes to them, every step as likely as any other."""
    starts: dict[str | None, float] = {None: 0.0}
    for second, line in lines:
        if found := _STEP.match(line):
            starts.setdefault(found[1], second)
    steps, ends = list(starts), [*list(starts.values())[1:], lines[-1][0]]
    chosen = sorted(rng.randrange(len(steps)) for _ in range(count))
    return [Kill(steps[n], rng.uniform(0, ends[n] - starts[steps[n]] + 0.2), *rng.choice(WAYS)) for n in chosen]


@dataclass(frozen=True)
class Chain:
    """A chain on a storage root of its own, in an environment, and the storage root that it must come to."""

    environment: Mapping[str, str]
    wanted: Mapping[str, str]
    lines: Sequence[tuple[float, str]]

    @property
    def storage(self) -> Path:
        return Path(self.environment["ISOLATION_STORAGE"])

    def disturbed(self, kills: Sequence[Kill]) -> tuple[int, list[str]]:
        """Kill it again and again, let it end, and compare; returns how many kills hit, and every fault."""
        hit, faults, told = 0, [], []
        for number, kill in enumerate(kills):
            with self._started(number) as chain:
                over = not ((kill.step is None or chain.saw(f"] {kill.step} ")) and chain.lasts(kill.delay))
                if not over:
                    chain.signal(kill.number, group=kill.group)
                    told.append(str(kill))
                    hit += 1
                faults += self._fault_of_an_end(chain, None if over else kill)
            if over:
                break
        with self._started(len(kills)) as last:
            if last.code() != 0:
                faults.append(f"the run after it all ended with {last.code()}:\n{last.text()[-2000:]}")
            faults += [f"orphan: {orphan}" for orphan in last.orphans()] + traceback_in(last)
        faults += differences(self.storage, dict(self.wanted)) + unended_runs(self.storage)
        return hit, [f"after {'; '.join(told)}: {fault}" for fault in faults]

    def _started(self, number: int) -> Marked:
        return Marked(CHAIN, self.environment, self.storage.parent / f"{number}.log", PROJECT)

    def _fault_of_an_end(self, chain: Marked, kill: Kill | None) -> list[str]:
        code = chain.process.wait(PATIENCE)
        faults = [f"orphan: {orphan}" for orphan in chain.orphans()] + traceback_in(chain)
        expected = {0} if kill is None else {-kill.number, 128 + kill.number}
        finished = code == 0 and "Report: " in chain.text()  # the signal came when all was done
        if code not in expected and not finished:
            faults.append(f"{kill or 'undisturbed'}, and it ended with {code}:\n{chain.text()[-1500:]}")
        return faults


def traceback_in(process: Marked) -> list[str]:
    """The traceback that a process wrote, if it wrote one."""
    _, found, traceback = process.text().partition("Traceback (most recent call last)")
    lines = traceback.strip().splitlines()
    return ["traceback: " + "\n".join([*lines[:8], "...", *lines[-8:]])] if found else []


def unended_runs(storage: Path) -> list[str]:
    """Runs that the history still takes for living."""
    with dg.DagsterInstance.from_config(str(storage / "dagster")) as instance:
        runs = instance.get_runs()
    return [f"the history has a run that is {run.status.value}" for run in runs if not run.is_finished]


@pytest.fixture(scope="module")
def changed(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Undisturbed]:
    """A site where a track of every lane was changed: its storage root from before, and the run over the change."""
    site = copy_of(undisturbed, tmp_path_factory.mktemp("changed") / "site")
    undisturbed_run(site)  # the raw files lie elsewhere now
    change_raw(site)
    before = shutil.copytree(site.storage, site.folder / "before")
    return before, undisturbed_run(site)


def test_a_chain_that_is_killed_at_random_moments_ends_as_an_undisturbed_one(
    undisturbed: Undisturbed, request: pytest.FixtureRequest, kills: int, seed: int, tmp_path: Path, tried: Tried
) -> None:
    tried.what = "the whole chain killed (SIGKILL, SIGTERM, SIGINT, SIGHUP), then run to its end"
    hit = chains = 0
    while hit < kills and chains < kills:
        rng = random.Random(f"{seed} chain {chains}")
        folder = tmp_path / str(chains)
        folder.mkdir()
        start: Undisturbed = undisturbed
        if chains % 2:
            # Outputs that are replaced, not only made.
            before, start = request.getfixturevalue("changed")
            shutil.copytree(before, folder / "storage")
        chain = Chain(environment_of(start.site, folder / "storage"), start.snapshot, start.lines)
        count, found = chain.disturbed(moments(start.lines, rng, min(KILLS_A_CHAIN, kills - hit)))
        tried.found += found
        hit, chains = hit + count, chains + 1
        if not found:
            shutil.rmtree(folder)
    tried.tried = f"{hit} kills in {chains} chains, seed {seed}"
    tried.conclude()
