"""What this machine offers, and a self-test with a guest whose exits are known."""

from __future__ import annotations

import json
import os
import platform
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from . import __version__, bounded, vms
from .bpf import collector, kernel, loader, tracepoint
from .errors import KvmtopError
from .guest import Guest, Step
from .snapshot import SVM, VMX, Snapshot
from .stats import counts, isa_name

CPUID, OUT = 10_000, 100  # exits of the self-test
RUNS = 5  # of the cost measurement, with and without probes in turn; the fastest of each counts


@dataclass(frozen=True)
class Check:
    """One line of the report. state: "ok", or "missing" where kvmtop cannot do its work, with the remedy."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def checks() -> Iterator[Check]:
    """All of them, cheapest first; the self-test last, where the rest allows it."""
    found = []
    for check in (_rights, _namespace, _lockdown, _kvm, _tracefs, _tracepoints, _bcc, _kernel, _schedstat):
        found.append(_run(check))
        yield found[-1]
    if all(check.state == "ok" for check in found):
        yield from _self_test()
    else:
        yield Check("self-test", "missing", "not run: something above is missing", "mend that first")


def report(as_json: bool) -> tuple[str, bool]:
    """The whole report as text, and whether all is well."""
    found = list(checks())
    well = all(check.state == "ok" for check in found)
    if as_json:
        head = {"kvmtop": __version__, "kernel": platform.release(), "ok": well}
        return json.dumps({**head, "checks": [asdict(check) for check in found]}, indent=2) + "\n", well
    lines = [f"kvmtop {__version__} on Linux {platform.release()}"]
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    for check in found:
        text = f"{check.state:<8} {check.name:<12} {check.detail}"
        lines.append(textwrap.fill(text, width, subsequent_indent=" " * 22, break_on_hyphens=False))
        if check.remedy:
            lines.append(f"{'':<22}→ {check.remedy}")
    lines.append("all is well" if well else "kvmtop cannot do its work here as it is")
    return "\n".join(lines) + "\n", well


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except KvmtopError as error:
        return Check(check.__name__.strip("_"), "missing", str(error))


def _rights() -> Check:
    if os.geteuid() == 0:
        return Check("rights", "ok", "root")
    if vms.may_load_bpf():
        return Check("rights", "ok", "CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN")
    return Check("rights", "missing", f"user {os.geteuid()} may not load BPF programs", "sudo kvmtop --doctor")


def _namespace() -> Check:
    if why := vms.namespace():
        what, _, remedy = why.partition("; ")
        return Check("namespace", "missing", what, remedy)
    return Check("namespace", "ok", "the host's process ids")


def _lockdown() -> Check:
    words = {
        "none": "none",
        "integrity": "integrity, which allows all that is needed",
        "confidentiality": "confidentiality, which allows it if KVM was loaded before",
    }
    return Check("lockdown", "ok", words.get(kernel.lockdown() or "", "not known: no /sys/kernel/security/lockdown"))


def _kvm() -> Check:
    modules = [name for name in ("kvm_intel", "kvm_amd") if Path(f"/sys/module/{name}").exists()]
    if not os.path.exists("/dev/kvm"):
        flags = bounded.text("/proc/cpuinfo")
        able = "vmx" in flags or "svm" in flags
        return Check("kvm", "missing", "no /dev/kvm", "modprobe kvm_intel or kvm_amd" if able else
                     "this CPU offers no virtualization: turn it on in the firmware, or use another host")  # fmt: skip
    return Check("kvm", "ok", f"/dev/kvm, {', '.join(modules) or 'vendor module not visible'}")


def _tracefs() -> Check:
    return Check("tracefs", "ok", str(tracepoint.Tracefs().root))


def _tracepoints() -> Check:
    tracefs = tracepoint.Tracefs()
    words = []
    for name, wanted in (("kvm_exit", ("exit_reason", "isa", "vcpu_id")), ("kvm_entry", ("vcpu_id",)),
                         ("kvm_userspace_exit", ("reason", "errno")), ("kvm_vcpu_wakeup", ("ns",))):  # fmt: skip
        parsed = tracefs.format("kvm", name)
        if not parsed:
            what, _, remedy = tracepoint.missing(name).partition(": ")
            return Check("tracepoints", "missing", what, remedy)
        fields = [f"{field}@{parsed.fields[field].offset}" for field in wanted if field in parsed.fields]
        words.append(f"{name} {' '.join(fields)}")
    return Check("tracepoints", "ok", ", ".join(words))


def _bcc() -> Check:
    return Check("bcc", "ok", f"{loader.bcc_version()}; kernel headers are not needed")


def _kernel() -> Check:
    raw, mapped = kernel.raw_tracepoints(), kernel.mmapable()
    words = ["raw tracepoints" if raw else "classic tracepoints only (more cost per exit)",
             "maps read in place" if mapped else "maps read row by row"]  # fmt: skip
    return Check("bpf", "ok", ", ".join(words))


def _schedstat() -> Check:
    if vms.schedstat(os.getpid()) is None:
        return Check("schedstat", "missing", "no /proc/PID/schedstat: waiting for a CPU is not known",
                     "a kernel with CONFIG_SCHED_INFO")  # fmt: skip
    return Check("schedstat", "ok", "waiting for a CPU is known")


def _guest(cpuid: int, out: int) -> float:
    """Run the known guest in this process; seconds."""
    guest = Guest([Step("cpuid", cpuid), *([Step("out", out)] if out else [])])
    start = time.perf_counter()
    guest.run()
    seconds = time.perf_counter() - start
    guest.close()
    return seconds


def _self_test() -> Iterator[Check]:
    try:
        probes = collector.Collector([os.getpid()])
        try:
            _guest(CPUID, OUT)
        finally:
            snapshot = probes.close()
    except (KvmtopError, OSError, RuntimeError) as error:
        yield Check("self-test", "missing", f"the guest could not be run: {error}", "see the lines above")
        return
    yield _compared(snapshot)
    if snapshot.isa:
        yield _cost()


def _compared(snapshot: Snapshot) -> Check:
    if not len(snapshot.threads):
        return Check(
            "self-test", "missing",
            f"a guest executed {CPUID:,} CPUID and left for user space {snapshot.userspace} times,"
            " but this kernel's KVM fired no kvm_exit at all",
            "there is nothing to time on this kernel; a paravirtual or nested KVM does so",
        )  # fmt: skip
    found = counts(snapshot)
    cpuid, io = {SVM: (0x72, 0x7B), VMX: (10, 30)}[snapshot.isa]
    # The very last `out` ends the guest: its exit stays open, and is not counted.
    wanted = {"CPUID": (cpuid, CPUID), "I/O": (io, OUT)}
    words = [f"{name} {found.get((snapshot.isa, code), 0):,} of {count:,}" for name, (code, count) in wanted.items()]
    words += [f"{name} {getattr(snapshot, name)}" for name in ("lost", "unpaired", "overwritten", "expired")]
    exact = all(found.get((snapshot.isa, code), 0) == count for code, count in wanted.values())
    honest = not (snapshot.lost or snapshot.overwritten)
    return Check("self-test", "ok" if exact and honest else "missing", f"{isa_name(snapshot.isa)}: {', '.join(words)}",
                 "" if exact and honest else "counts are wrong on this kernel: please report this output")  # fmt: skip


def _cost() -> Check:
    bare, probed = [], []
    for _ in range(RUNS):
        bare.append(_guest(CPUID, 0))
        probes = collector.Collector([os.getpid()])
        try:
            probed.append(_guest(CPUID, 0))
        finally:
            probes.close()
    before, after = (1e9 * min(runs) / CPUID for runs in (bare, probed))
    added = after - before
    words = f"{added:.0f} ns" if added > 0 else "less than can be measured"
    return Check("cost", "ok", f"the probes add {words} to an exit of {before:.0f} ns (CPUID, fastest of {RUNS})")
