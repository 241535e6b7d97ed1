"""The doctor's words, without a kernel; that it counts right is tested on the hosts."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kvmtop import __version__
from kvmtop.bpf import collector
from kvmtop.errors import KvmtopError
from kvmtop.host import doctor, exit_cost, selftest_guest
from kvmtop.host.doctor import Check
from kvmtop.host.exit_cost import Cost
from kvmtop.host.machine import Machine
from kvmtop.host.selftest_guest import Step
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import STATES, SVM, UNKNOWN, VMX

from ..support.fake import Host


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


def test_an_isa_that_is_not_known_is_told() -> None:
    snapshot = host(isa=UNKNOWN).read()
    snapshot.threads["isa"] = UNKNOWN
    check = doctor._compared(snapshot)
    assert check.state == "missing" and "CPUID 0 of 10,000" in check.detail and "please report" in check.remedy


@pytest.mark.parametrize(("cpuid", "io"), [(9_999, 100), (10_000, 99), (10_001, 100), (0, 100)])
def test_one_exit_too_few_or_too_many_is_a_fault(cpuid: int, io: int) -> None:
    check = doctor._compared(host(cpuid, io).read())
    assert check.state == "missing" and "please report" in check.remedy


def test_lost_exits_are_a_fault() -> None:
    assert doctor._compared(replace(host().read(), lost=1)).state == "missing"


def test_a_kvm_without_kvm_exit() -> None:
    empty = Host()
    empty.counters["userspace"] = 101
    empty.add(1, "self")  # a thread that has left for user space
    check = doctor._compared(empty.read())
    assert check.state == "missing" and "fired no kvm_exit at all" in check.detail and "101 times" in check.detail


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO, Screen])
def test_the_report(monkeypatch: pytest.MonkeyPatch, out: type[io.StringIO]) -> None:
    found = [Check("rights", "ok", "root"), Check("kvm", "missing", "no /dev/kvm", "modprobe kvm_amd")]
    monkeypatch.setattr(doctor, "checks", lambda now: iter(found))
    written = out()
    assert not doctor.report(False, written)
    text = written.getvalue()
    assert "missing  kvm          no /dev/kvm\n" in text and "→ modprobe kvm_amd" in text
    written = out()
    assert not doctor.report(True, written)
    told = json.loads(written.getvalue())
    assert not told["ok"] and told["checks"][1]["remedy"] == "modprobe kvm_amd"
    found.pop()
    assert doctor.report(True, out())


def test_lines_come_as_they_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, screen = io.StringIO(), Screen()

    def checks(now: exit_cost.Now) -> Iterator[Check]:
        yield Check("rights", "ok", "root")
        now("self-test … (a guest of 10,000 exits)")
        yield Check("self-test", "ok", plain.getvalue() + screen.getvalue())

    monkeypatch.setattr(doctor, "checks", checks)
    monkeypatch.setattr(textwrap, "fill", lambda text, *_, **__: text.replace("\n", "|").replace("\r", "<"))
    for out in (plain, screen):
        assert doctor.report(False, out)
        assert "|ok       rights       root|" in out.getvalue()  # it was there when the second line was made
    assert "…" not in plain.getvalue() and "<" not in plain.getvalue()
    assert re.search(r"root\|<self-test … \(a guest of 10,000 exits\) +<", screen.getvalue())
    assert re.search(r"\r +\rok       self-test", screen.getvalue())  # and is wiped


def test_nothing_is_tested_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise KvmtopError("no tracefs")

    monkeypatch.setattr(doctor, "_tracefs", broken)
    monkeypatch.setattr(doctor, "_self_test", lambda now: pytest.fail("must not run"))
    found = list(doctor.checks(lambda words: None))
    assert Check("broken", "missing", "no tracefs") in found
    assert found[-1].name == "self-test" and found[-1].state == "missing"


class Probes:
    def __init__(self, pids: list[int]) -> None:
        self.pids = pids

    def close(self) -> Snapshot:
        return Host().read()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (STATES, "BTF-typed probes; all are known"),
        (STATES[:-1], "BTF-typed probes; not known: throttled"),
        (("guest",), "BTF-typed probes; not known: kernel, user, idle, blocked, wait, throttled"),
    ],
)
def test_which_states_are_known(monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...], words: str) -> None:
    class Following(Probes):
        ways = "BTF-typed probes"

        def __init__(self, pids: list[int]) -> None:
            super().__init__(pids)
            self.told = told

    monkeypatch.setattr(collector, "Collector", Following)
    assert doctor._states() == Check("states", "ok", words)


COST = Cost(310.2, (298.4, 321.0), 1203.0, (1190.0, 1220.0), 12, 16_000, "raw kvm_exit, which agreed", 3)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test's guest was counted, and the cost measured."""
    monkeypatch.setattr(doctor, "_counted", lambda: replace(host().read(), counted_by="raw kvm_exit, which agreed"))
    monkeypatch.setattr(exit_cost, "measure", lambda now, seconds: COST)


