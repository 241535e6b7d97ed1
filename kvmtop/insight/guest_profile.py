"""Where a guest is, by samples: the host's own interrupts stop it wherever it happens to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import units
from ..model.interval import Interval
from ..model.keys import pack
from ..model.scope import ALL, Scope
from ..model.vocabulary import KINDS, SAMPLED
from ..reference.labels import Labels
from .accesses import CODE, change, ids_of
from .finding import Finding
from .vcpus import VcpuRow

LEAST = 50  # samples, all of them within so many BYTES: a loop of a few instructions, which nothing interrupts
BYTES = 16
IN_GUEST = 0.9  # of its time, but for waits for a CPU: what else it does, no sample sees


@dataclass(frozen=True)
class Profile:
    """Of one vCPU. id: tgid and tid, packed; code: (address, samples), most first."""

    id: int
    samples: int
    code: Sequence[tuple[int, int]]

    def functions(self, labels: Labels) -> list[tuple[str, int]]:
        """By function, most samples first; by address where none is known."""
        found = Counter[str]()
        for address, count in self.code:
            found[labels.symbols.function(address) or labels.what(CODE, address, 0)] += count
        return found.most_common()


def profiles(interval: Interval, scope: Scope = ALL) -> list[Profile]:
    """Of the vCPUs that were sampled while somebody looked at guest code."""
    rows, ids = change(interval), ids_of(interval.after, scope)
    if rows is None:
        return []
    rows = rows[(rows["kind"] == KINDS.index(CODE)) & (rows["extra"] & SAMPLED > 0) & (rows["count"] > 0)]
    rows = rows if ids is None else rows[np.isin(rows["id"], ids)]
    found: dict[int, list[tuple[int, int]]] = {}
    for id, address, count in zip(*(rows[name].tolist() for name in ("id", "value", "count")), strict=True):
        found.setdefault(id, []).append((address, count))
    return [
        Profile(id, sum(count for _, count in code), sorted(code, key=lambda one: (-one[1], one[0])))
        for id, code in sorted(found.items())
    ]


def spinning(interval: Interval, vcpus: Sequence[VcpuRow], labels: Labels) -> Iterator[Finding]:
    """vCPUs that are in the guest nearly all of the time, and there nearly always at the same few instructions."""
    found = {profile.id: profile for profile in profiles(interval)}
    for vcpu in vcpus if found else ():
        profile, shares = found.get(int(pack(vcpu.scope.pid or 0, vcpu.number))), vcpu.shares or {}
        share = shares.get("guest", 0.0) / max(1 - shares.get("wait", 0.0) - shares.get("throttled", 0.0), 1e-9)
        if not profile or profile.samples < LEAST or share < IN_GUEST:
            continue
        address = profile.code[0][0]
        near = sum(count for where, count in profile.code if abs(where - address) < BYTES)
        if near == profile.samples:
            yield Finding(
                f"{vcpu.name} of {vcpu.vm} sits at {labels.what(CODE, address, 0)}, with {near:,} of"
                f" {profile.samples:,} samples, and is in its guest {units.percent(share)} of the time that it has a"
                " CPU: it may spin",
                short=f"{vcpu.vm} {vcpu.name} may spin",
                scope=vcpu.scope,
                state="guest",
            )
