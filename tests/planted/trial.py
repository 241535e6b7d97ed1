"""One question to `kvmtop diagnose`, in a process of its own, and what is to be thought of its answer."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from .constructed import Constructed, Made
from .healthy import Healthy
from .plants import BATCH, MAIL, SHOP, Plant, running

PATIENCE = 300.0  # seconds beyond those that were asked for
NOTHING, SOMETHING = 0, 3  # its exit statuses
TITLES = f"{'rule':<17}{'planted':<38}{'found':>6}{'rank':>5}{'cost':>7}{'s':>5}  what else was claimed"


def claimed(cause: dict[str, Any]) -> tuple[str, str | None]:
    """By which rule, and of whom; what is of SHOP and another VM is of SHOP."""
    other = cause.get("other") or {}
    return cause["rule"], SHOP if SHOP in (cause["vm"], other.get("vm")) else cause["vm"]


@dataclass(frozen=True)
class Trial:
    """What was planted, and what kvmtop said. rule: "" of what is healthy; also: what else is true of SHOP."""

    rule: str
    what: str
    also: Set[str]
    said: dict[str, Any]
    status: int
    seconds: float
    vm: str | None = SHOP  # of which the right cause is

    @property
    def causes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.said["causes"]
        return found

    @property
    def rank(self) -> int | None:
        """Of the right cause, 1 is the first; what BATCH and SHOP do to each other holds for both."""
        if not self.rule:
            return None
        claims = [claim for claim in map(claimed, self.causes) if claim != (self.rule, BATCH)]
        right = self.rule, self.vm
        return claims.index(right) + 1 if right in claims else None

    @property
    def others(self) -> list[str]:
        """The other claims, marked where they are false."""
        found = []
        for one in self.causes:
            rule, vm = claimed(one)
            if (rule, vm) == (self.rule, self.vm):
                continue
            true = (vm == SHOP and rule in self.also) or (vm == BATCH and rule == self.rule)
            found.append(f"{'' if true else 'FALSE '}{rule} of {vm}")
        return found

    @property
    def right(self) -> bool:
        """The right cause came first, and no false one at all; the exit status says so, too."""
        first = self.rank == 1 if self.rule else True
        status = SOMETHING if self.causes else NOTHING
        return first and self.status == status and not any(one.startswith("FALSE") for one in self.others)

    def words(self) -> list[str]:
        """What it was told, for whoever mends a rule."""
        checked = [one for one in self.said.get("checked", ()) if one["rule"] == self.rule]
        looks = ", ".join(f"{one['what']} {one['seconds']:.0f} s" for one in self.said.get("looks", ()))
        return [
            *(one["text"] for one in self.causes),
            f"checked: {checked}; {looks}",
            *self.said.get("failed", "").splitlines(),
        ]

    def row(self) -> str:
        """For the table."""
        rank, right = self.rank, (self.rule, self.vm)
        cost = next((one["cost"] for one in self.causes if claimed(one) == right), None)
        found = ("yes" if rank else "NO") if self.rule else ""
        claims = ", ".join(self.others) + (f" (status {self.status})" if self.status not in (0, 3) else "")
        return (
            f"{self.rule or 'healthy':<17}{self.what:<38}{found:>6}{rank or '-':>5}"
            f"{'-' if cost is None else f'{cost:.1%}':>7}{self.seconds:>5.0f}  {claims or '-'}"
        )


def diagnose(seconds: float, *options: str) -> tuple[dict[str, Any], int]:
    """What `kvmtop diagnose` says, and its exit status; of one that fails or hangs, that it names no cause, with its last
    words."""
    # An emulated host has two CPUs and this takes one: without that its guests would wait for kvmtop, which is not planted.
    behind = ["nice", "-n", "10"]
    argv = [
        *behind,
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "kvmtop",
        "diagnose",
        "--duration",
        f"{seconds:g}",
        "--json",
    ]
    kvmtop = subprocess.Popen(
        [*argv, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = kvmtop.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        kvmtop.send_signal(signal.SIGABRT)  # it says where it is
        out, err = kvmtop.communicate()
    if kvmtop.returncode not in (NOTHING, SOMETHING):
        return {"causes": [], "failed": err}, kvmtop.returncode
    said: dict[str, Any] = json.loads(out)
    return said, kvmtop.returncode


def _trial(rule: str, what: str, also: Set[str], seconds: float, *options: str) -> Trial:
    start = time.monotonic()
    said, status = diagnose(seconds, *options)
    return Trial(rule, what, also, said, status, time.monotonic() - start)


def planted(plant: Plant, seconds: float, nothing: bool = False) -> Trial:
    """A problem beside a healthy VM; nothing: that one alone, so that the cause must not be found."""
    with running("mostly-halted", name=MAIL), contextlib.ExitStack() as stack:
        given = None if nothing else stack.enter_context(plant.begin())
        options = given if isinstance(given, list) else []
        return _trial(plant.rule, plant.what, plant.also, seconds, *options)


def constructed(one: Constructed) -> Trial:
    """What all rules say of an interval that is made up."""
    made = Made()
    one.build(made)
    causes = [{"rule": rule, "vm": vm, "cost": cost} for rule, vm, cost in made.causes()]
    status = SOMETHING if causes else NOTHING
    return Trial(one.rule, f"constructed: {one.lacks}", frozenset(), {"causes": causes}, status, 0.0, one.vm)


def healthy(set_up: Healthy, seconds: float) -> Trial:
    """Nothing is wrong with it."""
    with set_up.begin():
        return _trial("", set_up.name, frozenset(), seconds)
