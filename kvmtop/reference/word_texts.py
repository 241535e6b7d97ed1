"""What the words on the screen mean, but for columns (column_texts.py) and reasons (exit_reason_texts.py): the texts.

docs/numbers.md and docs/details.md say more.
"""

from __future__ import annotations

from collections.abc import Mapping

from .labels import TITLES
from .word import Word

# In the order in which they are stacked: what it is in a few words, for the help and the lower pane; what else there is
# to say; and where to read on.
STATES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "guest": (
        "on a CPU, running guest code",
        "From kvm_entry to kvm_exit. A guest that polls instead of halting (idle=poll), or halts without an exit"
        " (QEMU's cpu-pm=on), is in this, whether it works or not.",
        ("GUEST%", "kernel"),
    ),
    "kernel": (
        "on a CPU, in KVM or the host's kernel: it handles an exit, or polls for the end of a halt",
        "From kvm_exit on, and when KVM_RUN begins anew. Halt polling burns a CPU, so it is in this and not in idle,"
        " and so is most of what kvmtop's probes take. The way into the system call and out of it counts as user.",
        ("KERN%", "polling", "probes"),
    ),
    "user": (
        "on a CPU, in the VMM (QEMU …)",
        "From kvm_userspace_exit on: a device is emulated by the vCPU's own thread, or the VM was told to stop. What"
        " the VMM's other threads do is not in it.",
        ("USER%", "Other threads"),
    ),
    "blocked": (
        "asleep for anything else: the VMM's locks and files, a page of memory, a signal that stopped it",
        "Halts are not in it, they are idle; nor is the time from being woken to running, which is wait. The Scheduler"
        " page (S) says on what, and who released it.",
        ("BLOCK%", "Blocked on", "idle", "wait"),
    ),
    "idle": (
        "halted: the guest has nothing to do",
        "Asleep in KVM, or in the VMM where that does the halting (kernel-irqchip=off). Polling for the end of a halt"
        " is kernel, and the time from being woken to running is wait.",
        ("IDLE%", "polling", "HLT"),
    ),
    "wait": (
        "ready to run, but not running",
        "Its CPU runs something else, or is waking up: from sched_wakeup, or from being preempted, to running. It is"
        " never what a CPU quota withholds, which is throttled, unless the kernel cannot tell that; then wait has both."
        " The Scheduler page (S) says behind whom.",
        ("WAIT%", "throttled", "Who ran instead"),
    ),
    "throttled": (
        "ready to run, but its cgroup has used up its CPU quota",
        "The quota is cpu.max of the VM's cgroup or of one above it; within a period (100 ms, as a rule) a vCPU stands"
        " still until the next one begins. It is not in wait.",
        ("THROT%", "wait", "quota"),
    ),
}
IN_SHORT = {name: short for name, (short, _, _) in STATES.items()}

_STANDING = (
    Word(
        "stuck",
        "state",
        "A vCPU has been in one state for 3 s, neither in the guest nor idle, and its VM does not stand still as a"
        " whole. The state is named with it: STUCK blocked 5s.",
        see=("DOES NOW", "stopped"),
    ),
    Word(
        "stopped",
        "state",
        "All threads of the VM's process are stopped by a signal or a debugger, says /proc: SIGSTOP, or gdb. Its vCPUs"
        " are blocked meanwhile, and not stuck.",
        see=("paused", "blocked"),
    ),
    Word(
        "paused",
        "state",
        "The VMM keeps all of the VM's vCPUs out of KVM_RUN: the monitor's stop, virsh suspend, or a migration's last"
        " step. Its vCPUs are blocked in the VMM meanwhile, and not stuck.",
        see=("stopped", "blocked"),
    ),
    Word(
        "ended",
        "state",
        "The vCPU's thread has exited, or the VM's process has, or has closed the VM. Its figures stay in the totals;"
        " the key c takes ended VMs off the list.",
    ),
    Word(
        "no exits yet",
        "state",
        "None of the VM's vCPUs has left or entered its guest since kvmtop began: nothing is known of its time.",
    ),
)

