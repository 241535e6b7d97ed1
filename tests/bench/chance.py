"""How often `kvmtop compare` marks what chance alone did, or finds a change: `python -m tests.bench.chance [--times 2]`.

The halves of runs in which nothing changes are held against each other, a reason or a VM (some reasons together) at a
time. A verdict is false there; of those in which a half takes six times as long as bursts last, fewer than 1 % shall
have one. What wanders more slowly has changed, as far as anybody can tell.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from ..support.steady import Counts, Kind, Rates, bursts, log_normal, on_and_off, pareto, poisson, verdicts, wandering

# How exits come, and for how many seconds what is by chance goes on.
COMES: dict[str, tuple[Rates, float]] = {
    "Poisson": (poisson, 0),
    "bursts of a second": (bursts(0.5), 1),
    "wanders for 3 s": (wandering(0.5, 3), 3),
    "wanders for 10 s": (wandering(0.7, 10), 10),
    "wanders for 60 s": (wandering(0.5, 60), 60),
    "5 s busy, 15 s not": (on_and_off(5, 15), 3.75),
    "20 s busy, 20 s not": (on_and_off(20, 20), 10),
}
LASTS = {
    "even durations": (log_normal(0.5), None, 0.0),
    "wide durations": (log_normal(2.0), None, 0),
    "heavy tails": (pareto(1.2), None, 0),
    "durations wander for 5 s": (log_normal(0.5), wandering(0.5, 5), 5),
}
FIGURES = ("rate", "time", "p50", "p99")
SECONDS = (10, 32, 120, 600)  # a half
TOGETHER = 4  # reasons of a VM
STEADY, SHORT = "all of them", "too short to tell"
Found = Counter[tuple[str, ...]]


def count(turns: int, times: float = 1.0, seed: int = 1) -> tuple[Found, Found]:
    """Verdicts by (reason or VM, of which, figure); how many of them were judged by (reason or VM, of which)."""
    random = np.random.default_rng(seed)
    marked, tried = Found(), Found()

    def judge(what: str, run: Counts, *groups: str) -> None:
        changed = verdicts(run) or frozenset()
        for group in groups:
            tried[what, group] += 1
            marked.update((what, group, figure) for figure in changed)

    for seconds in SECONDS * turns:
        steady = list[Counts]()
        for comes, (rates, goes_on) in COMES.items():
            for lasts, (durations, drift, drifts) in LASTS.items():
                kind = Kind(float(10 ** random.uniform(-0.5, 3)), rates, durations, drift)
                run = kind.run(random, 2 * seconds, times)
                if seconds < 6 * max(goes_on, drifts):
                    judge("reason", run, SHORT)
                else:
                    judge("reason", run, STEADY, f"{seconds} s", comes, lasts)
                    steady.append(run)
        for _ in range(len(steady) // 2):
            some = [steady[n] for n in random.choice(len(steady), TOGETHER, replace=False)]
            judge("VM", np.sum(some, axis=0), STEADY, f"{seconds} s")
    return marked, tried


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.chance")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--times", type=float, default=1.0, help="as many exits in the second half")
    options = parser.parse_args()
    marked, tried = count(options.turns, options.times)
    print(f"{'marked:':34}{'of':>8}" + "".join(f"{figure:>8}" for figure in FIGURES))
    for group, trials in sorted(tried.items()):
        shares = (100 * marked[(*group, figure)] / trials for figure in FIGURES)
        print(f"{' '.join(group):34}{trials:8}" + "".join(f"{share:7.2f}%" for share in shares))


if __name__ == "__main__":
    main()
