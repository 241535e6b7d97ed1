"""What each column shows: the texts, which the dashboard's help and the manual page have, too.

A fragment of a sentence, with units and what is not in it. By table, as the screen or a log calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .word import Word

_HALF, _MOST = "half of the exits are shorter", "99 % of the exits are shorter"
_BUCKETS = "(from a histogram, within 12.5 %)"
_TREND = "exits a second in the last intervals, from zero to the row's own highest"
_RATE = "exits a second"
_OWN = "time in the kernel, in the VMM and blocked in each second"
_WAITS = "share of its time that it was ready to run, but not running"
_WITHHELD = "share of its time that its cgroup's CPU quota withheld"
_PARTS = "how much of the exit the vCPU's thread was in this state"

REASONS: Mapping[str, str] = {
    "REASON": "what made the vCPU leave the guest, as the kernel names it; an idle one, for which it was halted more"
    " than half of the time, is marked and comes last",
    "EXITS/S": _RATE,
    "EXITS%": "share of all exits",
    "TIME/S": f"{_OWN}, of all vCPUs, exits still open included; of an idle reason what it was halted. Waiting for a"
    " CPU and being throttled are no reason's doing: they are in WHERE",
    "TIME%": "share of the TIME/S of all reasons but the idle ones",
    "WHERE": "all the time from exit to entry by state, as long as it is of the longest; sorted by what was blocked,"
    " waiting and throttled",
    "USER%": "how much of TIME/S the VMM (QEMU …) ran in user space",
    "BLOCK%": "how much of TIME/S the vCPU slept without being halted: locks, files, page faults, a stop",
    "WAIT%": "how much of all the time from exit to entry the vCPU could have run but did not: its CPU was busy, or its"
    " quota used up",
    "AVG": "average duration, from exit to entry",
    "P50": f"{_HALF} {_BUCKETS}",
    "P99": f"{_MOST} {_BUCKETS}",
    "MAX": "longest exit; exact since the start, within 25 % in an interval",
    "TREND": _TREND,
    "TOTAL": "exits since the start",
}
VCPUS: Mapping[str, str] = {
    "VM / VCPU": "a VM, and its vCPUs",
    "PID/TID": "its process, or thread",
    "VCPUS": "how many vCPUs a VM has",
    "CPU": "the host's CPU that a vCPU ran on last",
    "EXITS/S": _RATE,
    "GUEST%": "share of its time in the state guest",
    "KERN%": "share of its time in the state kernel",
    "USER%": "share of its time in the state user",
    "IDLE%": "share of its time in the state idle",
    "BLOCK%": "share of its time in the state blocked",
    "WAIT%": "share of its time in the state wait",
    "THROT%": "share of its time in the state throttled",
    "WHERE": "where its time goes, by state",
    "TOP": "the reason with most time in the kernel, in the VMM and blocked",
    "DOES NOW": "its state, if it is not the guest and has lasted 5 ms; of a VM, how many of its vCPUs are in one",
    "STATE": "what it does now, and for how long",
    "TREND": _TREND,
}
COMPARED: Mapping[str, str] = {
    "REASON": "what made the vCPU leave the guest",
    "VM": "all exits of a VM but halts",
    "RATE A": f"{_RATE}, in A",
    "RATE B": f"{_RATE}, in B",
    "CHANGE": "of the figure before it, from A to B; of a rate that A has not it is new",
    "TIME A": "time outside the guest in each second, in A",
    "TIME B": "time outside the guest in each second, in B",
    "P50 A": f"{_HALF}, in A",
    "P50 B": f"{_HALF}, in B",
    "P99 A": f"{_MOST}, in A",
    "P99 B": f"{_MOST}, in B",
    "VERDICT": "more or less: the rate changed by more than chance; longer or shorter: the time or the percentiles did;"
    " noise: none of them; ?: there are too few intervals to say",
    "EXITS/S A": f"{_RATE}, in the first recording",
    "TIME/S A": "time outside the guest in each second, in the first recording",
    "A": "the first of two recordings",
    "B": "the second of two recordings",
}
_TOUCHED = {
    "WHAT": "what was touched, with its name where one is known",
    "COUNT/S": "events a second; an exit may have several",
    "TIME/S": f"{_OWN}, of the exits in which the events happened",
    "TIME%": "share of the TIME/S of all that is in the table",
    "AVG": "average duration of these exits, from exit to entry",
    "P99": f"99 % of these exits are shorter {_BUCKETS}",
    "MAX": "the longest of these exits",
    "TREND": "events a second in the last intervals, from zero to the row's own highest",
}
_SLOW = {
    "AGO": "how long ago the exit ended",
    "VM · VCPU": "whose exit it was",
    "REASON": "why the vCPU left the guest",
    "LASTED": "from exit to entry",
    **{one: _PARTS for one in ("KERNEL", "USER", "BLOCK", "WAIT", "THROT", "IDLE")},
    "WHERE": "the exit by state, as long as it is of the longest",
    "CPU": "the host's CPU on which it ended",
    "TOUCHED": "what the exit touched first; – where no event tells",
    "GUEST CODE": "where the guest was when it left: a function of its kernel with --guest-kallsyms, or user space",
}
_POLLING = {
    "VM / VCPU": "whose halts were polled",
    "HITS": "polls that ended with an event, in this interval: no sleep and no wake-up",
    "MISSES": "polls without an event: the vCPU slept after all, in this interval",
    "OTHER": "halts that were not polled, in this interval",
    "POLLING": "time that KVM polled in each second, by its own account",
    "WASTED": "how much of that was in polls without an event",
    "WINDOW": "how long KVM polls at most before it lets this vCPU sleep; it grows and shrinks by itself, up to"
    " halt_poll_ns; – until it has changed",
    "VERDICT": "whether polling pays: no halt, no halt was polled, cheap, pays, wasteful",
}
_PROFILE = {
    "GUEST PROFILE": "whose samples they are",
    "WHERE THE GUEST IS": "a function of the guest where it is known, else an address; its user space is one",
    "WHERE": "a function of the guest where it is known, else an address",
    "SAMPLES": "how often an interrupt of the host found the guest there in this interval",
    "SHARE": "how much that is of all samples",
}
_THREADS = {
    "VM": "whose thread it is",
    "THREAD": "what the thread is called",
    "OTHER THREADS": "what the VM's thread is called that is no vCPU",
    "ROLE": "what a thread does, by its name: main, io, worker, vhost, other",
    "TID": "the thread's number on the host",
    "CPU": "the host's CPU that it runs on or ran on last",
    "BUSY%": "share of its time on a CPU",
    "CPU%": "share of its time on a CPU",
    "WAIT%": _WAITS,
    "THROT%": f"{_WITHHELD}; – where others share the quota, and WAIT% has it then",
}
_INSTEAD = {
    "WHO": "who had the CPU that a vCPU waited for",
    "TIME/S": "how long vCPUs waited behind it in each second",
    "WAIT%": "share of all that these vCPUs waited",
    "TIMES/S": "how often in a second",
    "WHAT IT IS": "vCPU, VM's thread, kernel thread, process, idle, interrupt, softirq, timer, unknown",
    "PID/TID": "its thread; of a process, its pid",
    "CGROUP": "the cgroup in which it runs",
}
_WAKING = {
    "WOKEN BY": "who woke the vCPU: a task, or an interrupt",
    "TIMES/S": "how often in a second",
    "SHARE": "share of all wake-ups of these vCPUs",
    "WHAT IT IS": _INSTEAD["WHAT IT IS"],
}
_BLOCKED = {
    "BLOCKED ON": "what it slept in, by system call and the kernel's stack: a lock, a file, a page …",
    "RELEASED BY": "who woke it then; nobody yet, if it still sleeps",
    "TIMES/S": "how often in a second",
    "TIME/S": "how long vCPUs slept in it in each second",
    "MAX": "the longest since somebody looks",
}
_PLACED = {
    "VCPU": "which vCPU it is",
    "ON CPU": "the host's CPU that it ran on last",
    "WAIT%": _WAITS,
    "THROT%": _WITHHELD,
    "BLOCK%": "share of its time that it slept without being halted",
    "WHERE": "where its time goes, by state",
    "STATE": "what it does now, and for how long",
}
_WHOSE = {
    "VM · VCPU": "which vCPU has the reason",
    "EXITS/S": "its exits a second for this reason",
    "TIME/S": f"{_OWN}, of its exits for this reason",
    "TIME%": "share of the TIME/S of all vCPUs that are looked at",
    "WHERE": "the time from exit to entry by state",
}
_FACTS = {
    "P90": f"90 % of the exits are shorter {_BUCKETS}",
    "P99.9": f"99.9 % of the exits are shorter {_BUCKETS}",
    "IN ALL": "exits since the start",
}
_BOTH = {
    "TIME/S FOR": f"{_OWN}, for the reasons that either of two VMs or vCPUs spends most on",
    "CHANGE": "from the marked one to the other; = where they are alike",
}
_LOGS = {
    "BEHIND": "who had the CPU meanwhile, in shares of the vCPU's time",
    "ON": "what it was blocked on, and who woke it, in shares of its time",
    "WAIT%": _WAITS,
    "BLOCK%": "share of its time that it slept without being halted",
    "TIMES/S": "how often in a second",
    "P50": "half of the times from being woken to running are shorter",
    "P99": "99 % of the times from being woken to running are shorter",
    "MAX": "the longest time from being woken to running, since somebody looks",
    "WOKEN BY, TIMES/S": "who woke it, and how often in a second",
    "wait for a CPU": "the vCPUs that waited for a CPU, most first",
}

TABLES: Mapping[str, Mapping[str, str]] = {
    "Exit reasons": REASONS,
    "VMs and vCPUs": VCPUS,
    "Slow exits": _SLOW,
    "What they touched": _TOUCHED,
    "a reason's page": _FACTS,
    "Which vCPUs": _WHOSE,
    "Halt polling": _POLLING,
    "the guest's profile": _PROFILE,
    "Other threads": _THREADS,
    "Who ran instead": _INSTEAD,
    "Waking up": _WAKING,
    "Blocked on": _BLOCKED,
    "the Scheduler page's vCPUs": _PLACED,
    "--event sched in a log": _LOGS,
    "two VMs compared": _BOTH,
    "two recordings compared": COMPARED,
}
# What --sort and the configuration call a column, where that is not its title.
_KEYS = {
    "Exit reasons": {
        "EXITS/S": "rate",
        "EXITS%": "share",
        "TIME%": "time_share",
        "BLOCK%": "blocked",
    },
    "VMs and vCPUs": {
        **{"VM / VCPU": "name", "PID/TID": "number", "EXITS/S": "rate", "WHERE": "bar", "DOES NOW": "state"},
        **{"KERN%": "kernel", "BLOCK%": "blocked", "THROT%": "throttled"},
    },
    "two recordings compared": {
        **{"RATE A": "rate_a", "RATE B": "rate_b", "TIME A": "time_a", "TIME B": "time_b", "CHANGE": "rate_change"},
        **{"P50 A": "p50_a", "P50 B": "p50_b", "P99 A": "p99_a", "P99 B": "p99_b"},
    },
}


def _words() -> Iterator[Word]:
    for table, texts in TABLES.items():
        keys = _KEYS.get(table, {})
        for title, text in texts.items():
            yield Word(title, "column", text, also=(keys[title],) if title in keys else (), where=table)


COLUMNS: tuple[Word, ...] = tuple(_words())
