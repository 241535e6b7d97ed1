"""What a guest does with devices and registers, told by what its exits touch: ports, addresses, MSRs, the APIC."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from ... import units
from ...model.arrays import Array, Mask
from ...model.vocabulary import KINDS
from ...reference import ports
from ..accesses import own, seconds
from ..finding import CERTAIN, LIKELY, Finding
from ..vcpus import VcpuRow
from .rule import Remedy, Rule, View

LEAST = 20.0  # accesses a second: fewer, if they take long, are slow rather than many
IPIS = 100.0  # a second, of a VM
TMICT, DEADLINE, X2APIC_TMICT, STIMER0 = 0x380, 0x6E0, 0x838, 0x400000B1
X2APIC = np.uint64(0x800)  # the first of its MSRs, one for 16 bytes of registers
HZ = (100, 250, 300, 1000)  # that Linux can have, and twice 64 that Windows has
WITHIN, IDLES = 0.06, 0.5  # of that rate; of the vCPU's time that is idle

Values = Collection[int]


def _of(view: View, touched: Mapping[str, Values]) -> Array:
    """The rows that touched one of these values, by kind; dtype TOUCH."""
    rows = view.touched
    mine: Mask = np.zeros(len(rows), bool)
    for kind, values in touched.items():
        at = rows["value"]
        if isinstance(values, range):  # it may be a large one
            there = (at >= values.start) & (at < values.stop)
        else:
            there = np.isin(at, np.array([*values], "u8"))
        mine |= (rows["kind"] == KINDS.index(kind)) & there
    return _once(rows[mine])


def _once(rows: Array) -> Array:
    """Without the APIC's registers that were reached by x2APIC's MSRs, of which KVM tells as both (WRMSR 0x830 is ICR,
    at 0x300: SDM vol. 3, table 11-6)."""
    by_msr = rows["kind"] == KINDS.index("msr")
    known = set(zip(rows["id"][by_msr].tolist(), rows["value"][by_msr].tolist(), strict=True))
    twins = zip(rows["id"].tolist(), (X2APIC + (rows["value"] >> np.uint64(4))).tolist(), strict=True)
    again = np.array([twin in known for twin in twins], bool) & (rows["kind"] == KINDS.index("apic"))
    return rows[~again] if len(rows) else rows


def _touching(
    touched: Mapping[str, Values], what: str, why: str, least: float = LEAST
) -> Callable[[View], Iterator[Finding]]:
    """VMs whose exits for these values cost them. what: "reads the ACPI PM timer"; why: what follows from that."""

    def find(view: View) -> Iterator[Finding]:
        rows = _of(view, touched)
        for vm in view.vms if len(rows) else ():
            rate, cost = view.touches(vm, rows)
            if rate >= least and cost >= view.limits.cause:
                yield _finding(view, vm, rows, rate, cost, what, why)

    return find


def _finding(view: View, vm: VcpuRow, rows: Array, rate: float, cost: float, what: str, why: str) -> Finding:
    mine = rows[view.is_of(rows, vm)]
    times = own(mine)
    most = mine[int(times.argmax())]
    key = view.labels.what(KINDS[most["kind"]], int(most["value"]), int(most["extra"]))
    state = "user" if 2 * int(mine["user"].sum()) > int(times.sum()) else "kernel"
    state = "blocked" if 2 * int(mine["blocked"].sum()) > int(times.sum()) else state
    return Finding(
        f"{vm.vm} {what} {units.rate(rate)} times a second ({units.percent(cost)} of a vCPU's time): {why}",
        short=f"{vm.vm} {what}",
        scope=vm.scope,
        state=state,
        figures=frozenset({"where", "time"}),
        cost=cost,
        evidence=(
            f"{units.rate(rate)} accesses/s, most of their time on {key}",
            f"their own time: {units.duration(cost / rate * 1e9)} each, without waits",
        ),
    )


_PM_TIMER = [port for port in range(0x10000) if ports.port(port) == "ACPI PM timer"]
_VGA = [*range(0x3B0, 0x3BC), *range(0x3C0, 0x3E0), *range(0x1CE, 0x1D2)]
_PMU = [
    *range(0xC1, 0xC9), *range(0x186, 0x18E), *range(0x309, 0x30D), 0x329, *range(0x38D, 0x391), 0x3F1, 0x3F2,
    *range(0xC0010000, 0xC0010008), *range(0xC0010200, 0xC001020C), *range(0xC0000300, 0xC0000304),
]  # fmt: skip
_TIMERS = {"msr": [DEADLINE, X2APIC_TMICT, STIMER0], "apic": [TMICT]}
_SENDS = {"msr": [0x830, 0x40000071], "apic": [0x300], "hypercall": [10], "hyperv": [0x0B, 0x15]}
_ENDS = (0x80B, 0x40000070)  # EOI, after each interrupt: what makes interrupts is the cause
_FLUSHES = {"hyperv": [0x02, 0x03, 0x13, 0x14]}
_NICS = ("e1000", "rtl8139", "pcnet", "ne2k", "i8255", "tulip", "vmxnet3", "igb", "sungem")


def _msr(view: View) -> Iterator[Finding]:
    """The MSR that costs a VM most, of those that no other rule tells of."""
    rows = view.touched[view.touched["kind"] == KINDS.index("msr")]
    others = [*_PMU, *_TIMERS["msr"], *_SENDS["msr"], *_ENDS]
    rows = rows[~np.isin(rows["value"], np.array(others, "u8"))]
    for vm in view.vms if len(rows) else ():
        mine = rows[view.is_of(rows, vm)]
        values, which = np.unique(mine["value"], return_inverse=True)
        if not len(values):
            continue
        most = mine[which == int(np.bincount(which, own(mine)).argmax())]
        rate, cost = view.touches(vm, most)
        if rate >= LEAST and cost >= view.limits.cause:
            name = view.labels.what("msr", int(most["value"][0]), int(most["extra"][0]))
            yield _finding(view, vm, most, rate, cost, f"accesses {name}", "KVM or the VMM emulates it")


def _ticks(view: View) -> Iterator[Finding]:
    """VMs with vCPUs that mostly idle, and arm their timer at a rate at which kernels tick."""
    rows = _of(view, _TIMERS)
    for vm in view.vms if len(rows) else ():
        ticking = [
            (vcpu, rate, hz)
            for vcpu in view.vcpus
            if vcpu.scope.pid == vm.scope.pid and vcpu.share("idle") >= IDLES
            for rate in [float(rows["count"][rows["id"] == view.id(vcpu)].sum()) / seconds(view.interval)]
            for hz in HZ
            if abs(rate - hz) <= WITHIN * hz
        ]
        if ticking:
            vcpu, rate, hz = max(ticking, key=lambda one: one[1])
            _, cost = view.touches(vm, rows)
            number = f"{len(ticking)} vCPU{'s' * (len(ticking) != 1)}"
            yield Finding(
                f"{number} of {vm.vm} set the timer some {hz} times a second though mostly idle: a tick that does not"
                " stop, or a program that wakes as often",
                short=f"{vm.vm} ticks while idle",
                scope=vm.scope,
                state="kernel",
                cost=cost,
                evidence=(
                    f"{vcpu.name}: the timer set {units.rate(rate)} times a second",
                    f"{vcpu.name}: idle {units.percent(vcpu.share('idle'))} of its time",
                ),
            )


def _high_hz(view: View) -> Iterator[Finding]:
    """VMs whose vCPUs arm their timer a thousand times a second while they work."""
    rows = _of(view, _TIMERS)
    for vm in view.vms if len(rows) else ():
        rate, cost = view.touches(vm, rows)
        busy = [v for v in view.vcpus if v.scope.pid == vm.scope.pid and v.share("idle") < IDLES]
        if cost >= view.limits.cause and any(
            float(rows["count"][rows["id"] == view.id(v)].sum()) / seconds(view.interval) >= (1 - WITHIN) * max(HZ)
            for v in busy
        ):
            yield _finding(view, vm, rows, rate, cost, "sets its timer", "its kernel ticks at 1000 Hz, or programs do")


def _nic(view: View) -> Iterator[Finding]:
    """VMs that work with an emulated network card, where QEMU's map of memory names it."""
    if not view.labels.memory:
        return
    rows = view.touched[np.isin(view.touched["kind"], [KINDS.index("io"), KINDS.index("mmio")])]
    values, which = np.unique(rows[["kind", "value"]], return_inverse=True)
    names = [view.labels.what(KINDS[kind], int(value), 0).lower() for kind, value in values.tolist()]
    rows = rows[np.array([any(nic in name for nic in _NICS) for name in names], bool)[which]] if len(rows) else rows
    for vm in view.vms if len(rows) else ():
        rate, cost = view.touches(vm, rows)
        if rate >= LEAST and cost >= view.limits.cause:
            yield _finding(view, vm, rows, rate, cost, "drives an emulated network card", "virtio-net costs far fewer")


