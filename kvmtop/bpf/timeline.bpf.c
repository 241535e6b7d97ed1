// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Every single exit, when a vCPU's thread does something else than run its guest or the kernel, and who has each CPU:
 * in rings of each CPU that overwrite what is oldest. Attached only while somebody looks; collector.bpf.c, whose
 * programs run before these at the same events, tells the threads' states (thread.h).
 *
 * The instants are collector.bpf.c's own, so what the rings tell adds up to what is counted, and no clock is read.
 * A record is written when what it tells of ends, by the thread itself: at an event of KVM, or at the switch that gives
 * it a CPU or takes it away. Neither can interrupt the other, since preemption is off while a program runs; and nothing
 * is written in an interrupt (who wakes a thread leaves a note for its next switch). So each ring has one writer at a
 * time, and nothing is atomic. A record's number is 0 while it is written: a reader that finds the same number before
 * and after has it whole.
 *
 * Flags, from bpf/timeline.py: TASK_*: offsets in the kernel's structures; KIND_*, AT_*: as detail.bpf.c has them;
 * PREEMPT_COUNT, CPU_OFFSETS: as scheduling.bpf.c has them; RAW: what can comes as a raw tracepoint; THREADS, CPUS,
 * EXITS, SPANS: sizes of the maps, the last two a power of two for each CPU; MAP_FLAGS.
 */
#include "task.h"
#include "thread.h"
#include "timeline.h"
#include "beside.h"
#include "preempt.h"

BPF_F_TABLE("array", u32, struct exit, exits, CPUS * EXITS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct span, spans, CPUS * SPANS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct open, opens, THREADS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct ring, rings, CPUS, MAP_FLAGS);

#define IN_ORDER asm volatile("" ::: "memory")

/* None while nobody looks. */
static __always_inline struct ring *ring(void)
{
    u32 n = bpf_get_smp_processor_id();
    struct config *g = config();

    if (!g || !g->since_ns)
        return 0;
    return rings.lookup(&n);
}

#include "following.h"

static __always_inline void touch(u32 kind, u64 value, u32 extra)
{
    u32 slot;
    struct thread *t;
    struct open *e;

    if (!(t = here(&slot)) || !(e = opens.lookup(&slot)) || e->id != t->id || !e->begin_ns)
        return;
    if (e->kind && e->kind != KIND_USER) /* that it left for user space says little */
        return;
    e->kind = kind;
    e->value = value;
    e->extra = extra;
}

#include "touches.h"

int on_exit(void *ctx)
{
    u32 slot;
    struct ring *r;
    struct thread *t;
    struct open *e;

    if (!(r = ring()) || !(t = here(&slot)) || !(e = open_of(slot, t)))
        return 1;
    /* collector.bpf.c comes first, but for the moment in which it changes from one program to the other. */
    u64 now = t->exit_ns;
    if (now <= UNSEEN || (e->first_ns && now == e->begin_ns))
        now = bpf_ktime_get_ns();
    if (!e->first_ns) {
        e->guest_ns = t->since_ns;
    } else if (e->begin_ns) { /* VMX's fast path may re-enter without a kvm_entry */
        r->missed++;
        e->guest_ns = 0;
    }
    follow(r, e, t, now);
    e->begin_ns = now;
    e->unseen = 0;
    e->rip = AT_EXIT_RIP;
    e->reason = AT_EXIT_REASON;
#ifdef AT_EXIT_ISA
    e->isa = AT_EXIT_ISA;
#endif
    e->kind = 0;
#ifdef AT_EXIT_INTR
    u32 intr = AT_EXIT_INTR;
    if (intr >> 31) { /* as detail.bpf.c has it */
        e->kind = KIND_VECTOR;
        e->value = intr & 0xff;
        e->extra = intr >> 8 & 7;
    }
#endif
    return 1;
}

int on_entry(void *ctx)
{
    u32 slot, n = bpf_get_smp_processor_id();
    struct config *g = config();
    struct ring *r;
    struct thread *t;
    struct open *e;

    if (!g || !(r = ring()) || !(t = here(&slot)) || !(e = open_of(slot, t)))
        return 0;
    u64 now = t->since_ns, begin = e->begin_ns;
    u32 known = e->first_ns || t->first_ns < g->since_ns; /* or it is a new thread, which enters for the first time */
    if (e->first_ns && !begin && !e->unseen)
        r->missed++;
    follow(r, e, t, now);
    if (known) {
        u32 place = n * EXITS + (r->exits & (EXITS - 1));
        struct exit *x = exits.lookup(&place);
        if (!x)
            return 0;
        x->number = 0;
        IN_ORDER;
        x->guest_ns = e->guest_ns;
        x->begin_ns = begin;
        x->end_ns = now;
        x->idle_ns = t->parts & OFF_CPU ? t->part[IDLE] : 0;
        x->id = e->id;
        x->rip = e->rip;
        x->value = e->value;
        x->kind = e->kind;
        x->extra = e->extra;
        x->reason = begin && !e->unseen ? t->reason : NO_REASON;
        x->isa = t->isa;
        x->vcpu = t->vcpu;
        x->cpu = n;
        IN_ORDER;
        x->number = r->exits + 1;
        IN_ORDER;
        r->exits++;
    }
    e->begin_ns = 0;
    e->unseen = 0;
    e->rip = 0;
    e->kind = 0;
    e->guest_ns = now;
    return 0;
}

