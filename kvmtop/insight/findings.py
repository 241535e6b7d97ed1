"""Plain sentences that follow from the numbers, each with the rule and the numbers it rests on.

Few, and none without a number: what no rule covers is left to the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.session import Session
from ..reference.labels import Labels
from .finding import USUAL, Finding, Limits
from .rules import BY_NAME, RULES
from .rules.rule import View
from .vcpus import VcpuRow

MOST = 5  # sentences
ENOUGH = 0.5  # of what a finding costs, that another one must cost to explain it


def findings(
    session: Session,
    interval: Interval,
    rows: Sequence[VcpuRow],
    labels: Labels,
    limits: Limits = USUAL,
    scope: Scope = ALL,
) -> list[Finding]:
    """What stands out of a scope in an interval, gravest first, at most MOST. rows: its vcpu_rows()."""
    return gravest(View.of(session, interval, rows, labels, limits, scope))


def gravest(view: View) -> list[Finding]:
    """What stands out of a view, gravest first, at most MOST."""
    return causes(found_in(view))[:MOST]


def of_each_vm(view: View) -> Iterator[tuple[VcpuRow, list[Finding]]]:
    """The VMs of a view that have not ended, each with what costs it time, as if there were no other."""
    for vm in view.vms:
        if not vm.ended:
            yield vm, causes(one for one in found_in(view.of_vm(vm.number)) if one.scope.pid == vm.number)


def found_in(view: View) -> list[Finding]:
    """What all rules find, in their order, of each the MOST that cost most."""
    return [
        replace(one, name=rule.name, rule=rule.holds(view.limits))
        for rule in RULES
        for one in sorted(rule.find(view), key=lambda one: -(one.cost or 0.0))[:MOST]
    ]


def causes(found: Iterable[Finding]) -> list[Finding]:
    """Those that no other one explains: a chatty console is why a vCPU is in its VMM."""
    found = list(found)
    return [one for one in found if not any(_explains(other, one) for other in found)]


def _explains(cause: Finding, other: Finding) -> bool:
    """Whether one says why the other is so: of the same VM, and at least ENOUGH of what that costs."""
    if other.name not in BY_NAME[cause.name].explains or cause.scope.pid != other.scope.pid:
        return False
    return (cause.cost or 0.0) >= ENOUGH * (other.cost or 0.0)
