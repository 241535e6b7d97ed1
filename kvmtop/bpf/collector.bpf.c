// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Times every exit: kvm_exit to the next kvm_entry of the same thread.
 *
 * A vCPU thread has a slot in `threads`, each of its reasons a cell in `cells`. Only the thread itself
 * writes to them, so nothing is atomic and nothing is per CPU; user space reads both through mmap and
 * gives slots back when it has read the last of a thread that has ended (sched_process_exit).
 * On the way of an exit there is no hash table: the CPU remembers the slot that ran on it last, the slot
 * its cells. Array look-ups are inlined by the kernel, a hash look-up costs about 150 instructions.
 *
 * Programs on classic tracepoints return 1: with 0 the kernel would hide the event from every perf that
 * records it at the same time (perf_trace_run_bpf_submit in kernel/trace/trace_event_perf.c).
 *
 * Flags, from bpf/collector.py: EXIT_REASON, EXIT_ISA, EXIT_VCPU, ENTRY_VCPU, USER_REASON, USER_ERRNO,
 * WAKEUP_NS: offsets of fields in the tracepoints' records, absent where the kernel has no such field;
 * SKIP(tgid): true for processes that are not wanted; RAW: kvm_userspace_exit comes as a raw tracepoint;
 * THREADS, CELLS, CPUS: entries of the maps; MAP_FLAGS.
 */
#include "bucket.h"

#define WAYS 64      /* reason & 63 tells apart all codes that occur together, but for a few rare ones */
#define CHAIN 8      /* cells that may share a way */
#define ENDED (1ULL << 63)
#define KVM_EXIT_HLT 5 /* include/uapi/linux/kvm.h */

struct thread {
    u64 id; /* pid_tgid; with ENDED once the thread has exited */
    u64 first_ns;
    u64 end_ns;
    u64 exit_ns;
    u64 entry_ns;
    u64 user_ns;
    u64 user;
    u64 guest;
    u64 unpaired;
    u64 overwritten;
    u64 pairs; /* exits that its cells hold */
    u32 reason;
    u32 isa;
    u32 vcpu;
    u32 cpu; /* that it entered the guest on last, where it is until the next exit */
    u32 cells[WAYS];
};

struct cell {
    u32 reason;
    u32 isa;
    u32 thread;
    u32 next;
    u64 count;
    u64 total;
    u64 user;
    u64 min;
    u64 max;
    u64 hist[BUCKETS];
};

struct cpu {
    u32 slot;      /* that ran here last */
    u32 top_slot;  /* highest slot and cell ever taken here: how far user space must read */
    u32 top_cell;
    u32 number;    /* its own, once a thread has been looked for here */
    u64 lost;      /* exits not counted, for want of a slot or a cell */
    u64 userspace; /* kvm_userspace_exit events */
    u64 pad2[4];   /* a cache line each */
};

BPF_F_TABLE("array", u32, struct thread, threads, THREADS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct cell, cells, CELLS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct cpu, cpus, CPUS, MAP_FLAGS);
BPF_HASH(slots, u64, u32, THREADS);
BPF_STACK(free_slots, u32, THREADS);
BPF_STACK(free_cells, u32, CELLS);
#ifdef DURATIONS /* for the tests only: every single exit, to check the histogram against */
struct duration {
    u32 reason;
    u32 isa;
    u64 ns;
};
BPF_QUEUE(durations, struct duration, DURATIONS);
#endif

#ifndef SKIP
#define SKIP(tgid) 0
#endif
#define FIELD(offset) (*(u32 *)((char *)ctx + (offset)))
#define KEY(row) (*(u64 *)&(row)->reason) /* with the isa beside it */

static __always_inline struct cpu *this_cpu(void)
{
    u32 n = bpf_get_smp_processor_id();
    return cpus.lookup(&n);
}

/* The thread's slot, if it has one. */
static __always_inline struct thread *find(struct cpu *cpu, u64 id)
{
    u32 slot = cpu->slot;
    struct thread *t = threads.lookup(&slot);

    if (t && t->id == id)
        return t;
    u32 *known = slots.lookup(&id);
    if (!known)
        return 0;
    cpu->slot = slot = *known;
    cpu->number = bpf_get_smp_processor_id();
    return threads.lookup(&slot);
}

static struct thread *add(struct cpu *cpu, u64 id, u64 now)
{
    u32 slot = 0;

    if (free_slots.pop(&slot))
        return 0;
    struct thread *t = threads.lookup(&slot);
    if (!t)
        return 0;
    if (slots.update(&id, &slot)) {
        free_slots.push(&slot, 0);
        return 0;
    }
    t->id = id;
    t->first_ns = now;
    t->cpu = cpu->number = bpf_get_smp_processor_id();
    cpu->slot = slot;
    if (slot > cpu->top_slot)
        cpu->top_slot = slot;
    return t;
}

static __always_inline struct cell *cell_of(struct cpu *cpu, struct thread *t)
{
    u32 way = t->reason & (WAYS - 1), i = t->cells[way], fresh;
    struct cell *c;

    for (int n = 0; n < CHAIN; n++) {
        if (!i)
            break;
        c = cells.lookup(&i);
        if (!c)
            return 0;
        if (KEY(c) == KEY(t))
            return c;
        i = c->next;
    }
    fresh = 0;
    if (i || free_cells.pop(&fresh))
        return 0;
    c = cells.lookup(&fresh);
    if (!c)
        return 0;
    c->reason = t->reason;
    c->isa = t->isa;
    c->thread = cpu->slot;
    c->next = t->cells[way];
    c->min = ~0ULL;
    t->cells[way] = fresh;
    if (fresh > cpu->top_cell)
        cpu->top_cell = fresh;
    return c;
}

