"""When it is looked at, and the modules' parameters."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kvmtop.host import apicv, doctor
from kvmtop.host.apicv import EVERY, Apics, parameters
from kvmtop.model.apic import Apic


class Source:
    made = 0
    why = ""

    def __init__(self) -> None:
        Source.made += 1
        self.reads = 0
        self.found: dict[int, tuple[str, ...]] = {}
        self.closed = False

    def read(self) -> dict[int, tuple[str, ...]]:
        self.reads += 1
        return self.found

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    one = Source()
    monkeypatch.setattr(apicv, "Apicv", lambda: one)
    return one


def loaded() -> Apics:
    one = Apics()
    one._loader.join()
    return one


def test_while_it_is_loaded_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(apicv, "Apicv", lambda: go.wait(30) and Source())
    apics = Apics()
    assert apics.update([7], 1) == Apic({}, "not read yet")
    go.set()
    apics._loader.join()
    assert apics.update([7], 2).unknown == "KVM has no such VM open"
    apics.close()


def test_looked_at_as_soon_as_there_is_another_vm_and_now_and_then(source: Source) -> None:
    apics, now = loaded(), 10**12
    assert apics.update([], now) == Apic({}, "not read yet") and source.reads == 0
    source.found = {7: ("PIT_REINJ",)}
    assert apics.update([7], now).inhibits == {7: ("PIT_REINJ",)}
    source.found = {7: (), 8: ()}
    assert apics.update([7], now + EVERY - 1).inhibits == {7: ("PIT_REINJ",)}
    assert apics.update([7, 8], now + EVERY - 1).inhibits == {7: (), 8: ()}
    source.found = {}
    assert apics.update([8], now + EVERY).inhibits == {7: (), 8: ()} and source.reads == 2
    assert apics.update([8], now + 2 * EVERY).inhibits == {} and source.reads == 3
    apics.close()
    assert source.closed


def test_why_nothing_is_known(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[int, tuple[str, ...]]:
        raise OSError(12, "Cannot allocate memory")

    assert loaded().update([7], 1).unknown == "KVM has no such VM open"
    source.why = "this kernel tells nothing"
    assert loaded().update([7], 1).unknown == "this kernel tells nothing"
    monkeypatch.setattr(source, "read", broken)
    assert loaded().update([7], 1) == Apic({}, "the kernel does not tell: Cannot allocate memory")


def test_the_modules_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apicv, "MODULES", tmp_path)
    assert parameters() == {}
    for name, text in (("kvm_amd/parameters/avic", "Y\n"), ("kvm_amd/parameters/other", "N\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert parameters() == {"kvm_amd.avic": "Y"}


def test_the_doctors_line(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "Apicv", lambda: source)
    monkeypatch.setattr(apicv, "parameters", lambda: {"kvm_amd.avic": "Y"})
    source.found = {2**30 + n: ("PIT_REINJ",) if n else () for n in range(10)}  # no such processes
    found = doctor._apic()
    assert found.state == "ok" and source.closed
    assert found.detail.startswith(
        "kvm_amd.avic=Y; pid 1073741824 (pid 1073741824) on; pid 1073741825 (pid 1073741825)"
    )
    assert " off: PIT reinjection; " in found.detail and found.detail.endswith("; 2 more VMs")
    assert found.remedy == "kernel_irqchip=split or -global kvm-pit.lost_tick_policy=discard"
    source.found, source.why = {}, "this kernel tells nothing"
    assert doctor._apic().detail == "kvm_amd.avic=Y; of its VMs nothing is known: this kernel tells nothing"