def _irqchip(view: View) -> Iterator[Finding]:
    """VMs whose interrupt controller is the VMM's: only then does KVM hand it halts and interrupt windows."""
    rows = _of(view, {"user": [5, 7]})  # KVM_EXIT_HLT, KVM_EXIT_IRQ_WINDOW_OPEN
    rows = rows[rows["extra"] == 0]
    for vm in view.vms if len(rows) else ():
        rate, _ = view.touches(vm, rows)
        if rate >= 1:
            yield Finding(
                f"{vm.vm} has its interrupt controllers in the VMM: {units.rate(rate)} of its halts and interrupt"
                " windows a second go there",
                short=f"{vm.vm}: irqchip in the VMM",
                scope=vm.scope,
                state="user",
                cost=view.touches(vm, rows)[1],
                evidence=(f"KVM_EXIT_HLT and KVM_EXIT_IRQ_WINDOW_OPEN: {units.rate(rate)}/s",),
            )


def _rule(
    name: str,
    title: str,
    touched: Mapping[str, Values],
    what: str,
    why: str,
    unless: str,
    remedy: Remedy,
    least: float = LEAST,
    confidence: str = CERTAIN,
    also: frozenset[str] = frozenset(),
) -> Rule:
    kinds = frozenset(touched)
    return Rule(
        name,
        title,
        f"{least:g} or more such accesses a second that take ≥ {{cause}} of a vCPU's time",
        _touching(touched, what, why, least),
        unless,
        remedy,
        kinds,
        explains=frozenset({"vmm", "kvm", "blocked"}) | also,
        confidence=confidence,
        see=f"kvmtop --vm {{vm}} --event {','.join(sorted(kinds))}",
    )


