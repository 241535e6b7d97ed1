"""Histograms against the exact durations of the same exits, which the probe hands out one by one."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff

from . import truth

DURATION = np.dtype([("reason", "u4"), ("isa", "u4"), ("ns", "u8")])


def drain(collector: Collector) -> np.ndarray[Any, Any]:
    """All durations of the queue: a look-up with deletion takes the oldest."""
    found, fd = np.zeros(65_536, DURATION), collector._fd("durations")
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(len(found)):
        # bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM): map_fd, key, value, flags
        attributes = (ctypes.c_uint64 * 4)(fd, 0, found.ctypes.data + number * DURATION.itemsize, 0)
        if libc.syscall(321, 21, ctypes.byref(attributes), ctypes.sizeof(attributes)):
            return found[:number]
    raise AssertionError("the queue was too small")


def test_percentiles_are_within_the_buckets_error() -> None:
    collector = Collector(flags=["-DDURATIONS=65536"], extra_maps=["durations"])
    truth.run_guest("--vcpus", "2", "cpuid:5000", "out:300", "in:100", "rdmsr:1000", "mmio:50", "hlt:20")
    exact = drain(collector)
    snapshot = collector.close()
    reasons = [r for r in by_reason(diff(None, snapshot)) if r.count]
    assert sum(r.count for r in reasons) == len(exact) > 10_000
    for reason in reasons:
        mine = np.sort(exact["ns"][(exact["reason"] == reason.code) & (exact["isa"] == reason.isa)])
        assert (reason.count, reason.total) == (len(mine), int(mine.sum()))
        assert (reason.min, reason.max) == (int(mine[0]), int(mine[-1]))
        for share in (0.5, 0.9, 0.99, 0.999):
            true = float(mine[int(np.ceil(share * len(mine))) - 1])
            assert reason.percentile(share) == pytest.approx(true, rel=0.125), (reason.name, share)