def test_how_exits_are_told_and_what_they_cost(counted: None) -> None:
    _, check, cost = doctor._self_test(lambda words: None)
    assert check == Check("exits", "ok", "told by raw kvm_exit, which agreed")
    words = "the probes add 310 ns (95%: 298 to 321) to an exit of 1,203 ns (CPUID)"
    assert cost.state == "ok" and cost.detail.startswith(words)


def test_a_cost_that_cannot_be_measured(counted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(now: exit_cost.Now, seconds: float) -> Cost:
        raise KvmtopError("the guest could not be run: why")

    monkeypatch.setattr(exit_cost, "measure", broken)
    *_, cost = doctor._self_test(lambda words: None)
    assert cost == Check("cost", "missing", "the guest could not be run: why", "see the lines above")


def test_the_cost_in_one_line_and_as_an_object(counted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Machine("EPYC", False, "6.1", None, {"mds": "Not affected"})
    monkeypatch.setattr(doctor, "machine", lambda: here)
    line, screen, told = io.StringIO(), Screen(), io.StringIO()
    for out in (line, screen):
        doctor.cost(False, out)
    doctor.cost(True, told)
    assert line.getvalue() == (
        f"kvmtop {__version__}: the probes add 310 ns (95%: 298 to 321) to an exit of 1,203 ns (CPUID);"
        " 12 blocks of 4 × 16,000 exits on CPU 3, the middle half of which took 1,190 to 1,220 ns without;"
        " told by raw kvm_exit, which agreed; EPYC, Linux 6.1, mitigations=default (none needed)\n"
    )
    assert screen.getvalue().endswith(f"\r{line.getvalue()}")
    found = json.loads(told.getvalue())
    assert (found["kvmtop"], found["added_ns"], found["added_between_ns"]) == (__version__, 310.2, [298.4, 321.0])
    assert (found["cpu"], found["vulnerabilities"]) == ("EPYC", {"mds": "Not affected"})


# A guest that never ends: one that only seems to run, and where there is /dev/kvm a real one.


@pytest.fixture(params=["fake", "real"])
def endless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The self-test's guest does not end; the processes that it has run in."""
    pids: list[int] = []
    if request.param == "real" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm for this user")
    if request.param == "fake":
        monkeypatch.setattr(selftest_guest, "Guest", lambda steps: time.sleep(1000))

    class Endless(selftest_guest.Apart):
        def __init__(self, steps: object) -> None:
            super().__init__([Step("spin", 0)])
            pids.append(self.pid)

    monkeypatch.setattr(doctor, "Apart", Endless)
    monkeypatch.setattr(collector, "Collector", Probes)
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    return pids


def test_a_guest_that_never_ends(endless: list[int]) -> None:
    began = time.monotonic()
    (check,) = doctor._self_test(lambda words: None)
    assert time.monotonic() - began < 5
    assert (check.name, check.state) == ("self-test", "missing") and "did not end within 0.5 s" in check.detail
    assert not Path(f"/proc/{endless[0]}").exists()


def test_a_guest_that_cannot_even_be_killed(endless: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    (check,) = doctor._self_test(lambda words: None)
    assert "did not end within 0.5 s" in check.detail
    kill(endless[0], signal.SIGKILL)
    os.waitpid(endless[0], 0)


def test_a_guest_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(steps: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(selftest_guest, "Guest", broken)
    monkeypatch.setattr(collector, "Collector", Probes)
    (check,) = doctor._self_test(lambda words: None)
    assert check.state == "missing" and "Device or resource busy" in check.detail


STUB = """
import sys, time
from kvmtop import __main__
from kvmtop.host import doctor, selftest_guest
selftest_guest.Guest = lambda steps: time.sleep(1000)
doctor._run = lambda check: doctor.Check(doctor._name(check), "ok", "")
class Probes:
    def __init__(self, pids): print("guest", flush=True)
doctor.collector.Collector = Probes
sys.exit(__main__.main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_its_guest(number: int) -> None:
    argv = [sys.executable, "-c", STUB, "doctor"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert any(line == "guest\n" for line in process.stdout)
        process.send_signal(number)
        assert process.wait(30) == -number
        assert process.stderr.read() == ""  # the guest's process has it open, too: so that has ended
