// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Times every exit, kvm_exit to the next kvm_entry of the same thread, and tells in which state each vCPU's thread is
 * at any time, from events alone (thread.h).
 *
 * A vCPU thread has a slot in `threads`, each of its reasons a cell in `cells`. The thread itself writes to them, and
 * while it sleeps whoever wakes it, under the run queue's lock: so nothing is atomic and nothing is per CPU. User
 * space reads both through mmap and gives slots back when it has read the last of a thread that has ended
 * (sched_process_exit).
 * On the way of an exit there is no hash table: the CPU knows the slot that runs on it, the slot its cells. Array
 * look-ups are inlined by the kernel, a hash look-up costs about 150 instructions. A switch between two threads that
 * are no vCPUs costs a look at the CPU's slot and at one bit.
 *
 * Programs on classic tracepoints return 1: with 0 the kernel would hide the event from every perf that
 * records it at the same time (perf_trace_run_bpf_submit in kernel/trace/trace_event_perf.c).
 *
 * Flags, from bpf/collector.py: EXIT_REASON, EXIT_ISA, EXIT_VCPU, ENTRY_VCPU, USER_REASON, USER_ERRNO, FPU_LOAD,
 * SWITCH_*, WAKE_PID, INJECT_REASON: offsets of fields in the tracepoints' records, absent where the kernel has no such field;
 * SKIP(tgid): true for processes that are not wanted; RAW: what can comes as a raw tracepoint; from
 * bpf/kvm_exit.py: RAW_VCPU, VCPU_ID, SVM_*, VMX_*, RDONLY_CAST, ENDLESS: how kvm_exit can, too (exits.h); from
 * bpf/sched.py:
 * TYPED: sched_switch and sched_wakeup come with the kernel's types, and TASK_*, NOTE_*, CFS_*, RQ_*: offsets in its
 * structures; BLOCK_AT, BLOCK_SIZE: where kvm_vcpu_block lies, where NOTE_TASK is unknown; THREADS, CELLS, CPUS:
 * entries of the maps; MAP_FLAGS.
 */
#include "bucket.h"
#include "task.h"
#include "thread.h"

#define CHAIN 8        /* cells that may share a way */
#define KVM_EXIT_HLT 5 /* include/uapi/linux/kvm.h */

struct cell {
    u32 reason;
    u32 isa;
    u32 thread;
    u32 next;
    u64 count;
    u64 total;
    u64 part[STATES - USER]; /* from USER on; KERNEL has the rest */
    u64 min;
    u64 max;
    u64 hist[BUCKETS];
};

BPF_F_TABLE("array", u32, struct thread, threads, THREADS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct cell, cells, CELLS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct cpu, cpus, CPUS, MAP_FLAGS);
/* One value, a bit for each thread id. Made by collector.py: libbcc takes seconds to declare so large a one. */
BPF_ARRAY(bits, u64, 1);
BPF_HASH(slots, u32, u32, THREADS); /* by thread id */
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
#define ARGUMENT(n) (((u64 *)ctx)[n])
#define KEY(row) (*(u64 *)&(row)->reason) /* with the isa beside it */

#include "slots.h"
#include "states.h"
#include "exits.h"

int on_exit(void *ctx)
{
    struct thread *t = left_guest(ctx, 0);

    if (t) {
        t->reason = FIELD(EXIT_REASON);
        t->isa = 0;
#ifdef EXIT_ISA
        t->isa = FIELD(EXIT_ISA);
#endif
#ifdef EXIT_VCPU
        t->vcpu = FIELD(EXIT_VCPU);
#endif
#ifdef RAW_VCPU
        t->record_ns = t->exit_ns;
#endif
    }
    return 1;
}

#ifdef RAW_VCPU
/* Instead of on_exit; for a moment both are attached, and who comes second leaves the exit alone (left_guest). */
int on_exit_raw(void *ctx)
{
    struct thread *t = left_guest(ctx, 1);

    if (t) {
        u64 vcpu = ARGUMENT(RAW_VCPU);
        t->isa = ARGUMENT(RAW_VCPU + 1);
        t->reason = reason_of(ctx);
        if (t->address != vcpu) {
            t->vcpu = number_of(vcpu);
            t->address = vcpu;
        }
    }
    return 0;
}

/* Behind on_exit, to see whether on_exit_raw would count the same: exits.h. */
int on_check(void *ctx)
{
    struct cpu *cpu = this_cpu();
    struct thread *t;

    /* A classic program may miss an event: of one exit there is one record. */
    if (!cpu || !(t = find(cpu)) || t->record_ns != t->exit_ns || t->record_ns == t->checked_ns)
        return 0;
    t->checked_ns = t->record_ns;
    u32 reason = reason_of(ctx), isa = ARGUMENT(RAW_VCPU + 1);
    if (reason == t->reason && isa == t->isa && number_of(ARGUMENT(RAW_VCPU)) == t->vcpu) {
        cpu->reasons |= 1ULL << (reason & (WAYS - 1));
        cpu->agreed++;
    } else {
        cpu->differed++;
    }
    return 0;
}
#endif

