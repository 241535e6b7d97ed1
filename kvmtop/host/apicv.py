"""Whether the hardware emulates the APICs of this host's VMs: what KVM keeps of each, and its modules' parameters."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection
from pathlib import Path

from .. import bounded
from ..bpf.apicv import Apicv
from ..model.apic import Apic
from ..sanitize import clean

MODULES = Path("/sys/module")
PARAMETERS = (  # enable_ipiv: IPIs, too
    *("kvm_amd.avic", "kvm_amd.force_avic", "kvm_amd.enable_ipiv"),
    *("kvm_intel.enable_apicv", "kvm_intel.enable_ipiv"),
    "kvm.enable_device_posted_irqs",
)
EVERY = 10_000_000_000  # ns: it may change at any time


class Apics:
    """Asked at each reading; looks now and then, and as soon as there is another VM.

    What it takes is loaded in a thread: to find the kernel's types takes long where it is slow, and readings shall not
    wait for it.
    """

    def __init__(self) -> None:
        self._source: Apicv | None = None
        self._loader = threading.Thread(target=self._load, daemon=True)
        self._loader.start()
        self._then = 0
        self._asked = frozenset[int]()
        self._found = Apic(unknown="not read yet")

    def _load(self) -> None:
        self._source = Apicv()

    def update(self, pids: Collection[int], now_ns: int) -> Apic:
        """Of these VMs and others, at most EVERY old."""
        if self._source and pids and (not self._asked.issuperset(pids) or now_ns - self._then >= EVERY):
            self._then, self._asked = now_ns, frozenset(pids)
            self._found = read(self._source)
        return self._found

    def close(self) -> None:
        """Free what was loaded."""
        self._loader.join()
        if self._source:
            self._source.close()
            self._source = None


def read(source: Apicv) -> Apic:
    """All VMs of this host. Never raises."""
    try:
        return Apic(source.read(), source.why or "KVM has no such VM open")
    except OSError as error:
        return Apic({}, f"the kernel does not tell: {error.strerror}")


def parameters() -> dict[str, str]:
    """Those of KVM's modules that decide it, as far as this kernel has them."""
    found = {}
    for name in PARAMETERS:
        module, _, parameter = name.partition(".")
        with contextlib.suppress(OSError):
            found[name] = clean(bounded.text(MODULES / module / "parameters" / parameter).strip())
    return found
