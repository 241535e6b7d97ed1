"""bpf(2) and perf_event_open(2), as far as kvmtop needs them: maps as numpy arrays, programs on tracepoints.

Interface: include/uapi/linux/bpf.h and perf_event.h. Every function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import struct
from typing import Any

import numpy as np

from .. import bounded
from ..model.arrays import Array

_SYS_PERF_EVENT_OPEN, _SYS_BPF = 298, 321  # x86-64
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_PROG_LOAD, _PROG_TEST_RUN, _RAW_TRACEPOINT_OPEN, _LINK_CREATE, _ITER_CREATE = 5, 10, 17, 28, 33
_GET_INFO, _ENABLE_STATS = 15, 32
_RUN_TIME, _INFO_SIZE = 192, 216  # of bpf_prog_info: where run_time_ns, run_cnt and recursion_misses are, and its size
# BPF_PROG_TYPE_TRACEPOINT, _RAW_TRACEPOINT, _TRACING, _PERF_EVENT
_PROGRAM_TYPES = {"classic": 5, "raw": 17, "typed": 26, "iterator": 26, "sample": 7}
_TRACING = {"typed": 23, "iterator": 28}  # BPF_TRACE_RAW_TP, BPF_TRACE_ITER
_MAP_TYPE_ARRAY, _MAP_TYPE_ARRAY_OF_MAPS = 2, 12
CALL_KERNEL = 2  # BPF_PSEUDO_KFUNC_CALL
MMAPABLE = 1 << 10  # BPF_F_MMAPABLE: arrays can be mapped since Linux 5.5 (fc9702273e2e)
_PERF_TYPE_TRACEPOINT, _PERF_ATTR_SIZE, _PERF_DISABLED, _PERF_FD_CLOEXEC = 2, 64, 1, 8
_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_CPU_CLOCK, _PERF_EXCLUDE_IDLE, _PERF_FREQ = 1, 0, 1 << 7, 1 << 10
_PERF_EVENT_IOC_ENABLE, _PERF_EVENT_IOC_SET_BPF = 0x2400, 0x40042408

_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: Any) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    return _syscall(_SYS_BPF, ctypes.c_int(command), ctypes.c_char_p(attributes), ctypes.c_uint(len(attributes)))


def grace_period() -> None:
    """Wait until all events that are under way now, on all CPUs, are over (a grace period of RCU).

    Who changes a map of maps waits for that (Linux 4.20, 1ae80cf31938: maybe_wait_bpf_programs). membarrier(2) refuses
    where CPUs have no tick (nohz_full).
    """
    with contextlib.ExitStack() as fds:
        inner = array(4)
        fds.callback(os.close, inner)
        outer = _bpf(_MAP_CREATE, struct.pack("<6I", _MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1, 0, inner))
        fds.callback(os.close, outer)
        BpfArray(outer, np.dtype("u4"), 1, mapped=False).write([0], np.array([inner], "u4"))


def push(fd: int, values: Any) -> None:
    """Put 32-bit numbers on a BPF stack, one after the other."""
    value = ctypes.c_uint32()
    attributes = (ctypes.c_uint64 * 4)(fd, 0, ctypes.addressof(value), 0)
    call, arguments = _libc.syscall, (ctypes.c_long(_SYS_BPF), _MAP_UPDATE, ctypes.byref(attributes), 32)
    for number in values:
        value.value = number
        if call(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def array(size: int) -> int:
    """A BPF array of one value of so many bytes; its descriptor."""
    return _bpf(_MAP_CREATE, struct.pack("<6I", _MAP_TYPE_ARRAY, 4, size, 1, 0, 0))


def delete(fd: int, key: bytes) -> None:
    """Take a key out of a BPF hash, if it is there."""
    text = ctypes.create_string_buffer(key, len(key))
    with contextlib.suppress(FileNotFoundError):
        _bpf(_MAP_DELETE, struct.pack("<QQQQ", fd, ctypes.addressof(text), 0, 0))


def lookup(fd: int, key: int, size: int) -> bytes:
    """The value of a 32-bit key, of so many bytes; zeros where there is none."""
    number, value = ctypes.c_uint32(key), ctypes.create_string_buffer(size)
    with contextlib.suppress(FileNotFoundError):
        _bpf(_MAP_LOOKUP, struct.pack("<QQQQ", fd, ctypes.addressof(number), ctypes.addressof(value), 0))
    return value.raw


def enable_statistics() -> int:
    """How long programs run is measured until the descriptor returned, and all others like it, are closed."""
    return _bpf(_ENABLE_STATS, struct.pack("<I", 0))  # BPF_STATS_RUN_TIME


def runs(program: int) -> tuple[int, int, int]:
    """Of a program, while that was measured: ns, how many runs, and how many were left out (5.12: 9ed9e9ba2337)."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    _bpf(_GET_INFO, struct.pack("<IIQ", program, _INFO_SIZE, ctypes.addressof(info)))
    ns, count, missed = struct.unpack_from("<QQQ", info, _RUN_TIME)
    return ns, count, missed