SERIAL = _rule(
    "serial-console",
    "a chatty serial console",
    {"io": ports.SERIAL},
    "talks to a serial port",
    "a serial console is chatty; each byte is an exit or two that the VMM answers",
    "a few lines at boot",
    Remedy(
        guest="no console=ttyS… (or loglevel=3), and no program that logs to /dev/console",
        vm="<console type='pty'><target type='virtio'/></console>, which takes whole lines",
    ),
)
PM_TIMER = _rule(
    "pm-timer",
    "the ACPI PM timer as clock",
    {"io": _PM_TIMER},
    "reads the ACPI PM timer",
    "acpi_pm is its clock, which the VMM emulates",
    "a boot reads it to calibrate the TSC",
    Remedy(
        guest="kvm-clock or tsc in place of acpi_pm: the boot parameter clocksource=, or current_clocksource below"
        " /sys/devices/system/clocksource",
        vm="<clock><timer name='kvmclock' present='yes'/>; for Windows <timer name='hypervclock' present='yes'/>",
    ),
)
HPET = _rule(
    "hpet",
    "the HPET as clock",
    {"mmio": range(0xFED00000, 0xFED00400)},
    "accesses the HPET",
    "it is its clock or timer, which the VMM emulates",
    "a boot reads it to calibrate the TSC",
    Remedy(
        guest="clocksource kvm-clock or tsc in place of hpet",
        vm="<clock><timer name='hpet' present='no'/> and <timer name='kvmclock' present='yes'/>",
    ),
)
PIT = _rule(
    "pit",
    "the PIT as clock",
    {"io": [*range(0x40, 0x44), 0x61]},
    "accesses the PIT",
    "its clock or timer is the PIT of 1981",
    "a boot uses it to calibrate the TSC and the APIC's timer",
    Remedy(guest="no clocksource=pit, no noapic or nolapic", vm="<clock><timer name='kvmclock' present='yes'/>"),
)
RTC = _rule(
    "rtc",
    "the CMOS clock",
    {"io": (0x70, 0x71)},
    "reads the CMOS clock",
    "something asks the real-time clock, which the VMM emulates",
    "hwclock at boot and at the end",
    Remedy(
        guest="find the program that reads /dev/rtc; Windows: without Hyper-V's clock it counts by the RTC",
        vm="for Windows <timer name='hypervclock' present='yes'/> and <stimer state='on'/> of <hyperv>",
    ),
)
IDE = _rule(
    "ide",
    "an emulated IDE disk",
    {"io": ports.IDE},
    "uses an emulated IDE disk",
    "the guest uses an emulated IDE disk; virtio costs far fewer exits",
    "a boot loader reads by it before the driver is there",
    Remedy(guest="install virtio's drivers first", vm="<target bus='virtio'/> or 'scsi' with virtio-scsi"),
)
VGA = _rule(
    "vga",
    "an emulated graphics card",
    {"io": _VGA, "mmio": range(0xA0000, 0xC0000)},
    "drives an emulated VGA card",
    "text or graphics go through its registers",
    "a boot shows some screens",
    Remedy(guest="no console on VGA (console=hvc0)", vm="<video><model type='virtio'/>, or none"),
)
HV_FLUSHES = _rule(
    "tlb-flush",
    "TLB shootdowns by hypercall",
    _FLUSHES,
    "flushes TLBs",
    "its programs unmap or protect memory on several vCPUs",
    "without Hyper-V's flushes these would be IPIs, at more cost",
    Remedy(guest="what frees or moves memory all the time: an allocator, a garbage collector", vm="fewer <vcpu>"),
    confidence=LIKELY,
)
IPI_STORM = _rule(
    "ipis",
    "vCPUs interrupt each other",
    _SENDS,
    "sends interrupts between its vCPUs",
    "wake-ups, TLB shootdowns or function calls from one CPU to others",
    "with APICv or AVIC most of them do not exit, and are not seen",
    Remedy(
        host="APICv with IPI virtualization, or AVIC (kvm_amd avic=1)",
        guest="what wakes or unmaps across CPUs; pin its threads",
        vm="fewer <vcpu>; <feature policy='require' name='x2apic'/>",
    ),
    IPIS,
    LIKELY,
    frozenset({"apic-off"}),  # which is one of its remedies
)
XAPIC = _rule(
    "xapic",
    "the APIC by memory, not by MSRs",
    {"mmio": range(0xFEE00000, 0xFEE01000)},
    "reaches its APIC through memory",
    "xAPIC's registers are emulated instruction by instruction; x2APIC's are MSRs",
    "with APICv or AVIC only few of the registers exit",
    Remedy(guest="no nox2apic", vm="<feature policy='require' name='x2apic'/>"),
)
PMU = _rule(
    "pmu",
    "performance counters in the guest",
    {"msr": _PMU},
    "programs its performance counters",
    "perf or the NMI watchdog runs in the guest",
    "a boot writes each of them once",
    Remedy(guest="sysctl kernel.nmi_watchdog=0; end perf", vm="<features><pmu state='off'/>"),
    confidence=LIKELY,
)
SPLIT_IRQCHIP = _rule(
    "split-irqchip",
    "the IOAPIC is the VMM's",
    {"user": (26,)},  # KVM_EXIT_IOAPIC_EOI
    "ends interrupts of the VMM's IOAPIC",
    "each end of a level-triggered interrupt goes to the VMM (kernel_irqchip=split)",
    "MSI interrupts do not go through it",
    Remedy(
        guest="drivers that use MSI", vm="<ioapic driver='kvm'/>, unless an IOMMU with interrupt remapping needs it"
    ),
)
_SEE_MSR = "kvmtop --vm {vm} --event msr,apic"
MSR = Rule(
    "msr",
    "one MSR over and over",
    f"{LEAST:g} or more accesses a second to one MSR that take ≥ {{cause}} of a vCPU's time",
    _msr,
    "timers, IPIs and performance counters have rules of their own; the end of an interrupt (EOI) is none",
    Remedy(guest="find what accesses it: the guest code that exits (--event rip)"),
    frozenset({"msr"}),
    explains=frozenset({"kvm", "vmm"}),
    see=_SEE_MSR,
)
TICKS = Rule(
    "ticks",
    "timer ticks of an idle guest",
    f"a vCPU that idles ≥ {IDLES:.0%} sets its timer {', '.join(map(str, HZ))} times a second, within {WITHIN:.0%}",
    _ticks,
    "a program that wakes by itself as often, which looks the same from outside",
    Remedy(guest="no nohz=off; CONFIG_NO_HZ_IDLE=y; else find the program (powertop)"),
    frozenset(_TIMERS),
    confidence=LIKELY,
    see=_SEE_MSR,
)
HIGH_HZ = Rule(
    "high-hz",
    "a thousand timer interrupts a second",
    "a vCPU that works sets its timer ≥ 940 times a second, which takes ≥ {cause} of a vCPU's time",
    _high_hz,
    "a program with timers of its own, which looks the same from outside",
    Remedy(guest="a kernel with CONFIG_HZ=250 or 100; nohz_full"),
    frozenset(_TIMERS),
    explains=frozenset({"kvm"}),
    confidence=LIKELY,
    see=_SEE_MSR,
)
NIC = Rule(
    "emulated-nic",
    "an emulated network card",
    f"{LEAST:g} or more accesses a second to its registers that take ≥ {{cause}} of a vCPU's time",
    _nic,
    "known only where QEMU's map is given (--memory-map)",
    Remedy(guest="install virtio's drivers first", vm="<interface><model type='virtio'/>"),
    frozenset({"io", "mmio"}),
    explains=frozenset({"vmm", "kvm", "blocked"}),
    see="kvmtop --vm {vm} --event io,mmio --memory-map FILE",
)
USER_IRQCHIP = Rule(
    "user-irqchip",
    "interrupt controllers in the VMM",
    "the VMM is handed halts or interrupt windows, which KVM with an irqchip of its own never does",
    _irqchip,
    "none: KVM hands them over for no other reason",
    Remedy(vm="QEMU: kernel_irqchip=on (its default), not off"),
    frozenset({"user"}),
    explains=frozenset({"vmm", "blocked"}),
    see="kvmtop --vm {vm} --event user",
)
