"""kvm->arch.apicv_inhibit_reasons of VMs that nobody runs; and where it cannot be had."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.bpf import apicv, btf, privileges, syscalls
from kvmtop.bpf.apicv import Apicv
from kvmtop.bpf.btf import Btf

CREATE_VM = 0xAE01
needs_kvm = pytest.mark.skipif(
    os.geteuid() != 0 or not privileges.may_load_bpf() or not os.path.exists("/dev/kvm"), reason="root and /dev/kvm"
)


@contextlib.contextmanager
def apic() -> Iterator[Apicv]:
    one = Apicv()
    try:
        if one.why:
            pytest.skip(one.why)
        yield one
    finally:
        one.close()


@needs_kvm
def test_a_vm_that_is_there_already() -> None:
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    try:
        vm = fcntl.ioctl(kvm, CREATE_VM, 0)
        with apic() as one:
            found = one.read()[os.getpid()]
            assert set(found) & {"ABSENT", "DISABLE", "DISABLED"}  # no APIC has been made yet
            assert set(found) <= set(one.names.values())
            os.close(vm)
            assert os.getpid() not in one.read()
    finally:
        os.close(kvm)


@needs_kvm
def test_a_file_that_is_called_like_a_vm_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "kvm-vm")  # its private_data is memory of the kernel, too
    fifo = os.open(tmp_path / "kvm-vm", os.O_RDWR)
    try:
        with apic() as one:
            assert os.getpid() not in one.read()
    finally:
        os.close(fifo)


@needs_kvm
def test_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with apic() as one:
        one.read()
        one.close()
        assert one.read() == {}
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        (("kvm", "arch"), "it takes the kernel's types of KVM (BTF), and libbpf"),
        (("kvm", "arch.apicv_inhibit_reasons"), "this kernel keeps no reasons (before Linux 5.6)"),
        (("bpf_iter__task_file", "file"), "this kernel has no BPF iterator over open files (before Linux 5.8)"),
    ],
)
def test_what_a_kernel_lacks(missing: tuple[str, str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with btf.load() as types:
        if not types or types.offset("kvm", "arch.apicv_inhibit_reasons") is None:
            pytest.skip("this kernel does not tell its types")
    real = Btf.offset
    monkeypatch.setattr(Btf, "offset", lambda self, *where: None if where == missing else real(self, *where))
    one = Apicv()
    assert (one.why, one.read()) == (why, {})


def test_a_kernel_that_is_locked_down_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(apicv, "_places", lambda: (1, dict.fromkeys(apicv._PLACES, 8), {}))
    monkeypatch.setattr(syscalls, "load", refuse)
    assert Apicv().why == "the kernel refuses the BPF iterator: Operation not permitted"
    monkeypatch.undo()
    monkeypatch.setattr(syscalls, "may_read_kernel", lambda: False)
    assert Apicv().why == "the kernel is locked down (confidentiality)"


def test_several_vms_of_a_process_and_reasons_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apicv, "_places", lambda: "not here")
    one = Apicv()
    answer = b"".join(apicv.RECORD.pack(*pair) for pair in ((7, 1 << 2), (8, 0), (7, 1 << 9 | 1 << 63))) + b"cut off"
    read, write = os.pipe()
    os.write(write, answer)
    os.close(write)
    one.names, one._link = {2: "ABSENT", 9: "PIT_REINJ"}, os.dup(0)
    monkeypatch.setattr(syscalls, "iterate", lambda link: read)
    assert one.read() == {7: ("ABSENT", "PIT_REINJ", "bit 63"), 8: ()}
    one.close()


@needs_kvm
def test_a_vm_of_another_process() -> None:
    code = (
        "import fcntl, os, sys; vm = fcntl.ioctl(os.open('/dev/kvm', os.O_RDWR), 0xAE01, 0);"
        "print(vm, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        with apic() as one:
            assert one.read()[process.pid]