_KINDS: Mapping[str, str] = {
    "io": "I/O ports that the guest read or wrote, with the device's name, the direction and the bytes, one event an"
    " access: kvm_pio. A string instruction may be one event for many bytes.",
    "msr": "model-specific registers that the guest read or wrote in exits, by number and name: kvm_msr. Accesses that"
    " KVM lets through do not leave the guest, so they are not in it.",
    "mmio": "guest physical addresses without memory behind them, with the device's name where QEMU's memory map or"
    " the usual layout of a PC tells it: kvm_mmio and kvm_fast_mmio. What was prepared for the guest to use without"
    " an exit is not in it.",
    "cpuid": "CPUID leaves that the guest asked for: kvm_cpuid. Each costs an exit; programs that ask thousands of"
    " times a second, often to serialize, are slow in any VM.",
    "hypercall": "KVM's own hypercalls, by name: kvm_hypercall. Hyper-V's are the kind hyperv.",
    "hyperv": "Hyper-V hypercalls of Windows guests, by name: kvm_hv_hypercall.",
    "fault": "page faults that KVM handled for the guest: what was tried (read, write, fetch), and why the page did not"
    " allow it (not present, write-protected, dirty logging …): kvm_page_fault and fast_page_fault. The guest's own"
    " page faults, which it handles itself, are not in it.",
    "vector": "interrupt and exception vectors that the hardware reported with an exit: a field of kvm_exit.",
    "user": "why KVM returned to the VMM: KVM_EXIT_IO, KVM_EXIT_MMIO, EINTR … of kvm_userspace_exit.",
    "vmgexit": "what an encrypted guest (SEV-ES, SEV-SNP) asked its hypervisor for: the code of kvm_vmgexit_enter.",
    "cr": "control registers that the guest read or wrote in exits, by number: kvm_cr.",
    "apic": "registers of the vCPU's local APIC that KVM emulated an access to (EOI, ICR, TPR …): kvm_apic. What APICv"
    " or AVIC takes over is not in it.",
    "rip": "guest code: the guest's instruction pointer when it left, by function where --guest-kallsyms tells it."
    " Where a guest leaves says little of where it spends its time, but for the host's own interrupts, whose rows are"
    " marked as sampled.",
    "poll": "how each vCPU's halts were polled: hits, misses, what polling cost, and whether it pays. From"
    " kvm_vcpu_wakeup and KVM's own account (halt_poll_success_ns, halt_poll_fail_ns).",
    "sched": "what the scheduler does with vCPUs: behind whom each waits for a CPU, who wakes it, what it is blocked on"
    " and who releases it. It is no kind of what exits touch, so all is without it.",
    "all": "every kind of what exits touch; not sched.",
}

_ROLES: Mapping[str, str] = {
    "main": "The VMM's first thread: QEMU's main loop, which handles the monitor, timers and devices without an I/O"
    " thread. libvirt pins it as emulator.",
    "io": "An I/O thread (QEMU's iothread objects, or io_uring's workers): it handles the devices that were given to"
    " it, and may poll for work before it sleeps.",
    "worker": "A thread of a pool in the VMM: it reads and writes image files, compresses, encodes a screen (VNC,"
    " SPICE).",
    "vhost": "A thread of the kernel that moves packets between the guest's virtio queues and the host. It belongs to"
    " the VM, though before Linux 6.4 it is no thread of its process.",
    "other": "A thread of the VM whose name tells no role. Without -name debug-threads=on, which libvirt sets, QEMU's"
    " threads are all called alike.",
}

_ACTORS: Mapping[str, str] = {
    "vCPU": "A thread of a VMM that runs a guest's virtual CPU.",
    "VM's thread": "Another thread of a VM's process, or vhost's: no vCPU.",
    "kernel thread": "A task of the kernel without a process: ksoftirqd, kworker, rcu …",
    "process": "A process of the host that is no VM; its threads are one, named with its systemd unit or container.",
    "idle": "The CPU had nobody else: the vCPU waited until that CPU had woken up. Of who woke it: a CPU that was idle"
    " when it did.",
    "interrupt": "An interrupt of a device, by its number in /proc/interrupts, or one between CPUs.",
    "softirq": "What the kernel does after an interrupt (NET_RX, TIMER, RCU …), on top of whatever ran there.",
    "timer": "The CPU's own timer interrupt: ticks, timers that expire, the end of a time slice.",
    "unknown": "Not known: it was before somebody looked, or no probe saw it. It is counted, so that the parts add up.",
}

