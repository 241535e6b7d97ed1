// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Who has the CPU while vCPUs wait for it, who wakes them, and what they are blocked on. Attached only while somebody
 * looks; collector.bpf.c, whose programs run before these at the same tracepoints, tells their states (thread.h).
 *
 * A vCPU's thread that waits has its bit set in the row of the CPU whose run queue it is on. Whatever takes that CPU
 * from what ran there so far (a switch, the beginning or end of an interrupt) charges those whose bits are set with the
 * time since the last such moment, to what ran. So the charges of a wait are all of it, but for what a CPU quota has
 * withheld. A thread's bit and row change under the lock of the run queue that it is on, or is leaving
 * (sched_migrate_task); nobody else's do, so only the adding of bits is atomic.
 *
 * Flags, from bpf/scheduling.py: TASK_*, CFS_*, RQ_*: offsets in the kernel's structures; REGS: bpf_task_pt_regs is
 * there, and REGS_CALL, REGS_ARGUMENT: what it leads to; PREEMPT_COUNT, CPU_OFFSETS: where the kernel has each CPU's
 * count of nested interrupts, absent where nobody knows; THREADS, WORDS (of bits for THREADS), ROWS, CPUS: sizes.
 */
#include "bucket.h"
#include "charge.h"
#include "task.h"
#include "thread.h"
#include "beside.h"
#include "preempt.h"

BPF_F_TABLE("array", u32, struct row, rows, ROWS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct waiter, waiters, THREADS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct runner, runners, CPUS, MAP_FLAGS);
BPF_HASH(places, struct key, u32, ROWS);
BPF_STACK(free_rows, u32, ROWS);
BPF_TABLE("stacktrace", int, struct bpf_stacktrace, stacks, 1024);

static __always_inline struct runner *runner_of(u32 n)
{
    return runners.lookup(&n);
}

static __always_inline struct runner *runner(void)
{
    return runner_of(bpf_get_smp_processor_id());
}

/* The row of a slot; it is anew where the slot was another thread's. */
static __always_inline struct waiter *waiter(u32 slot, struct thread *t)
{
    struct waiter *w = waiters.lookup(&slot);

    if (w && w->id != t->id) {
        w->mark = w->waking_ns = w->woken_ns = w->asleep_ns = w->count = w->total = w->max = 0;
        for (int i = 0; i < BUCKETS; i++)
            w->hist[i & (BUCKETS - 1)] = 0;
        w->id = t->id;
    }
    return w;
}

/* A vCPU's thread that is looked at, by its id; its slot. */
static __always_inline struct thread *watched(u32 tid, u32 *slot)
{
    struct thread *t = thread_of(tid, slot);
    struct config *g = config();

    return t && g && (!g->pid || t->id >> 32 == g->pid) ? t : 0;
}

#include "rows.h"
#include "charging.h"

/* It sleeps, and not because its guest halts. */
static __always_inline void blocks(struct waiter *w, void *task, s32 stack, u64 since)
{
    w->asleep_ns = since;
    w->stack = stack;
    w->call = NO_CALL;
#ifdef REGS
    void *regs = ((void *(*)(void *))175)(task); /* bpf_task_pt_regs */
    u64 call, argument;
    LOAD(u64, call, regs, REGS_CALL);
    LOAD(u64, argument, regs, REGS_ARGUMENT);
    w->call = call << 32 | (u32)argument;
#endif
}

/* sched_switch(preempt, prev, next). */
int on_switch(void *ctx)
{
    void *prev = (void *)ARGUMENT(1), *next = (void *)ARGUMENT(2);
    u32 pid, tid, tgid, n = bpf_get_smp_processor_id();
    struct runner *r = runner_of(n);
    struct cpu *cpu = cpus.lookup(&n);

    LOAD(u32, pid, prev, TASK_PID);
    LOAD(u32, tid, next, TASK_PID);
    LOAD(u32, tgid, next, TASK_TGID);
    if (!r || !cpu)
        return 0;
    u32 slot = cpu->slot; /* of next, as collector.bpf.c has just found out */
    if (slot) {
        struct thread *t = threads.lookup(&slot);
        struct config *g = config();
        if (t && g && (!g->pid || t->id >> 32 == g->pid)) {
            struct waiter *w = waiter(slot, t);
            if (w)
                end(w, t, slot, t->since_ns);
        }
    }
    charge_all(r, 0, 1);
    r->task = (u64)tgid << 32 | tid;
    r->known = 1;
    if (is_vcpu(pid)) {
        struct thread *t = watched(pid, &slot);
        struct waiter *w = t ? waiter(slot, t) : 0;
        if (w && t->off == WAIT && !w->mark) {
            w->withheld = t->withheld;
            w->begin_ns = t->since_ns;
            begin(w, slot, n, t->since_ns);
        } else if (w && t->off == BLOCKED) {
            int stack = stacks.get_stackid(ctx, 0);
            blocks(w, prev, stack, t->since_ns);
        }
    }
    return 0;
}

