"""What this machine offers, and a self-test with a guest whose exits are known."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from .. import __version__, bounded
from ..bpf import collector, loader, privileges, run_time, syscalls, tracepoint
from ..bpf.apicv import Apicv
from ..errors import KvmtopError
from ..model import reasons
from ..model.exit_stats import counts
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES, isa_name
from ..reference.apicv import advice, why
from . import apicv, exit_cost, processes
from .exit_cost import Now
from .machine import machine
from .selftest_guest import PATIENCE, Apart, Step

CPUID, OUT = 10_000, 100  # exits of the self-test
MOST_VMS = 8  # by name
SECONDS, SHORT = 10.0, 2.0  # for measuring the cost of an exit: when that is asked for, and in the report
FIELDS = {  # of tracepoints, to be shown
    "kvm_exit": ("exit_reason", "isa", "vcpu_id"),
    "kvm_entry": ("vcpu_id",),
    "kvm_userspace_exit": ("reason", "errno"),
    "kvm_vcpu_wakeup": ("ns",),
}


@dataclass(frozen=True)
class Check:
    """One line of the report. state: "ok", or "missing" where kvmtop cannot do its work, with the remedy."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def checks(now: Now) -> Iterator[Check]:
    """All of them, cheapest first; the self-test last, where the rest allows it."""
    found = []
    for check in (_rights, _namespace, _lockdown, _kvm, _tracefs, _tracepoints, _bcc, _kernel):
        now(f"{_name(check)} …")
        found.append(_run(check))
        yield found[-1]
    if all(check.state == "ok" for check in found):
        now("states …")
        yield _run(_states)
        yield _run(_apic)
        yield from _self_test(now)
    else:
        yield Check("self-test", "missing", "not run: something above is missing", "mend that first")


def report(as_json: bool, out: TextIO) -> bool:
    """Write each line as it is found, and on a terminal what runs now; the JSON at the end. Whether all is well."""
    width = _width()
    now = _progress(as_json, out)

    def tell(text: str) -> None:
        out.write(text)
        out.flush()

    if not as_json:
        tell(f"kvmtop {__version__} on Linux {platform.release()}\n")
    found = []
    for check in checks(now):
        found.append(check)
        now("")
        if not as_json:
            text = f"{check.state:<8} {check.name:<12} {check.detail}"
            tell(textwrap.fill(text, width, subsequent_indent=" " * 22, break_on_hyphens=False) + "\n")
            if check.remedy:
                tell(f"{'':<22}→ {check.remedy}\n")
    well = all(check.state == "ok" for check in found)
    if as_json:
        head = {"kvmtop": __version__, "kernel": platform.release(), "ok": well}
        tell(json.dumps({**head, "checks": [asdict(check) for check in found]}, indent=2) + "\n")
    else:
        tell("all is well\n" if well else "kvmtop cannot do its work here as it is\n")
    return well


def cost(as_json: bool, out: TextIO) -> None:
    """Measure what the probes add to an exit, and write it with what it depends on. Raises KvmtopError."""
    now = _progress(as_json, out)
    found = exit_cost.measure(now, SECONDS)
    now("")
    here = machine()
    if as_json:
        out.write(json.dumps({"kvmtop": __version__, **asdict(found), **asdict(here)}, indent=2) + "\n")
    else:
        out.write(f"kvmtop {__version__}: {found}; {found.how}; {here}\n")


def _width() -> int:
    return max(shutil.get_terminal_size((100, 24)).columns, 60)


def _progress(as_json: bool, out: TextIO) -> Now:
    """Shows on a terminal what runs now, in a line that the next words overwrite."""
    width = _width() - 1

    def now(words: str) -> None:
        if not as_json and out.isatty():
            out.write(f"\r{words[:width]:<{width}}\r")
            out.flush()

    return now


def _name(check: Callable[[], Check]) -> str:
    return check.__name__.strip("_")


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except KvmtopError as error:
        return Check(_name(check), "missing", str(error))


def _rights() -> Check:
    if os.geteuid() == 0:
        return Check("rights", "ok", "root")
    if privileges.may_load_bpf():
        return Check("rights", "ok", "CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN")
    return Check("rights", "missing", f"user {os.geteuid()} may not load BPF programs", "sudo kvmtop doctor")


def _namespace() -> Check:
    if why := processes.namespace():
        what, _, remedy = why.partition("; ")
        return Check("namespace", "missing", what, remedy)
    return Check("namespace", "ok", "the host's process ids")


def _lockdown() -> Check:
    words = {
        "none": "none",
        "integrity": "integrity, which allows all that is needed",
        "confidentiality": "confidentiality, which allows it if KVM was loaded before",
    }
    return Check("lockdown", "ok", words.get(syscalls.lockdown() or "", "not known: no /sys/kernel/security/lockdown"))


