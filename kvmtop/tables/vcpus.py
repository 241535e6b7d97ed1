"""What a VM or a vCPU does now, in words."""

from __future__ import annotations

from .. import units
from ..insight.vcpus import VcpuRow


def cpu(row: VcpuRow) -> str:
    """How many vCPUs a VM has, or on which CPU of the host a vCPU is."""
    if row.scope.thread is None:
        return str(row.alive)
    return "" if row.ended else units.DASH if row.cpu is None else f"@{row.cpu}"


def state(row: VcpuRow) -> str:
    """What is out of the ordinary; empty where nothing is."""
    if row.ended:
        return "ended"
    if row.scope.thread is None:
        return f"{row.stuck} stuck" if row.stuck else "" if row.seen else "no exits yet"
    if not row.outside:
        return ""
    return f"{'STUCK ' if row.stuck else ''}{row.outside.where} {units.duration(row.outside.ns)}"