/* Who wakes somebody on this CPU. */
static __always_inline void waking(struct runner *r, struct actor *a)
{
    u32 count = preempt_count(&r->base);
    u64 id = bpf_get_current_pid_tgid();
    a->who = id;
    a->by = (u32)id ? TASK : IDLE_CPU;
    if (r->hard) {
        a->who = r->hard & 0xfffffff;
        a->by = r->hard >> 28;
    } else if (count & HARDIRQ_MASK) {
        a->who = 0;
        a->by = OTHER_INTERRUPT;
    } else if (r->soft) {
        a->who = r->soft - 1;
        a->by = SOFTIRQ;
    }
}

/* sched_waking(task): somebody wakes it, on this CPU. */
int on_waking(void *ctx)
{
    void *task = (void *)ARGUMENT(0);
    struct runner *r;
    struct waiter *w;
    struct config *g = config();
    u32 tid, slot;

    LOAD(u32, tid, task, TASK_PID);
    if (!is_vcpu(tid))
        return 0;
    struct thread *t = watched(tid, &slot);
    if (!t || !g || !(r = runner()) || !(w = waiter(slot, t)))
        return 0;
    struct actor a;
    waking(r, &a);
    w->waking_ns = bpf_ktime_get_ns();
    w->waker = a;
    if (t->off == BLOCKED && !w->asleep_ns) { /* since before somebody looked */
        w->asleep_ns = t->since_ns > g->since_ns ? t->since_ns : g->since_ns;
        w->stack = -1;
        w->call = NO_CALL;
    }
    struct key k = {.id = w->id, .who = a.who, .kind = WOKEN, .by = a.by, .stack = -1};
    add(&k, r, 1, 0, 1);
    return 0;
}

/* sched_wakeup(task): it is on a run queue, whose lock is held, if it was asleep. */
int on_wake(void *ctx)
{
    void *task = (void *)ARGUMENT(0);
    struct runner *r;
    struct waiter *w;
    u32 tid, cpu, slot;

    LOAD(u32, tid, task, TASK_PID);
    LOAD(u32, cpu, task, TASK_CPU);
    if (!is_vcpu(tid))
        return 0;
    struct thread *t = watched(tid, &slot);
    if (!t || t->off != WAIT || !(r = runner()) || !(w = waiter(slot, t)) || w->mark)
        return 0;
    u64 since = t->since_ns; /* when it was woken, as collector.bpf.c has just told */
    if (w->asleep_ns) {
        struct key k = {.id = w->id, .who = w->waker.who, .call = w->call, .kind = HELD_UP, .by = w->waker.by,
                        .stack = w->stack};
        u64 ns = since - w->asleep_ns;
        w->asleep_ns = 0;
        add(&k, r, 0, (s64)ns > 0 ? ns : 0, 1);
    }
    w->woken_ns = w->waking_ns ? w->waking_ns : since;
    w->waking_ns = 0;
    w->withheld = t->withheld;
    w->begin_ns = since;
    begin(w, slot, cpu, since);
    return 0;
}

/* sched_migrate_task(task, CPU): the lock of the run queue that it waits on is held. */
int on_migrate(void *ctx)
{
    void *task = (void *)ARGUMENT(0);
    struct runner *r;
    struct waiter *w;
    struct actor a;
    u32 tid, slot, to = ARGUMENT(1);

    LOAD(u32, tid, task, TASK_PID);
    if (!is_vcpu(tid))
        return 0;
    struct thread *t = watched(tid, &slot);
    if (!t || t->off != WAIT || !(w = waiter(slot, t)) || !w->mark || w->cpu == to || !(r = runner_of(w->cpu)))
        return 0;
    u64 now = bpf_ktime_get_ns();
    actor_of(r, &a);
    charge(w, t, &a, r, w->cpu == bpf_get_smp_processor_id(), now, 1);
    set(r, slot, -1ULL);
    w->mark = 0;
    begin(w, slot, to, now);
    return 0;
}

/* Interrupts: what they interrupt does not have the CPU meanwhile. */
static __always_inline int hard(u32 what)
{
    struct runner *r = runner();

    if (r) {
        charge_all(r, 1, !what);
        r->hard = what;
    }
    return 0;
}

static __always_inline int soft(u32 what)
{
    struct runner *r = runner();

    if (r) {
        charge_all(r, 0, !what);
        r->soft = what;
    }
    return 0;
}

int on_irq(void *ctx)
{
    return hard(INTERRUPT << 28 | (ARGUMENT(0) & 0xfffffff));
}

int on_timer(void *ctx)
{
    return hard(TIMER << 28);
}

int on_vector(void *ctx)
{
    return hard(OTHER_INTERRUPT << 28);
}

int on_hard_end(void *ctx)
{
    return hard(0);
}

/* In ksoftirqd they are what that task does, which has the CPU as any other. */
int on_softirq(void *ctx)
{
    char comm[16] = {};

    bpf_get_current_comm(comm, sizeof(comm));
    return *(u64 *)comm == KSOFTIRQ ? 0 : soft(ARGUMENT(0) + 1);
}

int on_softirq_end(void *ctx)
{
    return soft(0);
}