/* kvm_userspace_exit(reason, errno) */
int on_user(void *ctx)
{
#ifdef RAW
    u32 reason = ARGUMENT(0);
    s32 error = ARGUMENT(1);
#else
    u32 reason = AT_USER_REASON;
    s32 error = AT_USER_ERRNO;
#endif
    u32 slot;
    struct ring *r;
    struct thread *t;
    struct open *e;

    if (!(r = ring()) || !(t = here(&slot)) || !(e = open_of(slot, t)))
        return 0;
    if (!e->begin_ns && (e->first_ns || t->first_ns == t->since_ns)) { /* without an exit, or a new thread's first */
        e->begin_ns = t->since_ns;
        e->unseen = 1;
    }
    follow(r, e, t, t->since_ns);
    touch(KIND_USER, error < 0 ? 0 : reason, error < 0 ? INTERRUPTED : 0);
    return 0;
}

/* kvm_fpu: KVM_RUN begins */
int on_fpu(void *ctx)
{
    u32 slot;
    struct ring *r;
    struct thread *t;
    struct open *e;

    if ((r = ring()) && (t = here(&slot)) && (e = open_of(slot, t)))
        follow(r, e, t, t->since_ns);
    return 0;
}

/* sched_switch(preempt, prev, next) */
int on_switch(void *ctx)
{
    void *prev = (void *)ARGUMENT(1), *next = (void *)ARGUMENT(2);
    u32 pid, tid, n = bpf_get_smp_processor_id(), slot;
    struct ring *r = ring();
    struct cpu *cpu = cpus.lookup(&n);
    struct thread *t;
    struct open *e;
    u64 now = 0;

    LOAD(u32, pid, prev, TASK_PID);
    LOAD(u32, tid, next, TASK_PID);
    if (!r || !cpu)
        return 0;
    if (is_vcpu(pid) && (t = thread_of(pid, &slot)) && t->off && (e = open_of(slot, t))) {
        now = t->since_ns;
        follow(r, e, t, now);
    }
    slot = cpu->slot; /* of next, as collector.bpf.c has just found out */
    if (slot) {
        t = threads.lookup(&slot);
        if (t && (e = open_of(slot, t)))
            follow(r, e, t, t->since_ns);
    }
    if (!now)
        now = bpf_ktime_get_ns();
    u64 since = r->since_ns;
    r->since_ns = now;
    r->next = tid;
    if (!pid)
        return 0;
    u32 place = n * SPANS + (r->spans & (SPANS - 1));
    struct span *s = spans.lookup(&place);
    if (!s)
        return 0;
    s->number = 0;
    IN_ORDER;
    s->begin_ns = since; /* 0: since before somebody looked */
    s->end_ns = now;
    s->id = bpf_get_current_pid_tgid(); /* prev is the current task still */
    s->withheld = s->waker = 0;
    bpf_get_current_comm(s->comm, sizeof(s->comm));
    s->state = RAN;
    s->by = NOBODY;
    s->cpu = n;
    IN_ORDER;
    s->number = r->spans + 1;
    IN_ORDER;
    r->spans++;
    return 0;
}

/* sched_waking(task): somebody wakes it, on this CPU. */
int on_waking(void *ctx)
{
    void *task = (void *)ARGUMENT(0);
    u32 tid, slot;

    LOAD(u32, tid, task, TASK_PID);
    if (!is_vcpu(tid))
        return 0;
    struct thread *t;
    struct open *e;
    struct ring *r;
    if (!(r = ring()) || !(t = thread_of(tid, &slot)) || !(e = opens.lookup(&slot)) || e->id != t->id)
        return 0;
#ifdef PREEMPT_COUNT /* else nobody knows whether the current task wakes it, or an interrupt */
    if (preempt_count(&r->base) & (HARDIRQ_MASK | SOFTIRQ_OFFSET)) {
        e->by = AN_INTERRUPT;
        e->waker = 0;
        return 0;
    }
    e->by = A_TASK;
    e->waker = bpf_get_current_pid_tgid();
    bpf_get_current_comm(e->comm, sizeof(e->comm));
#endif
    return 0;
}

/* sched_wakeup(task): it is on a run queue, whose lock is held, if it was asleep. */
int on_wake(void *ctx)
{
    void *task = (void *)ARGUMENT(0);
    u32 tid, slot;

    LOAD(u32, tid, task, TASK_PID);
    if (!is_vcpu(tid))
        return 0;
    struct thread *t = thread_of(tid, &slot);
    if (!t || t->off != WAIT || !ring())
        return 0;
    struct open *e = open_of(slot, t);
    if (!e)
        return 0;
    if (!e->first_ns) { /* that it slept until now is for those to tell who saw it asleep before */
        e->first_ns = e->since_ns = t->since_ns;
        e->state = WAIT;
        e->withheld = t->spent[THROTTLED];
    } else if (e->state == IDLE || e->state == BLOCKED) {
        e->woken_ns = t->since_ns; /* as collector.bpf.c has just told */
    }
    return 0;
}

#ifdef AT_FAULT_ADDRESS
TOUCH(on_fault, KIND_FAULT, AT_FAULT_ADDRESS & ~0xfffULL, AT_FAULT_ERROR >> 1 & 1)
#endif
