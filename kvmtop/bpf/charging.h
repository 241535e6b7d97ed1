/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How waits are charged to who has the CPU (charge.h): for scheduling.bpf.c, whose maps these are. */

/* What has a CPU now. */
static __always_inline void actor_of(struct runner *r, struct actor *a)
{
    u32 hard = r->hard, soft = r->soft;

    a->who = hard ? hard & 0xfffffff : soft ? soft - 1 : r->task;
    a->by = hard ? hard >> 28 : soft ? SOFTIRQ : !r->known ? UNKNOWN : a->who ? TASK : IDLE_CPU;
}

/* Whom a row is about: the current task. */
static __always_inline void introduce(struct row *row)
{
    u32 flags = 0;

    PROBE(u32, flags, bpf_get_current_task(), TASK_FLAGS);
    row->key.zero = !!(flags & PF_KTHREAD);
    row->cgroup = bpf_get_current_cgroup_id();
    bpf_get_current_comm(row->comm, sizeof(row->comm));
}

/* here: the actor is on this CPU, so a task is the current one. */
static __always_inline struct row *row_for(struct key *k, struct runner *r, bool here)
{
    u32 place = 0;
    bool fresh = 0;
    struct row *row = row_of(k, &place, &fresh);

    if (row && fresh) {
        if (place > r->top)
            r->top = place;
        if (here && k->by == TASK)
            introduce(row);
    }
    return row;
}

static __always_inline void add(struct key *k, struct runner *r, bool here, u64 ns, u64 count)
{
    struct row *row = row_for(k, r, here);

    if (!row) { /* what has no room is nobody's */
        k->who = k->by = 0;
        row = row_for(k, r, 0);
        if (!row)
            return;
    }
    if (here && count && row->ns && k->kind == BEHIND && k->by == TASK)
        introduce(row); /* it may have become another program, or its id another's */
    row->ns += ns;
    row->count += count;
    if (ns > row->max)
        row->max = ns;
}

/* Of a wait, what has passed since it was charged last: to the actor. ends: the actor has had the CPU by then. */
static __always_inline void charge(struct waiter *w, struct thread *t, struct actor *a, struct runner *r, bool here,
                                   u64 now, bool ends)
{
    u64 ns = now - w->mark;

    if ((s64)ns <= 0) /* an interrupt came between */
        return;
    w->mark = now;
    w->last = *a;
#ifdef TASK_CFS
    u64 ahead = t->ahead, withheld = 0, cfs = t->cfs;
    WITHHELD(PROBE, cfs, ahead, now, withheld);
    u64 lost = withheld - w->withheld;
    w->withheld = withheld;
    if ((s64)lost > 0)
        ns = lost < ns ? ns - lost : 0;
#endif
    struct key k = {.id = w->id, .who = a->who, .kind = BEHIND, .by = a->by, .stack = -1};
    add(&k, r, here, ns, ends);
}

/* A CPU's word of bits, with an index that the verifier knows to be within them, however many there are. */
static __always_inline u64 *word_of(struct runner *r, u64 at)
{
    asm volatile("" : "+r"(at));
    if (at >= WORDS)
        return 0;
    asm volatile("" : "+r"(at));
    return &r->bits[at];
}

/* Its bit; not twice, since what is added to a bit that is set would carry. */
static __always_inline void set(struct runner *r, u32 slot, u64 one)
{
    u64 *word = word_of(r, slot >> 6);

    if (!word || (*word >> (slot & 63) & 1) == (one == 1))
        return;
    __sync_fetch_and_add(word, one << (slot & 63));
    __sync_fetch_and_add(&r->waiting, one);
}

/* The next word of bits, or the next waiter of this one, which is charged; whether there may be more. */
static __always_inline bool step(struct runner *r, u32 level, struct actor *a, u64 now, bool ends)
{
    u64 left = r->left[level];
    u32 next = r->next[level];

    if (!left) {
        u64 *word = word_of(r, next);
        if (!word)
            return 0;
        r->left[level] = *word;
        r->next[level] = next + 1;
        return 1;
    }
    u32 slot = (next - 1) << 6 | lowest(left);
    r->left[level] = left & (left - 1);
    struct thread *t = threads.lookup(&slot);
    struct waiter *w = waiters.lookup(&slot);
    if (!t || !w || t->id != w->id || !w->mark || w->cpu != bpf_get_smp_processor_id())
        return 1; /* it is leaving just now */
    if (t->off == WAIT) {
        charge(w, t, a, r, 1, now, ends);
    } else { /* it has a CPU, and nobody saw it switched in */
        set(r, slot, -1ULL);
        w->mark = 0;
    }
    return 1;
}

/*
 * What had this CPU until now has it no more, or not alone: all who wait for it are charged. level: 1 in an interrupt's
 * handler, whose programs may come between those of a softirq.
 */
static __always_inline void charge_all(struct runner *r, u32 level, bool ends)
{
    struct actor a;

    if (!r->waiting)
        return;
    u64 now = bpf_ktime_get_ns();
    actor_of(r, &a);
    r->left[level] = r->next[level] = 0;
    /* Its way back is a jump, since kernels as 6.1 refuse one that is fallen through (check_cfg in verifier.c). */
    u32 steps = 0;
    bool more;
    do {
        more = step(r, level, &a, now, ends);
        asm volatile("" : "+r"(more));
    } while (more && ++steps < WORDS + MOST);
}

/* It waits on the run queue of a CPU from `since` on. */
static __always_inline void begin(struct waiter *w, u32 slot, u32 cpu, u64 since)
{
    struct runner *r = runner_of(cpu);

    if (!r || r->waiting >= MOST)
        return;
    w->cpu = cpu;
    w->mark = since;
    set(r, slot, 1);
}

/* It has a CPU since `now`. */
static __always_inline void end(struct waiter *w, struct thread *t, u32 slot, u64 now)
{
    struct runner *r;
    struct actor a;

    if (w->mark) {
        r = runner_of(w->cpu);
        if (r) {
            actor_of(r, &a);
            charge(w, t, &a, r, w->cpu == bpf_get_smp_processor_id(), now, 1);
            set(r, slot, -1ULL);
        }
        w->mark = 0;
        w->end_ns = now;
    }
    if (w->woken_ns) {
        u64 ns = now - w->woken_ns;
        w->woken_ns = 0;
        w->hist[bucket(ns) & (BUCKETS - 1)]++;
        w->count++;
        w->total += ns;
        if (ns > w->max)
            w->max = ns;
    }
}