def lockdown() -> str | None:
    """How far the kernel is locked down: none, integrity, confidentiality; None where it does not say."""
    with contextlib.suppress(OSError):
        return bounded.text("/sys/kernel/security/lockdown").partition("[")[2].partition("]")[0]
    return None


def may_read_kernel() -> bool:
    """Whether a BPF program may use bpf_probe_read_kernel: not where the kernel is locked down (9d1f8be5cf42)."""
    return lockdown() != "confidentiality"


def locked_down() -> str | None:
    """Why nobody may read events of what was loaded since, not even root; None if that is not so."""
    if lockdown() != "confidentiality":
        return None
    return (
        "the kernel is locked down (confidentiality) and shows no events of what was loaded since:"
        " boot with lockdown=integrity, or load KVM before that"
    )


def mmapable() -> bool:
    """Whether this kernel's BPF arrays can be mapped."""
    try:
        os.close(_bpf(_MAP_CREATE, struct.pack("<6I", _MAP_TYPE_ARRAY, 4, 8, 1, MMAPABLE, 0)))
    except OSError:
        return False
    return True


def raw_tracepoints() -> bool:
    """Whether this kernel has them (Linux 4.17, with CONFIG_BPF_EVENTS)."""
    try:
        attach_raw("kvm_entry", -1)
    except OSError as error:
        return error.errno == errno.EBADF  # it has looked at the program
    raise AssertionError


