"""The format files of tests/data/formats."""

from __future__ import annotations

from pathlib import Path

from kvmtop.bpf.tracepoint import Tracepoint

FORMATS = Path(__file__).parents[1] / "data" / "formats"
X86 = ("5.4", "5.10", "5.15", "6.1", "6.12", "6.14", "6.18")
EVENTS = ("kvm_exit", "kvm_entry", "kvm_userspace_exit", "kvm_vcpu_wakeup")
FILES = [(kernel, event) for kernel in (*X86, "arm64") for event in EVENTS]


def text(kernel: str, event: str = "kvm_exit") -> str:
    return (FORMATS / kernel / f"{event}.format").read_text()


def parsed(kernel: str, event: str = "kvm_exit") -> Tracepoint:
    return Tracepoint.parse(text(kernel, event))
