"""What was not seen: what a reader of the figures must know, in words."""

from __future__ import annotations

from ..model.snapshot import Details, Snapshot
from ..reference.labels import TITLES

SILENT_AFTER = 3.0  # seconds without any exit, after which silence() speaks


def silence(snapshot: Snapshot) -> str | None:
    """Why nothing has been seen after some seconds, in a sentence; None if it has, or it is too early to say."""
    if not snapshot.silent or (snapshot.time_ns - snapshot.start_ns) / 1e9 < SILENT_AFTER:
        return None
    if snapshot.userspace:
        return (
            f"guests run here ({snapshot.userspace} exits to user space seen), but this kernel's KVM emits no kvm_exit"
            " event, so there is nothing to time (a paravirtual or nested KVM such as PVM does so)"
        )
    running = sum(not vm.ended for vm in snapshot.vms.values())
    if not running:
        return "no VM runs here that is to be shown; exits show as soon as one starts"
    whose = "its" if running == 1 else "their"
    return f"{running} VM{'s' * (running != 1)} here, but none of {whose} vCPUs has left or entered the guest yet"


def caveats(snapshot: Snapshot) -> str:
    """What was not counted or did not pair, in words; empty where there is nothing to confess."""
    counted = (
        (snapshot.lost, "exit{} lost (a map was full)"),
        (snapshot.unpaired, "entr{y} without an exit"),
        (snapshot.overwritten, "exit{} without an entry"),
        (snapshot.ended_threads, "vCPU thread{} ended"),
    )
    words = [f"{n} {what.format('s' * (n != 1), y='y' if n == 1 else 'ies')}" for n, what in counted if n]
    return f"since the start: {', '.join(words)}" if words else ""


def dropped(details: Details) -> str:
    """What the tables of what was touched do not show, in words; empty where nothing is missing."""
    words = [
        f"{count} {TITLES[kind]} events of keys for which there was no room"
        for kind, count in sorted(details.dropped.items())
        if kind in TITLES
    ]
    if details.undelivered:
        more = "1 more slow exit is" if details.undelivered == 1 else f"{details.undelivered} more slow exits are"
        words.append(f"{more} not in the list: they came faster than they could be read (the counts have them)")
    return ", ".join(words)
