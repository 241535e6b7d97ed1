"""Keeps the emulated kernel from patching its own code while guests run.

The first VM, and the first and second user of a tracepoint, each make the kernel patch code that other CPUs
are executing (static keys and static calls, by way of int3). QEMU's TCG with several threads now and then
loses that race, and the kernel panics with "Oops: int3". So one VM and two idle users of each tracepoint are
there from the start: what the tests add and take away then patches nothing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

EVENTS = (
    *(f"kvm/kvm_{name}" for name in ("exit", "entry", "userspace_exit", "fpu", "vcpu_wakeup", "nested_vmexit")),
    *(f"sched/sched_{name}" for name in ("switch", "waking", "wakeup", "migrate_task", "process_exit")),
    *(f"irq/{name}_{way}" for name in ("irq_handler", "softirq") for way in ("entry", "exit")),
    *(
        f"irq_vectors/{name}_{way}"
        for name in ("local_timer", "reschedule", "call_function", "call_function_single", "irq_work")
        for way in ("entry", "exit")
    ),
)
INSTANCES = [Path(f"/sys/kernel/tracing/instances/held{n}") for n in (1, 2)]
TRIGGER = "traceoff"  # the cheapest user of an event


class Held:
    def __init__(self) -> None:
        self._fds: list[int] = []
        if os.cpu_count() == 1:
            return
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self._fds = [kvm, fcntl.ioctl(kvm, 0xAE01, 0)]  # KVM_CREATE_VM
        for instance in INSTANCES:
            instance.mkdir()
            for event in EVENTS:
                (instance / "events" / event / "trigger").write_text(TRIGGER)

    def release_kvm(self) -> None:
        """Its module may go; the tracepoints stay held."""
        while self._fds:
            os.close(self._fds.pop())

    def release(self) -> None:
        self.release_kvm()
        for instance in filter(Path.is_dir, INSTANCES):
            for event in EVENTS:
                (instance / "events" / event / "trigger").write_text(f"!{TRIGGER}")
            instance.rmdir()