int on_entry(void *ctx)
{
    struct cpu *cpu = this_cpu();

    if (!cpu)
        return 1;
    struct thread *t = find(cpu);
    if (!t && !wanted())
        return 1;
    u64 now = bpf_ktime_get_ns();
    if (!t) { /* in the kernel or in user space when counting began */
        add_here(cpu, now);
        return 1;
    }
#ifdef ENTRY_VCPU
    t->vcpu = FIELD(ENTRY_VCPU);
#endif
    u64 exit = t->exit_ns;
    if (t->parts) {
        awake(t, now);
        if (exit)
            leave(t, now);
        t->where = KERNEL;
    }
    if (exit <= UNSEEN) { /* its first; or a failed VM-entry, or an exit that the kernel did not hand to us */
        if (!exit) {
            if (t->pairs) /* else its exit may have come just before kvm_exit was attached */
                t->unpaired++;
            t->spent[GUEST] += now - t->since_ns;
        }
        t->exit_ns = 0;
        t->since_ns = now;
        return 1;
    }
    t->exit_ns = 0;
    t->since_ns = now;
    t->cpu = cpu->number;
    struct cell *c = cell_of(cpu, t);
    if (!c) {
        cpu->lost++;
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
    if (t->parts) {
        c->part[0] += t->part[USER];
        if (t->parts & OFF_CPU) {
#pragma unroll
            for (int i = IDLE; i < STATES; i++)
                c->part[i - USER] += t->part[i];
        }
    }
#ifdef DURATIONS
    struct duration d = {t->reason, t->isa, ns};
    durations.push(&d, 0);
#endif
    return 1;
}

#include "nested.h"

/* kvm_userspace_exit(reason, errno): KVM_RUN returns to the VMM. */
int on_user(void *ctx)
{
#ifdef RAW
    u32 reason = ARGUMENT(0);
    s32 error = ARGUMENT(1);
#else
    u32 reason = FIELD(USER_REASON);
    s32 error = FIELD(USER_ERRNO);
#endif
    struct cpu *cpu = this_cpu();

    if (!cpu)
        return 1;
    cpu->userspace++;
    struct thread *t = find(cpu);
    if (!t && !wanted())
        return 1;
    u64 now = bpf_ktime_get_ns();
    if (!t) {
        t = add_here(cpu, now);
        if (!t)
            return 1;
        t->exit_ns = UNSEEN;
    }
    awake(t, now);
    leave(t, now);
    if (!t->exit_ns)
        t->exit_ns = UNSEEN;
#ifdef RAW_VCPU
    t->address = 0; /* the next KVM_RUN may be of another vCPU, at the same address */
#endif
    t->where = USER;
    t->parts |= SOME;
    t->halts = reason == KVM_EXIT_HLT && error >= 0;
    return 1;
}

/*
 * kvm_fpu(load): 1 at the start of KVM_RUN, 0 at its end (kvm_load_guest_fpu in arch/x86/kvm/x86.c). What KVM_RUN does
 * before is the way in of a system call, and counts as user space's.
 */
int on_fpu(void *ctx)
{
#ifdef RAW
    u32 load = ARGUMENT(0);
#else
    u32 load = FIELD(FPU_LOAD);
#endif
    struct cpu *cpu;
    struct thread *t;

    if (!load)
        return 1;
    cpu = this_cpu();
    if (!cpu || !(t = find(cpu)) || t->where != USER)
        return 1;
    u64 now = bpf_ktime_get_ns();
    u64 ns = now - t->since_ns; /* as leave() has it: who is in user space has an open exit, with parts */
    t->spent[USER] += ns;
    t->part[USER] += ns;
    t->since_ns = now;
    t->where = KERNEL;
    return 1;
}

#if defined TYPED || defined BLOCK_AT /* else there are no scheduler events */
#ifdef TYPED
/* sched_switch(preempt, prev, next), and since 5.18 the state that prev had before a signal may have changed it. */
int on_switch(void *ctx)
{
    void *prev = (void *)ARGUMENT(1), *next = (void *)ARGUMENT(2);
    u64 note = 0;
    u32 pid, tid, state = 0;

#ifdef TASK_NOTES
    LOAD(u64, note, prev, TASK_NOTES);
#endif
    LOAD(u32, pid, prev, TASK_PID);
    LOAD(u32, tid, next, TASK_PID);
    u64 comes = is_vcpu(tid);
    if (!comes) {
        asm volatile(""); /* or clang makes one test of them, and the verifier knows note as a pointer */
        if (!note && !is_vcpu(pid))
            return 0;
    }
    struct cpu *cpu = this_cpu();
    if (!cpu)
        return 0;
    u32 slot = cpu->slot;
    u64 now = bpf_ktime_get_ns();
    struct thread *t = threads.lookup(&slot);
    cpu->slot = 0;
    if (!(u8)ARGUMENT(0))
        LOAD(u32, state, prev, TASK_STATE);
    if (slot && t && (u32)t->id == pid) {
        switched_out(ctx, t, prev, note, state, now);
#ifdef NOTE_TASK
    } else if (note && state && !is_vcpu(pid) && halted(ctx, prev, note)) {
        /* A vCPU that has never left the guest since counting began, nor entered it: it waits to be started. */
        u32 tgid, vcpu = 0;
        LOAD(u32, tgid, prev, TASK_TGID);
        if (!SKIP(tgid)) {
            t = add(cpu, (u64)tgid << 32 | pid, now, &slot);
            if (t) {
                bpf_probe_read_kernel(&vcpu, sizeof(vcpu), (char *)note + NOTE_VCPU);
                t->vcpu = vcpu;
                t->exit_ns = UNSEEN;
                t->off = IDLE;
                t->parts = SOME;
            }
        }
#endif
    }
    if (comes)
        switched_in(cpu, tid, next, now);
    return 0;
}

int on_wake(void *ctx)
{
    void *task = (void *)ARGUMENT(0);
    u32 tid;

    LOAD(u32, tid, task, TASK_PID);
    if (is_vcpu(tid))
        woken(tid, task);
    return 0;
}
#else
int on_switch(void *ctx)
{
    struct cpu *cpu = this_cpu();
    u32 tid = FIELD(SWITCH_NEXT), slot, comes;

    if (!cpu)
        return 1;
    comes = is_vcpu(tid);
    slot = cpu->slot;
    if (!slot && !comes)
        return 1;
    u64 now = bpf_ktime_get_ns();
    struct thread *t = threads.lookup(&slot);
    cpu->slot = 0;
    /* The low bits are the states in which one sleeps; a bit above says that it was preempted (TASK_REPORT_MAX). */
    if (slot && t && (u32)t->id == FIELD(SWITCH_PREV))
        switched_out(ctx, t, 0, 0, FIELD(SWITCH_STATE) & 0xff, now);
    if (comes)
        switched_in(cpu, tid, 0, now);
    return 1;
}

int on_wake(void *ctx)
{
    u32 tid = FIELD(WAKE_PID);

    if (is_vcpu(tid))
        woken(tid, 0);
    return 1;
}
#endif
#endif

/* Run by bpf/collector.py, not by an event: (slot) how much of an open wait is withheld by now. */
int on_peek(void *ctx)
{
#ifdef TASK_CFS
    u32 slot = ARGUMENT(0);
    struct thread *t = threads.lookup(&slot);

    if (!t || t->off != WAIT)
        return 0;
    u64 since = t->since_ns, ahead = t->ahead, cfs = t->cfs, withheld = 0;
    u64 now = bpf_ktime_get_ns();
    WITHHELD(PROBE, cfs, ahead, now, withheld);
    t->peek_ns = of_wait(t, withheld, now);
    t->peek_at = now;
    t->peek_since = since;
#endif
    return 0;
}

/* The same: (pid_tgid, vCPU, state) a thread that sleeps in KVM_RUN since before counting began. */
int on_seed(void *ctx)
{
    u64 id = ARGUMENT(0);
    u32 vcpu = ARGUMENT(1), state = ARGUMENT(2), tid = id, slot = 0;
    struct cpu *cpu = this_cpu();
    struct thread *t;

    if (!cpu || slots.lookup(&tid))
        return 0; /* it has woken up already */
    t = add(cpu, id, bpf_ktime_get_ns(), &slot);
    if (!t)
        return 0;
    t->vcpu = vcpu;
    t->exit_ns = UNSEEN;
    t->off = state == IDLE ? IDLE : BLOCKED;
    t->parts = SOME; /* should it have woken up meanwhile, its next exit or entry sees it */
    return 1;
}

/* sched_process_exit, once for each thread: its id may be another's at any time from here. */
int on_end(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 tid = id, *slot = slots.lookup(&tid);
    struct cpu *cpu = this_cpu();

    if (!slot || !cpu)
        return 1;
    u32 n = *slot;
    struct thread *t = threads.lookup(&n);
    if (t) {
        u64 now = bpf_ktime_get_ns();
        awake(t, now);
        leave(t, now);
        t->end_ns = now;
        t->id |= ENDED;
        t->task = 0;
    }
    if (cpu->slot == n)
        cpu->slot = 0;
    mark(tid, -1ULL);
    slots.delete(&tid);
    return 1;
}
