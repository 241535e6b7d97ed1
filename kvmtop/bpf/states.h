/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How a vCPU's thread goes from state to state (thread.h): for collector.bpf.c, whose maps these are. */

static __always_inline void spend(struct thread *t, u32 state, u64 ns)
{
    t->spent[state & 7] += ns;
    if (t->exit_ns)
        t->part[state & 7] += ns;
}

/* The state on a CPU ends now; that of KERNEL needs no account. */
static __always_inline void leave(struct thread *t, u64 now)
{
    if (!t->exit_ns)
        t->spent[GUEST] += now - t->since_ns;
    else if (t->where == USER)
        spend(t, USER, now - t->since_ns);
    t->parts |= SOME; /* in the guest, too: a classic tracepoint may lose the switch back, and the next exit must see it */
    t->since_ns = now;
}

/* It runs, though nobody saw it switched in: it was awake already when it was noted as asleep. */
static __always_inline void awake(struct thread *t, u64 now)
{
    if (t->off) {
        spend(t, t->off, now - t->since_ns);
        t->since_ns = now;
        t->off = 0;
        t->parts = ALL;
    }
}

#ifndef TYPED
static __always_inline u64 is_vcpu(u32 tid)
{
    u32 zero = 0;
    u64 *word = bits.lookup(&zero);

    return word && word[WORD(tid)] >> (tid & 63) & 1;
}
#endif

/* It waits for a CPU from now on. */
static __always_inline void wait(struct thread *t, void *task, u64 now)
{
    t->off = WAIT;
#ifdef TASK_CFS
    u64 ahead = 0, withheld, cfs;

    LOAD(u64, cfs, task, TASK_CFS);
    WITHHELD(LOAD, cfs, ahead, now, withheld);
    t->withheld = withheld;
    t->ahead = ahead;
    t->cfs = cfs;
#endif
}

#ifdef TASK_CFS
/* How much of a wait its run queue's quota has withheld by now; what on_peek has told of it stays told. */
static __always_inline u64 of_wait(struct thread *t, u64 withheld, u64 now)
{
    u64 ns = now - t->since_ns;

    withheld -= t->withheld;
    if ((s64)withheld < 0) /* its group is gone */
        withheld = 0;
    if (withheld > ns)
        withheld = ns;
    if (t->peek_since == t->since_ns) {
        u64 waited = t->peek_at - t->since_ns - t->peek_ns;
        if (withheld < t->peek_ns)
            withheld = t->peek_ns;
        if (withheld > ns - waited)
            withheld = ns - waited;
    }
    return withheld;
}
#endif

/* It has a CPU again. */
static __always_inline void run(struct thread *t, void *task, u64 now)
{
    u64 ns = now - t->since_ns;

    if (t->exit_ns)
        t->parts = ALL;
#ifdef TASK_CFS
    if (t->off == WAIT) {
        u64 ahead = 0, withheld, cfs, same;

        LOAD(u64, cfs, task, TASK_CFS);
        if (cfs == t->cfs) {
            LOAD(u64, same, task, TASK_CFS); /* clang would take t->cfs instead, which the verifier does not know */
            WITHHELD(LOAD, same, ahead, now, withheld);
        } else { /* moved to another CPU or group: what withheld is where it waited */
            cfs = t->cfs;
            ahead = t->ahead;
            WITHHELD(PROBE, cfs, ahead, now, withheld);
        }
        withheld = of_wait(t, withheld, now);
        spend(t, THROTTLED, withheld);
        ns -= withheld;
    }
#endif
    spend(t, t->off, ns);
    t->since_ns = now;
    t->off = 0;
}

#if defined TYPED || defined BLOCK_AT /* else there are no scheduler events */
#ifdef NOTE_TASK
/*
 * Whether it sleeps in kvm_vcpu_block: KVM's vcpu_load notes itself in the task (preempt_notifier_register), and the
 * vCPU there whom to wake (prepare_to_rcuwait).
 */
static __always_inline bool halted(void *ctx, void *task, u64 note)
{
    u64 waiting = 0;

    if (note)
        bpf_probe_read_kernel(&waiting, sizeof(waiting), (char *)note + NOTE_TASK);
    return note && waiting == (u64)task;
}
#else
/* The same by the kernel's stack, which costs 5,000 instructions. */
static __always_inline bool halted(void *ctx, void *task, u64 note)
{
    u64 ip[12] = {};
    bool in = 0;

    bpf_get_stack(ctx, ip, sizeof(ip), 0);
#pragma unroll
    for (int i = 0; i < 12; i++)
        in |= ip[i] - BLOCK_AT < BLOCK_SIZE;
    return in;
}
#endif

/* A thread in a slot is switched out, because it sleeps or not. */
static __always_inline void switched_out(void *ctx, struct thread *t, void *task, u64 note, bool sleeps, u64 now)
{
    leave(t, now);
    if (!sleeps)
        wait(t, task, now);
    else
        t->off = halted(ctx, task, note) || (t->where == USER && t->halts) ? IDLE : BLOCKED;
}

/* The thread of an id that has a slot. */
static __always_inline struct thread *known(u32 tid, u32 *slot)
{
    u32 *found = slots.lookup(&tid);

    if (!found)
        return 0;
    *slot = *found;
    return threads.lookup(slot);
}

static __always_inline void switched_in(struct cpu *cpu, u32 tid, void *task, u64 now)
{
    u32 slot;
    struct thread *t = known(tid, &slot);

    if (!t)
        return;
    cpu->slot = slot;
    cpu->number = bpf_get_smp_processor_id();
    if (t->off)
        run(t, task, now);
}

/* Under the lock of its run queue, after it was switched out and before it is switched in. */
static __always_inline void woken(u32 tid, void *task)
{
    u32 slot;
    struct thread *t = known(tid, &slot);

    if (!t || (t->off != IDLE && t->off != BLOCKED))
        return; /* it has not been switched out yet */
    u64 now = bpf_ktime_get_ns();
    if (t->exit_ns)
        t->parts = ALL;
    spend(t, t->off, now - t->since_ns);
    t->since_ns = now;
    wait(t, task, now);
}
#endif
