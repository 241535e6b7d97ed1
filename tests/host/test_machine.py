from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.host import machine

CPUINFO = (
    "processor\t: 0\nmodel name\t: AMD EPYC\x1b[2J 7763\nflags\t\t: fpu svm{}\n\nprocessor\t: 1\nmodel name\t: other\n"
)
FOUND = {
    "mds": "Not affected",
    "spectre_v2": "Mitigation: Retpolines; IBPB: conditional",
    "tsa": "Vulnerable: No microcode",
    "long": "x" * (1 << 20),
    "named\x1b": "Not affected",
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("VULNERABILITIES", "CPUINFO", "CMDLINE"):
        monkeypatch.setattr(machine, name, tmp_path / name)
    return tmp_path


def test_what_is_known(files: Path) -> None:
    (files / "CPUINFO").write_text(CPUINFO.format(" hypervisor"))
    (files / "CMDLINE").write_text("quiet mitigations=auto x.mitigations=off mitigations=off\n")
    (files / "VULNERABILITIES").mkdir()
    for name, text in FOUND.items():
        (files / "VULNERABILITIES" / name).write_text(text + "\n")
    here = machine.machine()
    assert (here.cpu, here.virtual, here.mitigations) == ("AMD EPYC [2J 7763", True, "off")
    assert here.vulnerabilities == {name.strip("\x1b"): text[:200] for name, text in FOUND.items()}
    words = f"(itself a VM), Linux {here.kernel}, mitigations=off (long {'x' * 200}, spectre_v2 Retpolines, tsa Vulnerable: No microcode)"
    assert str(here) == f"AMD EPYC [2J 7763 {words}"


def test_a_machine_of_its_own(files: Path) -> None:
    (files / "CPUINFO").write_text(CPUINFO.format(""))
    assert not machine.machine().virtual


def test_what_is_not_known(files: Path) -> None:
    assert str(machine.machine()).startswith("a CPU without a name, Linux ")
    assert str(machine.machine()).endswith(", mitigations=default (none needed)")


def test_no_more_than_can_be(files: Path) -> None:
    (files / "VULNERABILITIES").mkdir()
    for number in range(machine.MOST + 1):
        (files / "VULNERABILITIES" / str(number)).touch()
    assert len(machine.machine().vulnerabilities) == machine.MOST


def test_facts_for_those_who_were_not_there(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONLINE", "MODULES"):
        monkeypatch.setattr(machine, name, files / name)
    assert machine.facts() == {"CPU": "without a name", "CPUs online": "not known", "mitigations": "default"}
    (files / "CPUINFO").write_text(CPUINFO.format(""))
    (files / "ONLINE").write_text("0-3\n")
    (files / "VULNERABILITIES").mkdir()
    for name, text in FOUND.items():
        (files / "VULNERABILITIES" / name).write_text(text + "\n")
    (files / "MODULES/kvm_amd/parameters").mkdir(parents=True)
    (files / "MODULES/kvm_amd/parameters/avic").write_text("N\n")
    found = machine.facts()
    assert (found["CPU"], found["CPUs online"], found["kvm_amd.avic"]) == ("AMD EPYC [2J 7763", "0-3", "N")
    assert found["spectre_v2"] == "Mitigation: Retpolines; IBPB: conditional" and "mds" not in found
