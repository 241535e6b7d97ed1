"""The doctor's words, without a kernel; that it counts right is tested on the hosts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kvmtop import doctor
from kvmtop.doctor import Check
from kvmtop.errors import KvmtopError
from kvmtop.snapshot import SVM, VMX

from .fake import Host


def host(cpuid: int = 10_000, io: int = 100, isa: int = SVM) -> Host:
    host = Host()
    host.add(1, "self")
    for code, count in ((0x72 if isa == SVM else 10, cpuid), (0x7B if isa == SVM else 30, io)):
        if count:
            host.exits(2, code, *[1000] * count, isa=isa)
    return host


@pytest.mark.parametrize("isa", [SVM, VMX])
def test_a_self_test_that_agrees(isa: int) -> None:
    check = doctor._compared(host(isa=isa).read())
    assert (check.state, check.remedy) == ("ok", "")
    assert "CPUID 10,000 of 10,000, I/O 100 of 100, lost 0, unpaired 0" in check.detail


@pytest.mark.parametrize(("cpuid", "io"), [(9_999, 100), (10_000, 99), (10_001, 100), (0, 100)])
def test_one_exit_too_few_or_too_many_is_a_fault(cpuid: int, io: int) -> None:
    check = doctor._compared(host(cpuid, io).read())
    assert check.state == "missing" and "please report" in check.remedy


def test_lost_exits_are_a_fault() -> None:
    assert doctor._compared(replace(host().read(), lost=1)).state == "missing"


def test_a_kvm_without_kvm_exit() -> None:
    empty = Host()
    empty.counters["userspace"] = 101
    check = doctor._compared(empty.read())
    assert check.state == "missing" and "fired no kvm_exit at all" in check.detail and "101 times" in check.detail


def test_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("rights", "ok", "root"), Check("kvm", "missing", "no /dev/kvm", "modprobe kvm_amd")]
    monkeypatch.setattr(doctor, "checks", lambda: iter(checks))
    text, well = doctor.report(as_json=False)
    assert not well and "missing  kvm          no /dev/kvm\n" in text and "→ modprobe kvm_amd" in text
    text, well = doctor.report(as_json=True)
    found = json.loads(text)
    assert not well and not found["ok"] and found["checks"][1]["remedy"] == "modprobe kvm_amd"
    checks.pop()
    assert doctor.report(as_json=True)[1]


def test_nothing_is_tested_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise KvmtopError("no tracefs")

    monkeypatch.setattr(doctor, "_tracefs", broken)
    monkeypatch.setattr(doctor, "_self_test", lambda: pytest.fail("must not run"))
    found = list(doctor.checks())
    assert Check("broken", "missing", "no tracefs") in found
    assert found[-1].name == "self-test" and found[-1].state == "missing"
