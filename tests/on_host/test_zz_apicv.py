"""Why a VM's APIC is not the hardware's, against the module's parameter and the event that tells of each change.

The emulated hosts have neither AVIC nor APICv. That kvm_amd is made to believe in it (force_avic) changes what KVM keeps
account of; no guest runs. It is loaded anew for that, so this comes late.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmtop.bpf.apicv import Apicv
from kvmtop.host import doctor

from ..hosts.held import Held
from .test_zz_without_kvm import VENDOR, load, unload
from .vmm import Vmm

PARAMETER = Path("/sys/module", VENDOR, "parameters", {"kvm_amd": "avic"}.get(VENDOR, "enable_apicv"))
EVENT = "events/kvm/kvm_apicv_inhibit_changed"
VMS: dict[str, Callable[[], Vmm]] = {
    "none": lambda: Vmm("busy"),
    "on": lambda: Vmm("busy", irqchip=True),
    "pit": lambda: Vmm("busy", irqchip=True, pit=True),
}


@contextlib.contextmanager
def vms() -> Iterator[tuple[dict[str, int], dict[int, int]]]:
    """The pids of VMs by name; and by pid what the kernel's own event says last of those that it tells of."""
    instance, pids = Path("/sys/kernel/tracing/instances/apicv"), {}
    instance.mkdir()
    try:
        (instance / EVENT / "enable").write_text("1")
        for name, make in VMS.items():
            ready, done = os.pipe()
            if not (pid := os.fork()):
                vmm = make()
                os.write(done, b"%d" % len(vmm.vcpus))
                signal.pause()
            pids[name] = pid
            assert os.read(ready, 1)
        told = re.findall(r"-(\d+) .* inhibits=0x(\w+)", (instance / "trace").read_text())
        yield pids, {int(pid): int(mask, 16) for pid, mask in told}
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        (instance / EVENT / "enable").write_text("0")
        instance.rmdir()


def read() -> tuple[dict[int, tuple[str, ...]], dict[str, int]]:
    """What is told of each VM by its pid, and the numbers of the reasons."""
    source = Apicv()
    try:
        return source.read(), {name: bit for bit, name in source.names.items()}
    finally:
        source.close()


def test_a_host_without_it_says_so() -> None:
    if PARAMETER.read_text().strip() != "N":
        pytest.skip("this host has it")
    with vms() as (pids, _):
        found, line = read()[0], doctor._apic()
    for pid in pids.values():
        assert found[pid][0].startswith("DISABLE")  # or DISABLED
        assert f"(pid {pid}) off: as for all VMs of this host" in line.detail
    assert f"{VENDOR}.{PARAMETER.name}=N" in line.detail and "avic=1" in line.remedy
    assert not set(read()[0]) & set(pids.values())


@pytest.mark.skipif("HOST_OUT" not in os.environ or VENDOR != "kvm_amd", reason="loads kvm_amd anew")
def test_the_reasons_are_those_of_the_kernels_own_event(held: Held) -> None:
    held.release_kvm()
    assert unload(VENDOR) == ""
    load(VENDOR, parameters=["avic=1", "force_avic=1"])
    try:
        assert PARAMETER.read_text().strip() == "Y"
        with vms() as (pids, told):
            (found, bits), line = read(), doctor._apic()
    finally:
        assert unload(VENDOR) == ""
        load(VENDOR)
    print(found, told, line)
    assert {name: found[pid] for name, pid in pids.items()} == {"none": ("ABSENT",), "on": (), "pit": ("PIT_REINJ",)}
    for name in ("on", "pit"):  # KVM has changed something of these
        assert told[pids[name]] == sum(1 << bits[one] for one in found[pids[name]])
    assert f"(pid {pids['on']}) on" in line.detail and f"(pid {pids['pit']}) off: PIT reinjection" in line.detail
    assert "kvm_amd.avic=Y" in line.detail and "lost_tick_policy=discard" in line.remedy
