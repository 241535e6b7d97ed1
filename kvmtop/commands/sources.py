"""Where a command's Snapshots come from: this host, or nothing of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..bpf import privileges
from ..errors import KvmtopError, meanwhile, tell
from ..host import processes
from ..model.selection import ALL_VMS, Selected, Selection
from ..model.source import Source
from ..model.vocabulary import DetailRequest, Vm

LOADING = "loading the probes …"


def running() -> list[tuple[Vm, int]]:
    """The VMs of this host with their numbers of vCPUs, by process id."""
    return [(processes.vm(pid), count) for pid in sorted(processes.pids()) if (count := processes.vcpu_count(pid))]


def host(
    pids: Sequence[int] = (),
    selection: Selection = ALL_VMS,
    details: DetailRequest | None = None,
    record: Path | None = None,
) -> Source:
    """This host, counting from now on. record: a file that must not exist yet. Raises KvmtopError."""
    if not privileges.may_load_bpf():
        raise KvmtopError("loading BPF programs needs root: sudo kvmtop")
    if record and os.path.lexists(record):  # before the probes are loaded
        raise KvmtopError(f"{record} exists: choose another name, or remove it", 2)
    from ..host import live

    if not selection.patterns:
        with meanwhile(LOADING):
            return live.Live(pids, look=details)
    vms = [vm for vm, _ in running()]
    if not any(map(selection.matches, vms)):  # one may start later
        tell(f"{selection.missing(vms)}: waiting for one")
    with meanwhile(LOADING):
        return Selected(live.Live(pids, look=details), selection)


def host_with_vms() -> Source:
    """This host, if a VM runs on it. Raises KvmtopError."""
    if privileges.may_load_bpf() and not any(processes.vcpu_count(pid) for pid in processes.pids()):
        raise KvmtopError(processes.namespace() or "no VM runs here (kvmtop --live waits for one)")
    return host()


def some_vm(selection: Selection) -> None:
    """Raises KvmtopError where none of the selected VMs runs here."""
    vms = [vm for vm, _ in running()]
    if privileges.may_load_bpf() and not any(map(selection.matches, vms)):
        raise KvmtopError(
            processes.namespace() or (selection.missing(vms) if selection.patterns else "no VM runs here (kvmtop list)")
        )