_VERDICTS: Mapping[str, str] = {
    "no halt": "Halt polling: the vCPU did not halt in this interval.",
    "no halt was polled": "Halt polling: the vCPU halted, and KVM put it to sleep at once (its window is 0, or polling"
    " is off).",
    "cheap": "Halt polling took less than 2 % of a CPU of this vCPU's: not worth a thought.",
    "pays": "Halt polling: half of the polls or more ended with the event they waited for, which saved a wake-up each.",
    "wasteful": "Halt polling took 2 % of a CPU or more, and less than half of the polls hit: lower kvm's"
    " halt_poll_ns.",
    "more": "Of two recordings, the second has more of these exits a second, by more than chance.",
    "less": "Of two recordings, the second has fewer of these exits a second, by more than chance.",
    "longer": "Of two recordings, in the second these exits take more time or last longer, by more than chance.",
    "shorter": "Of two recordings, in the second these exits take less time or are shorter, by more than chance.",
    "noise": "Of two recordings: no more differs than chance would make.",
    "new": "The first recording has none of these exits.",
}

_PAGES: tuple[Word, ...] = (
    Word(
        "Where the time goes",
        "page",
        "The time of all vCPUs that are looked at, by state, a column an interval; the shares add up to 100 %. ▼ in its"
        " border marks where a finding began.",
        also=("Where its time goes",),
    ),
    Word(
        "Exit reasons",
        "page",
        "What made vCPUs leave their guests, most time first; the key 1. Its figures are of the last interval, and with"
        " t since the start.",
        also=("Reasons",),
    ),
    Word(
        "VMs and vCPUs",
        "page",
        "The VMs with their vCPUs, and where their time goes; the key 2. Enter looks at one alone.",
        also=("VMs",),
    ),
    Word("Detail", "page", "What the cursor is on, in full; the key 3."),
    Word("What it means", "page", "What a reason is: the text that kvmtop explain has, too."),
    Word("Usual causes", "page", "What mostly makes guests leave for this reason, and what to try."),
    Word(
        "Slow exits",
        "page",
        "The longest single exits, of the last interval and of this run, idle ones left out; the key x, or --slow."
        " Probes look at each exit while that is open.",
        also=(
            *("Slowest exits", "Its slowest exits", "Slowest exits of the last interval"),
            *("Slowest exits of this run", "Slowest exits of what was played"),
        ),
        see=("LASTED", "probes"),
    ),
    Word(
        "What they touched",
        "page",
        "Ports, MSRs, addresses, leaves … of a reason's exits, most time first, while its page is open.",
        see=("io", "msr", "mmio", "fault"),
    ),
    Word(
        "Guest code that made them",
        "page",
        "Where the guest was when it left for this reason: by function with --guest-kallsyms, else by address.",
        see=("rip",),
    ),
    Word(
        "Where the guest is, by samples",
        "page",
        "Where the host's own interrupts found the guest, which stop it wherever it is: where it spends its time.",
        see=("sampled",),
    ),
    Word(
        "Where in the kernel they spend it",
        "page",
        "What a reason's exits spend their time in, as blocks: each function as wide as its share, below it what it"
        " called, since the page was opened. Samples tell what runs, switches tell what sleeps; what runs with"
        " interrupts off is sampled where it lets them in again.",
        see=("(VMM)", "(no sample)", "(not known)"),
    ),
    Word("Which vCPUs", "page", "The vCPUs that have this reason, most of its own time first.", also=("Who has it",)),
    Word(
        "Durations of the last interval",
        "page",
        "How many exits of this reason lasted how long, from exit to entry, in buckets of a quarter of an octave; p50,"
        " p99 and max are marked. Exits that are still open are not in it.",
        also=("How long they last",),
    ),
    Word(
        "Durations over time",
        "page",
        "How many exits of this reason lasted how long, in each of the last intervals: brighter is more.",
    ),
    Word("Halt polling of each vCPU", "page", "How each vCPU's halts were polled, and whether it pays.", see=("poll",)),
    Word(
        "Scheduler",
        "page",
        "Who has the CPU instead of vCPUs, who wakes them, what they are blocked on, and where they are; the key S, or"
        " --event sched. Probes follow the scheduler meanwhile.",
        see=("sched", "probes"),
    ),
    Word(
        "Who ran instead",
        "page",
        "Each wait of these vCPUs is charged to what had that CPU meanwhile; the times add up to their wait.",
        see=("wait", "unknown"),
    ),
    Word(
        "Waking up",
        "page",
        "How long these vCPUs took from being woken to running, and who woke them. It is in wait; the longer it takes,"
        " the later the guest sees its interrupt.",
        also=("waking",),
    ),
    Word(
        "Blocked on",
        "page",
        "What these vCPUs slept in other than halts, by system call and the kernel's stack, and who released them.",
        see=("blocked",),
    ),
    Word("vCPUs", "page", "What keeps each vCPU off a CPU, who waits most first; below, where one may run, and is."),
    Word(
        "Other threads",
        "page",
        "The VM's threads that are no vCPUs, from /proc/TID/schedstat and stat: shares of the time between two readings"
        " of a thread. A wait counts when it ends, so a long one shows late.",
        see=("main", "io", "worker", "vhost"),
    ),
    Word(
        "Timeline",
        "page",
        "Every single exit of a VM's vCPUs, one below the other, on a line of time; the key l. Probes write down each"
        " exit meanwhile.",
        see=("probes",),
    ),
    Word("What happened, in order", "page", "The exit under the cursor on the timeline, step by step."),
)

