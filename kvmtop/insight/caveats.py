"""What a reader of the figures must know."""

from __future__ import annotations

from ..model.snapshot import Snapshot

SILENT_AFTER = 3.0  # seconds without any exit, after which silence() speaks


def silence(snapshot: Snapshot) -> str | None:
    """Why nothing has been seen after some seconds, in a sentence; None if it has, or it is too early to say."""
    if len(snapshot.threads) or (snapshot.time_ns - snapshot.start_ns) / 1e9 < SILENT_AFTER:
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
