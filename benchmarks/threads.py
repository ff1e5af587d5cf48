"""Claim: where something else wants a core, sleeping OpenMP threads train faster than spinning ones.

Trains the toy network on noise in two processes of the same length, once with each policy, in turn, `--rounds` times,
each beside a process that keeps one core busy (and once without it). Prints steps a second and the ratio last; writes
`threads.json` beside this file.

    python benchmarks/threads.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
POLICIES = {"spinning": "ACTIVE", "sleeping": "PASSIVE"}
BUSY = "while True: pass"
STEPS = """
import sys, time, torch
from models.candidate import load_candidate
from models.networks import build_network
torch.manual_seed(0)
network = build_network(load_candidate("toy"))
optimiser = torch.optim.AdamW(network.parameters())
mixture = torch.randn(8, 2, 3 * 44100)
def step():
    optimiser.zero_grad()
    network(mixture).abs().mean().backward()
    optimiser.step()
step()
started, steps = time.perf_counter(), 0
while time.perf_counter() - started < float(sys.argv[1]):
    step()
    steps += 1
print(steps / (time.perf_counter() - started))
"""


def steps_per_second(policy: str, seconds: float, *, busy: bool) -> float:
    """Training steps a second in a fresh process under an OpenMP wait policy."""
    rival = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        environment = os.environ | {"OMP_WAIT_POLICY": policy}
        command = [sys.executable, "-c", STEPS, str(seconds)]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    finally:
        if rival:
            rival.kill()
            rival.wait()
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of training in each process")
    options = parser.parse_args()
    results: dict[str, float] = {}
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    print("| other work | spinning | sleeping | ratio |\n|---|---|---|---|")
    for busy in (False, True):
        rates: dict[str, list[float]] = {name: [] for name in POLICIES}
        for _ in range(options.rounds):
            for name, policy in POLICIES.items():
                rates[name].append(steps_per_second(policy, options.seconds, busy=busy))
        spinning, sleeping = (statistics.median(rates[name]) for name in POLICIES)
        where = "one busy core" if busy else "none"
        results[where] = sleeping / spinning
        print(f"| {where} | {spinning:.2f} steps/s | {sleeping:.2f} steps/s | {sleeping / spinning:.2f} |")
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=1))
    print(f"\nratio sleeping / spinning beside one busy core: {results['one busy core']:.2f}")


if __name__ == "__main__":
    main()