_WORDS = (
    Word(
        "exit",
        "word",
        "A vCPU leaves its guest, since the hardware cannot go on without KVM: from the event kvm_exit to the next"
        " kvm_entry of the same thread. Its duration has all in it that the thread does or waits for in between.",
        also=("exits", "exits/s"),
        see=("Exit reasons",),
    ),
    Word(
        "own",
        "word",
        "A reason's own time: kernel, user and blocked. Waiting for a CPU and being throttled are no reason's doing;"
        " of an idle reason it is what it was halted.",
        also=("own time",),
        see=("TIME/S", "TIME%"),
    ),
    Word(
        "all but idle",
        "word",
        "The foot of the table of reasons: all of them together, without those that are idle.",
        also=("all",),
        see=("idle reason",),
    ),
    Word(
        "idle reason",
        "word",
        "A reason whose exits were halted for more than half of their time: HLT, as a rule. It comes last and has no"
        " TIME%; the key i, or --idle, makes it a reason like any other.",
        see=("idle", "TIME%"),
    ),
    Word(
        "L1",
        "word",
        "A VM of this host, as opposed to a guest that it runs itself (L2). Exits without a mark are L1's.",
        see=("L2", "L2→L1"),
    ),
    Word(
        "L2",
        "word",
        "The exit was one of a guest that a VM runs itself (a nested guest), and KVM on this host dealt with it: cpuid"
        " (L2). The hypervisor in the VM was not asked.",
        also=("(L2)", "nested"),
        see=("L2→L1", "nesting"),
    ),
    Word(
        "L2→L1",
        "word",
        "The exit was one of a nested guest, and the hypervisor in the VM was given it, for the same reason: cpuid"
        " (L2→L1). Its time ends where that hypervisor begins to run; what that takes is nesting.",
        also=("(L2→L1)", "L2->L1"),
        see=("L2", "nesting"),
    ),
    Word(
        "nesting",
        "word",
        "A vCPU's time from an exit of its nested guest that the hypervisor in the VM was given, to the end of the exit"
        " in which it enters that guest again: that hypervisor's work and all exits that it takes. Halts and waits for"
        " a CPU are not in it, nor is what has not led to an entry yet.",
        also=("nesting_ns",),
        see=("L2→L1",),
    ),
    Word(
        "polling",
        "word",
        "When a guest halts, KVM looks for an event for a moment (up to halt_poll_ns) before the vCPU sleeps: a hit"
        " saves the wake-up, a miss burns a CPU for nothing. Its time is kernel, not idle.",
        also=("halt polling", "halt_poll_ns"),
        see=("poll", "WINDOW", "kernel"),
    ),
    Word(
        "APICv",
        "word",
        "Intel's hardware for a vCPU's interrupts: with it, most accesses to the APIC and most interrupts cost no exit."
        " The lower pane over a VM, and kvmtop doctor, say whether it is on, and why not: the kernel's inhibits.",
        see=("AVIC", "PIT_REINJ", "APIC_ACCESS"),
    ),
    Word(
        "AVIC",
        "word",
        "AMD's hardware for a vCPU's interrupts, as APICv is Intel's. kvm_amd leaves it off unless avic=1 is given, up"
        " to recent kernels.",
        also=("x2AVIC",),
        see=("APICv", "X2APIC", "IRQWIN"),
    ),
    Word(
        "quota",
        "word",
        "What cpu.max of the VM's cgroup, or of one above it, allows: so much CPU time in each period, for all threads"
        " in it. The vCPUs that it holds back are throttled.",
        also=("cpu.max",),
        see=("throttled",),
    ),
    Word(
        "most",
        "word",
        "In the lower pane: the reason in whose exits most of this time was spent. Of a VM, DOES NOW has the state that"
        " most of its vCPUs are in, idle ones aside.",
        see=("TOP", "DOES NOW"),
    ),
    Word("others", "word", "Those that have no line of their own, together."),
    Word(
        "probes",
        "word",
        "The BPF programs that are attached to the kernel's events. Some always are, to count and time exits; others"
        " while somebody looks closer (details, slow exits, Scheduler, stacks, timeline). What they add to an exit, or"
        " to a switch, is what the kernel measured of these programs' own run time, on average; the event's own part,"
        " some tens of ns, is not in it.",
        also=("probe",),
        see=("kernel",),
    ),
    Word(
        "finding",
        "word",
        "A sentence about what stands out: who, what, how much, since when, and in brackets the rule that it follows"
        " from. The key f walks through them, and Enter goes to what it is about.",
        also=("▲", "▼", "findings"),
    ),
    Word(
        "lost",
        "word",
        "Exits that were not counted, since a map of the kernel's was full: they are missing from all figures.",
        see=("unpaired", "overwritten"),
    ),
    Word(
        "unpaired",
        "word",
        "Entries without an exit before them. On AMD before Linux 6.5, KVM's fast path re-enters the guest without"
        " reporting the exit.",
        also=("entries without an exit",),
        see=("lost", "overwritten"),
    ),
    Word(
        "overwritten",
        "word",
        "Exits without an entry after them: KVM's fast path on Intel re-entered the guest without reporting it (Linux"
        " 5.8 to 5.10). They have no duration, and are in no count.",
        also=("exits without an entry",),
        see=("lost", "unpaired"),
    ),
    Word(
        "expired",
        "word",
        "vCPU threads that have ended since the start; the last exit of each has no entry after it.",
        also=("vCPU threads ended",),
        see=("ended",),
    ),
    Word(
        "sampled",
        "word",
        "Where the guest was when an interrupt of the host stopped it, that is at any moment: where it spends its time."
        " Other guest code is where it left, which is another thing.",
        see=("rip", "SAMPLES"),
    ),
    Word(
        "not known yet",
        "word",
        "The probes have been attached, and the first interval that they tell of is not over.",
        also=("not known", "–"),
    ),
    Word("PAUSED", "word", "The display is held (space); counting goes on."),
    Word("RECORDING", "word", "What is shown was recorded earlier, by the host and the kvmtop that are named."),
    Word("GPA", "word", "An address in the guest's physical memory."),
    Word("SVM", "word", "AMD's virtualization; reasons have its names and codes.", also=("AMD",)),
    Word("VMX", "word", "Intel's virtualization; reasons have its names and codes.", also=("Intel",)),
    Word(
        "(VMM)",
        "word",
        "Among the kernel's functions: what the VMM's thread does outside KVM_RUN, with its system calls.",
    ),
    Word("(no sample)", "word", "Among the kernel's functions: time on a CPU into which no sample fell."),
    Word("(halted)", "word", "Among the kernel's functions: the vCPU was idle."),
    Word("(blocked)", "word", "Among the kernel's functions: it slept there."),
    Word("(waits for a CPU)", "word", "Among the kernel's functions: it was preempted, or had been woken and waited."),
    Word("(not known)", "word", "Among the kernel's functions: a sleep that began before the look, or had no room."),
)


def _of(group: str, texts: Mapping[str, str], also: Mapping[str, str] | None = None) -> tuple[Word, ...]:
    return tuple(
        Word(name, group, text, also=((also or {})[name],) if name in (also or {}) else ())
        for name, text in texts.items()
    )


WORDS: tuple[Word, ...] = (
    *(Word(name, "state", f"{short}. {more}", see) for name, (short, more, see) in STATES.items()),
    *_STANDING,
    *_of("kind", _KINDS, TITLES),
    *_of("role", _ROLES, {"main": "emulator"}),
    *_of("actor", _ACTORS, {"vCPU": "vcpu", "VM's thread": "vm thread", "timer": "timer interrupt"}),
    *_of("verdict", _VERDICTS),
    *_PAGES,
    *_WORDS,
)
