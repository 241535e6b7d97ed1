"""What this process may do: capabilities(7)."""

from __future__ import annotations

import re
from pathlib import Path

from .. import bounded

STATUS = Path("/proc/self/status")

SYS_ADMIN, SYSLOG, PERFMON, BPF = 21, 34, 38, 39  # include/uapi/linux/capability.h


def capable(*capabilities: int) -> bool:
    """Whether this process has all of these capabilities: capabilities(7)."""
    try:
        status = bounded.text(STATUS)
    except OSError:
        status = ""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    held = int(match[1], 16) if match else 0
    return all(held >> number & 1 for number in capabilities)


def may_load_bpf() -> bool:
    """Whether this process has CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON (Linux 5.8)."""
    return capable(SYS_ADMIN) or capable(BPF, PERFMON)
