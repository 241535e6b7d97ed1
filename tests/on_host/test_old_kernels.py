"""What older kernels lack, taken away from this one: every fallback counts the same."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import replace
from typing import Any

import pytest

from kvmtop.bpf import btf, sched, syscalls
from kvmtop.bpf.btf import Btf
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.detail import Detail
from kvmtop.bpf.tracepoint import Tracefs, Tracepoint
from kvmtop.model.exit_stats import by_reason
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import KINDS, STATES, SVM, UNKNOWN, DetailRequest
from kvmtop.output import summary

from . import truth

pytestmark = pytest.mark.long

VCPUS = 2
SCRIPT = ("--vcpus", str(VCPUS), "cpuid:2000", "out:50", "rdmsr:30", "mmio:7", "hlt:3")
# Arrays that can be mapped (before 5.5), raw tracepoints (4.17), fields of kvm_exit, the kernel's types (5.4), the
# members that tell a halt, and what quotas withhold, and addresses of functions (kernel.kptr_restrict).
WITHOUT = (
    "mmap",
    "raw",
    "vcpu_id",
    "isa",
    "types",
    "kvm_vcpu",
    "cfs_rq",
    "types kallsyms",
    "mmap raw vcpu_id isa types",
)


@pytest.fixture(params=WITHOUT)
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The kernel refuses, and its format files leave out, what this one says."""
    gone = set(request.param.split())
    call, read, offset, block = syscalls._bpf, Tracefs.format, Btf.offset, sched._block

    def bpf(command: int, attributes: bytes) -> int:
        mmapable = command == syscalls._MAP_CREATE and struct.unpack_from("<5I", attributes)[4] & syscalls.MMAPABLE
        if ("mmap" in gone and mmapable) or ("raw" in gone and command == syscalls._RAW_TRACEPOINT_OPEN):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return call(command, attributes)

    def fields(self: Tracefs, category: str, name: str) -> Tracepoint | None:
        parsed = read(self, category, name)
        if not parsed or name != "kvm_exit":  # kvm_entry has had its vcpu_id for ever
            return parsed
        return replace(parsed, fields={name: field for name, field in parsed.fields.items() if name not in gone})

    def member(self: Btf, structure: str, path: str) -> int | None:
        return None if structure in gone else offset(self, structure, path)

    if "types" in gone:
        monkeypatch.setattr(btf, "_library", lambda: ctypes.CDLL("libnone.so"))
    monkeypatch.setattr(Btf, "offset", member)
    monkeypatch.setattr(sched, "_block", lambda: None if "kallsyms" in gone else block())
    monkeypatch.setattr(syscalls, "_bpf", bpf)
    monkeypatch.setattr(Tracefs, "format", fields)
    return gone


def test_counts_without(missing: set[str]) -> None:
    collector = Collector()
    assert (collector._maps["cells"].rows is None) == ("mmap" in missing)
    with truth.counting() as known:
        truth.run_guest(*SCRIPT)
        known.read()
    collector.read()
    snapshot = collector.close()
    if "isa" in missing:
        assert {isa for isa, _ in truth.counted(snapshot)} == {UNKNOWN}
        known = truth.Truth({(UNKNOWN, code): count for (_, code), count in known.items()})
        assert summary.text(snapshot).startswith("\n# Intel ") and "\n# AMD " in summary.text(snapshot)
        assert summary.text(snapshot, SVM).startswith("\n# AMD ")
    assert truth.counted(snapshot) == known
    assert 2000 * VCPUS in known.values()
    assert (snapshot.lost, snapshot.unpaired, snapshot.overwritten) == (0, 0, 0)
    assert sorted(snapshot.threads["vcpu"].tolist()) == list(range(VCPUS))
    told = set(STATES)
    if missing & {"types", "cfs_rq", "raw"}:
        told.discard("throttled")
    if missing >= {"types", "kallsyms"}:
        told = {"guest"}
    assert set(snapshot.told) == told
    assert (snapshot.threads["states"][:, 0] > 0).all()
    for reason in by_reason(diff(None, snapshot)):
        assert sum(reason.hist) == reason.count
    io = max(snapshot.cells, key=lambda cell: int(cell["user"]))  # user space, too
    assert io["reason"] in (0x7B, 30, 0x400, 48) and io["user"] > 0


@pytest.mark.parametrize("missing", WITHOUT[-1:], indirect=True)
def test_details_without(missing: set[str]) -> None:
    collector = Collector()
    detail = Detail((), collector.shared())
    detail.look(DetailRequest(frozenset({"io", "msr", "mmio"})))
    truth.run_guest(*SCRIPT)
    details = detail.read()
    detail.close()
    collector.close()
    assert details and not details.dropped
    touched: dict[str, int] = {}
    for row in details.touched:
        kind: Any = KINDS[row["kind"]]
        touched[kind] = touched.get(kind, 0) + int(row["count"])
    assert touched == {"io": 51 * VCPUS, "msr": 30 * VCPUS, "mmio": 7 * VCPUS}
    assert (details.touched["total"] > 0).sum() == 3 * VCPUS  # but for the last exit of each vCPU, which is open
