"""Which tracepoints have programs of this process: the kernel's own list."""

from __future__ import annotations

import ctypes
import os
import struct

_BPF, _TASK_FD_QUERY = 321, 20  # the system call on x86, and its command


def attached() -> set[str]:
    """Their names."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        name = ctypes.create_string_buffer(128)
        query = struct.pack("<IIIIQIIQQ", os.getpid(), int(entry), 0, len(name), ctypes.addressof(name), 0, 0, 0, 0)
        buffer = ctypes.create_string_buffer(query, len(query))
        if ctypes.CDLL(None).syscall(_BPF, _TASK_FD_QUERY, buffer, len(query)) == 0:
            found.add(name.value.decode())
    return found
