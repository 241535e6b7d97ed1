"""A guest that runs a guest of its own: kvm_exit tells the exits of both, which the raw way reads from two VMCBs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.bpf.kvm_exit import RAW
from kvmtop.host.selftest_guest import END, Step
from kvmtop.model.vocabulary import SVM

from ..hosts import qemu
from . import truth

NESTED = Path("/sys/module/kvm_amd/parameters/nested")
VMM = Path(__file__).with_name("nested_vmm.c")
STEPS = (Step("cpuid", 3000), Step("out", 50), Step("rdmsr", 30), Step("hlt", 3))
EXITS = {(SVM, 0x72): 3000, (SVM, 0x7B): 51, (SVM, 0x7C): 30, (SVM, 0x78): 3}  # and the `out` that ends it


@pytest.mark.skipif(
    not NESTED.exists() or NESTED.read_text().strip() not in "1Y", reason="no nested guests on AMD here"
)
@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_the_exits_of_a_guest_and_of_its_guest_are_counted(tmp_path: Path) -> None:
    vmm = tmp_path / "vmm"
    subprocess.run(["gcc", "-static", "-o", vmm, VMM], check=True)
    files = {"vmm": vmm.read_bytes(), "code": b"".join(step.code() for step in STEPS) + END}
    known, taking_over = Collector(checked=True), Collector()
    with (
        truth.counting() as kernel,
        truth.counting(event=truth.EVENT.with_name("kvm_nested_vmexit")) as inner,
        qemu.guest("outer", 1, 512, modules=("irqbypass", "kvm", "kvm-amd"), files=files, work="/vmm /code") as outer,
    ):
        qemu.wait_for(outer, "begun", 300)
        while not inner.read():
            pass
        told = taking_over.read().counted_by or ""
        at_change = sum(inner.read().values())
        qemu.wait_for(outer, "ended", 300)
        outer.kill()
        outer.wait()
        kernel.read()
        inner.read()
    print(f"{sum(kernel.values()):,} exits, {sum(inner.values()):,} of them nested, {at_change:,} before the change")
    assert told.startswith(RAW) and 0 < at_change < 2000
    assert {key: inner[key] for key in EXITS} == EXITS
    for snapshot in (known.close(), taking_over.close()):
        assert truth.counted(snapshot) == kernel
        assert (snapshot.lost, snapshot.overwritten) == (0, 0)
