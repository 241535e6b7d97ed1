"""Whether KVM lets the hardware emulate the VMs' APICs (Intel's APICv, AMD's AVIC), as the kernel keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Apic:
    """inhibits: by the pid of each VM that is known, why not, in the kernel's names; () where it does. unknown: why
    nothing is known of the others, in words."""

    inhibits: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    unknown: str = "not in recordings"


NOT_RECORDED = Apic()