/* Classic: since Linux 5.16 (0a62a0319abb) the reason is no argument of the tracepoint itself. */
int on_exit(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();

    if (SKIP(id >> 32))
        return 1;
    struct cpu *cpu = this_cpu();
    if (!cpu)
        return 1;
    u64 now = bpf_ktime_get_ns();
    struct thread *t = find(cpu, id);
    if (!t) {
        t = add(cpu, id, now);
        if (!t) {
            cpu->lost++;
            return 1;
        }
    }
    if (t->entry_ns) {
        t->guest += now - t->entry_ns;
    } else if (t->exit_ns) { /* VMX's fast path in 5.8 to 5.10 re-enters without a kvm_entry: the guest ran */
        t->overwritten++;
        t->guest += now - t->exit_ns;
        t->user_ns = t->user = 0;
    }
    t->exit_ns = now;
    t->entry_ns = 0;
    t->reason = FIELD(EXIT_REASON);
#ifdef EXIT_ISA
    t->isa = FIELD(EXIT_ISA);
#endif
#ifdef EXIT_VCPU
    t->vcpu = FIELD(EXIT_VCPU);
#endif
    return 1;
}

int on_entry(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();

    if (SKIP(id >> 32))
        return 1;
    struct cpu *cpu = this_cpu();
    if (!cpu)
        return 1;
    u64 now = bpf_ktime_get_ns();
    struct thread *t = find(cpu, id);
    if (!t) { /* in the kernel or in user space when counting began */
        t = add(cpu, id, now);
        if (t)
            t->entry_ns = now;
        return 1;
    }
#ifdef ENTRY_VCPU
    t->vcpu = FIELD(ENTRY_VCPU);
#endif
    u64 exit = t->exit_ns;
    t->exit_ns = 0;
    if (!exit) { /* a failed VM-entry, or an exit that the kernel did not hand to us */
        t->unpaired++;
        if (t->entry_ns)
            t->guest += now - t->entry_ns;
        t->entry_ns = now;
        return 1;
    }
    t->entry_ns = now;
    t->cpu = cpu->number;
    struct cell *c = cell_of(cpu, t);
    if (!c) {
        cpu->lost++;
        t->user_ns = t->user = 0;
        return 1;
    }
    u64 ns = now - exit;
    t->pairs++;
    /* Before the count: user space, which reads upwards, looks for changes only where the count has changed. */
    c->hist[bucket(ns)]++;
    asm volatile("" ::: "memory");
    c->count++;
    c->total += ns;
    if (ns < c->min)
        c->min = ns;
    if (ns > c->max)
        c->max = ns;
    if (t->user_ns | t->user) {
        c->user += t->user + (t->user_ns ? now - t->user_ns : 0);
        t->user_ns = t->user = 0;
    }
#ifdef DURATIONS
    struct duration d = {t->reason, t->isa, ns};
    durations.push(&d, 0);
#endif
    return 1;
}

/* kvm_userspace_exit(reason, errno): KVM_RUN returns to the VMM. */
int on_user(void *ctx)
{
#ifdef RAW
    u32 reason = ((u64 *)ctx)[0];
    s32 error = ((u64 *)ctx)[1];
#else
    u32 reason = FIELD(USER_REASON);
    s32 error = FIELD(USER_ERRNO);
#endif
    u64 id = bpf_get_current_pid_tgid();
    struct cpu *cpu = this_cpu();

    if (!cpu)
        return 1;
    cpu->userspace++;
    if (SKIP(id >> 32))
        return 1;
    struct thread *t = find(cpu, id);
    /* Without an in-kernel interrupt controller the VMM does the halting: that is idle, not work. */
    if (!t || !t->exit_ns || t->user_ns || (reason == KVM_EXIT_HLT && error >= 0))
        return 1;
    t->user_ns = bpf_ktime_get_ns();
    return 1;
}

/*
 * A halted vCPU that was kicked out to user space is halted again by the next KVM_RUN, without an entry
 * between: what it then slept is not user space's time.
 */
int on_wakeup(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid(), slept = *(u64 *)((char *)ctx + WAKEUP_NS);
    struct cpu *cpu = this_cpu();
    struct thread *t;

    if (!cpu || SKIP(id >> 32) || !(t = find(cpu, id)) || !t->exit_ns || !t->user_ns)
        return 1;
    u64 ns = bpf_ktime_get_ns() - t->user_ns;
    if (ns > slept)
        t->user += ns - slept;
    t->user_ns = 0;
    return 1;
}

/* sched_process_exit, once for each thread: its id may be another's at any time from here. */
int on_end(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 *slot = slots.lookup(&id);

    if (!slot)
        return 1;
    u32 n = *slot;
    struct thread *t = threads.lookup(&n);
    if (t) {
        t->end_ns = bpf_ktime_get_ns();
        t->id |= ENDED;
    }
    slots.delete(&id);
    return 1;
}
