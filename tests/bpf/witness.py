"""Whether this machine's kernel tells of all switches.

A sandbox's kernel may hide its own manager's threads from tracepoints. A switch from one of them to a Player is not told
then, for no program: what the Player's states are cannot be known, and a test that fails then says nothing of kvmtop.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kvmtop.bpf import btf, loader, syscalls

_HIDDEN = 16384


class Witness:
    """Watches until close()."""

    def __init__(self) -> None:
        """Raises KvmtopError."""
        with btf.load() as types:
            pid = types.offset("task_struct", "pid") if types else None
        assert pid is not None, "this kernel does not tell where a thread's id is (CONFIG_DEBUG_INFO_BTF)"
        flags = [f"-DTASK_PID={pid}", f"-DCPUS={syscalls.possible_cpus()}", f"-DHIDDEN={_HIDDEN}"]
        source = Path(__file__).with_name("witness.bpf.c")
        loaded = loader.load(source, flags, {"on_switch": ("raw", 0)}, ["hidden"])
        self._hidden, self._program = loaded.maps["hidden"], loaded.programs["on_switch"]
        self._link = syscalls.attach_raw("sched_switch", self._program)

    def hid(self, tids: Iterable[int]) -> int:
        """How many times these threads ran that no event told of."""
        return sum(int.from_bytes(syscalls.lookup(self._hidden, tid, 8), "little") for tid in tids)

    def close(self) -> None:
        for fd in (self._link, self._program, self._hidden):
            os.close(fd)