def load(instructions: bytes, kind: str, type_id: int = 0) -> int:
    """Load a program: classic, raw, typed (for the tracepoint whose btf_trace_ type has this id), iterator (for the
    bpf_iter_ function that has it), or for samples."""
    text, licence = ctypes.create_string_buffer(instructions, len(instructions)), ctypes.c_char_p(b"GPL")
    log = ctypes.create_string_buffer(1 << 20)
    attributes = struct.pack(
        "<IIQQIIQII16sIIIIQIIQII",
        *(_PROGRAM_TYPES[kind], len(instructions) // 8, ctypes.addressof(text)),
        *(ctypes.cast(licence, ctypes.c_void_p).value, 0, 0, 0, 0, 0, b"kvmtop", 0),
        *(_TRACING.get(kind, 0), 0, 0, 0, 0, 0, 0, 0, type_id),
    )
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError:  # once more, to hear why
        words = struct.pack("<IIQ", 1, len(log), ctypes.addressof(log))
        try:
            return _bpf(_PROG_LOAD, attributes[:24] + words + attributes[40:])
        except OSError as error:
            why = log.value.decode(errors="replace").strip().splitlines()[-3:]
            raise OSError(error.errno, "; ".join([*why, os.strerror(error.errno or 0)])) from None


def run(program: int, *arguments: int) -> int:
    """Run a raw tracepoint's program with these arguments (Linux 5.10, 1b4d60ec162f); what it returns."""
    values = (ctypes.c_uint64 * len(arguments))(*arguments)
    size, address = ctypes.sizeof(values), ctypes.addressof(values)
    words = struct.pack("<IIIIQQIIIIQQII", program, 0, 0, 0, 0, 0, 0, 0, size, 0, address, 0, 0, 0)
    attributes = ctypes.create_string_buffer(words, len(words))
    _syscall(_SYS_BPF, ctypes.c_int(_PROG_TEST_RUN), attributes, ctypes.c_uint(len(words)))
    return int.from_bytes(attributes.raw[4:8], "little")


def can_cast(function: int, structure: int) -> bool:
    """Whether a program may call this kernel function (bpf_rdonly_cast, by its BTF id) to read memory as this struct
    and what comes after it."""
    program = struct.pack(
        *("<" + 6 * "BBhi", 0xB7, 1, 0, 0),  # r1 = 0
        *(0xB7, 2, 0, structure),  # r2 = structure
        *(0x85, CALL_KERNEL << 4, 0, function),  # call
        *(0x61, 0, 0x7000, 0),  # r0 = *(u32 *)(r0 + 0x7000)
        *(0xB7, 0, 0, 0, 0x95, 0, 0, 0),  # return 0
    )
    try:
        os.close(load(program, "raw"))
    except OSError:
        return False
    return True


def can_run() -> bool:
    """Whether run() can be had."""
    program = load(bytes.fromhex("b700000000000000 9500000000000000"), "raw")  # return 0
    try:
        run(program, 0)
    except OSError:
        return False
    finally:
        os.close(program)
    return True


def attach_typed(program: int) -> int:
    """Run a typed program at its tracepoint until the descriptor returned is closed."""
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QiI", 0, program, 0))


def link_iterator(program: int) -> int:
    """What iterate() asks, until the descriptor returned is closed."""
    return _bpf(_LINK_CREATE, struct.pack("<IIII", program, 0, _TRACING["iterator"], 0))


def iterate(link: int) -> int:
    """A file that runs an iterator while it is read; what it reads is what the program writes."""
    return _bpf(_ITER_CREATE, struct.pack("<II", link, 0))


def attach_raw(name: str, program: int) -> int:
    """Run a program at a raw tracepoint until the descriptor returned is closed."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QiI", ctypes.addressof(text), program, 0))


def attach(number: int, program: int) -> int:
    """Run a program at a tracepoint (its number: the file `id` in tracefs) until the descriptor is closed.

    The event that carries it stays disabled: the program runs all the same, and no samples are taken.
    """
    fd = _event(_PERF_TYPE_TRACEPOINT, number, 0, _PERF_DISABLED, online_cpus()[0])
    try:
        fcntl.ioctl(fd, _PERF_EVENT_IOC_SET_BPF, program)
    except OSError:
        os.close(fd)
        raise
    return fd


def attach_sample(program: int, frequency: int, cpu: int) -> int:
    """Run a program so often a second on a CPU that is not idle (perf's cpu-clock), until the descriptor is closed."""
    flags = _PERF_DISABLED | _PERF_EXCLUDE_IDLE | _PERF_FREQ
    fd = _event(_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_CPU_CLOCK, frequency, flags, cpu)
    try:
        fcntl.ioctl(fd, _PERF_EVENT_IOC_SET_BPF, program)
        fcntl.ioctl(fd, _PERF_EVENT_IOC_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def _event(kind: int, config: int, frequency: int, flags: int, cpu: int) -> int:
    attributes = struct.pack("<IIQQQQQ", kind, _PERF_ATTR_SIZE, config, frequency, 0, 0, flags)
    attributes = attributes.ljust(_PERF_ATTR_SIZE, b"\0")
    return _syscall(_SYS_PERF_EVENT_OPEN, ctypes.c_char_p(attributes), -1, cpu, -1, ctypes.c_ulong(_PERF_FD_CLOEXEC))


def online_cpus() -> list[int]:
    """The numbers of the host's CPUs that are online."""
    spans = (span.split("-") for span in bounded.text("/sys/devices/system/cpu/online").strip().split(","))
    return [cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1)]


def possible_cpus() -> int:
    """How many CPUs there may ever be: bpf_get_smp_processor_id() is below it."""
    text = bounded.text("/sys/devices/system/cpu/possible").strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


class BpfArray:
    """A BPF array: mapped into this process, or on kernels before 5.5 looked up row by row."""

    def __init__(self, fd: int, dtype: np.dtype[Any], size: int, mapped: bool) -> None:
        self._fd, self._size, self._dtype = fd, size, dtype
        # Mapped, the copy costs no system call. It also loses nothing: a map system call keeps classic
        # tracepoint programs of its CPU from running (bpf_disable_instrumentation), even of a vCPU that
        # preempts it.
        length = -(-size * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        self.rows = np.frombuffer(mmap.mmap(fd, length), dtype, size) if mapped else None

    def read(self, count: int | None = None) -> Array:
        """A copy of the first `count` rows, all without one."""
        count = self._size if count is None else min(count, self._size)
        if self.rows is not None:
            return self.rows[:count].copy()
        rows = np.zeros(count, self._dtype)
        for index in range(count):
            self._row(_MAP_LOOKUP, index, rows.ctypes.data + index * self._dtype.itemsize)
        return rows

    def take(self, indices: Any, head: np.dtype[Any]) -> Array:
        """A copy of how these rows begin, as this dtype of whole 64-bit words."""
        rows = self.read() if self.rows is None else self.rows
        words = rows.view("u8").reshape(self._size, self._dtype.itemsize // 8)
        begun: Array = np.ascontiguousarray(words[indices, : head.itemsize // 8]).view(head)[:, 0]
        return begun

    def write(self, indices: Any, rows: Array) -> None:
        """Put these rows at these indices."""
        if self.rows is not None:
            self.rows[indices] = rows
            return
        for index, row in zip(indices, np.ascontiguousarray(rows), strict=True):
            buffer = ctypes.create_string_buffer(row.tobytes(), self._dtype.itemsize)
            self._row(_MAP_UPDATE, int(index), ctypes.addressof(buffer))

    def clear(self, indices: Any) -> None:
        """Zero these rows."""
        self.write(indices, np.zeros(len(indices), self._dtype))

    def _row(self, command: int, index: int, address: int) -> None:
        key = ctypes.c_uint32(index)
        with contextlib.suppress(FileNotFoundError):
            _bpf(command, struct.pack("<QQQQ", self._fd, ctypes.addressof(key), address, 0))