def _kvm() -> Check:
    modules = [name for name in ("kvm_intel", "kvm_amd") if Path(f"/sys/module/{name}").exists()]
    if not os.path.exists("/dev/kvm"):
        flags = bounded.text("/proc/cpuinfo")
        able = "vmx" in flags or "svm" in flags
        load, other = "modprobe kvm_intel or kvm_amd", "turn it on in the firmware, or use another host"
        remedy = load if able else f"this CPU offers no virtualization: {other}"
        return Check("kvm", "missing", "no /dev/kvm", remedy)
    return Check("kvm", "ok", f"/dev/kvm, {', '.join(modules) or 'vendor module not visible'}")


def _tracefs() -> Check:
    return Check("tracefs", "ok", str(tracepoint.Tracefs().root))


def _tracepoints() -> Check:
    tracefs = tracepoint.Tracefs()
    words = []
    for name, wanted in FIELDS.items():
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
    raw, mapped = syscalls.raw_tracepoints(), syscalls.mmapable()
    attached = "raw tracepoints" if raw else "classic tracepoints only (more cost per exit)"
    why = run_time.unavailable()
    measured = f"what the programs take is not measured: {why}" if why else "what the programs take is measured"
    return Check("bpf", "ok", f"{attached}, maps read {'in place' if mapped else 'row by row'}; {measured}")


def _states() -> Check:
    """By what means the collector follows vCPUs, and what it cannot tell here. Raises KvmtopError."""
    probes = collector.Collector([os.getpid()])
    try:
        unknown = [state for state in STATES if state not in probes.told]
    finally:
        probes.close()
    known = f"not known: {', '.join(unknown)}" if unknown else "all are known"
    return Check("states", "ok", f"{probes.ways}; {known}")


def _apic() -> Check:
    """Whether the hardware emulates the APICs of the VMs that run here."""
    with contextlib.closing(Apicv()) as source:
        found = apicv.read(source)
    words = [", ".join(f"{name}={value}" for name, value in apicv.parameters().items()) or "not told by modules"]
    for pid, inhibits in sorted(found.inhibits.items())[:MOST_VMS]:
        state = f"off: {why(inhibits)}" if inhibits else "on"
        words.append(f"{processes.vm(pid).name} (pid {pid}) {state}")
    if (more := len(found.inhibits) - MOST_VMS) > 0:
        words.append(f"{more} more VMs")
    if source.why:
        words.append(f"of its VMs nothing is known: {source.why}")
    tries = dict.fromkeys(filter(None, map(advice, found.inhibits.values())))
    return Check("apic", "ok", "; ".join(words), "; ".join(tries))


def _self_test(now: Now) -> Iterator[Check]:
    now(f"self-test … (a guest of {CPUID:,} exits)")
    try:
        snapshot = _counted()
    except (KvmtopError, OSError, RuntimeError) as error:
        yield Check("self-test", "missing", f"the guest could not be run: {error}", "see the lines above")
        return
    yield _compared(snapshot)
    if snapshot.isa:
        yield Check("exits", "ok", f"told by {snapshot.counted_by}")
        yield _cost(now)


def _counted() -> Snapshot:
    """Run the known guest; what was counted of it. Raises KvmtopError, OSError and RuntimeError."""
    with contextlib.closing(Apart([Step("cpuid", CPUID), Step("out", OUT)])) as guest:
        probes = collector.Collector([guest.pid])
        try:
            guest.run(PATIENCE)
            probes.read()  # sees what became of the check of kvm_exit
        finally:
            snapshot = probes.close()
    return snapshot


def _compared(snapshot: Snapshot) -> Check:
    if not counts(snapshot):
        return Check(
            "self-test",
            "missing",
            f"a guest executed {CPUID:,} CPUID and left for user space {snapshot.userspace} times,"
            " but this kernel's KVM fired no kvm_exit at all",
            "there is nothing to time on this kernel; a paravirtual or nested KVM does so",
        )
    found = counts(snapshot)
    # The very last `out` ends the guest: its exit stays open, and is not counted.
    told = {"CPUID": (reasons.CPUID, CPUID), "I/O": (reasons.IO, OUT)}
    seen = {name: (sum(found.get(key, 0) for key in keys), count) for name, (keys, count) in told.items()}
    words = [f"{name} {number:,} of {count:,}" for name, (number, count) in seen.items()]
    words += [f"{name} {count}" for name, count in snapshot.caveats.items()]
    exact = all(number == count for number, count in seen.values())
    what = f"{isa_name(snapshot.isa)}: {', '.join(words)}"
    if exact and not snapshot.lost and not snapshot.overwritten:
        return Check("self-test", "ok", what)
    return Check("self-test", "missing", what, "counts are wrong on this kernel: please report this output")


def _cost(now: Now) -> Check:
    try:
        return Check("cost", "ok", f"{exit_cost.measure(now, SHORT)}; more precisely: kvmtop doctor --cost")
    except KvmtopError as error:
        return Check("cost", "missing", str(error), "see the lines above")
