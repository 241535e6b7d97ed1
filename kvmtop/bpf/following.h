/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a vCPU's thread does from one event to the next: for timeline.bpf.c, whose maps these are. */

/* What is not over of a thread. Its first event, or the slot was another's: the exit that is open is known by its
 * beginning, and what it does now by nobody. */
static __always_inline struct open *open_of(u32 slot, struct thread *t)
{
    struct open *e = opens.lookup(&slot);

    if (!e || e->id == t->id)
        return e;
    e->first_ns = e->guest_ns = e->since_ns = e->woken_ns = e->rip = 0;
    e->kind = e->state = 0;
    e->begin_ns = t->exit_ns > UNSEEN ? t->exit_ns : 0;
    e->unseen = t->exit_ns == UNSEEN;
    e->reason = t->reason;
    e->isa = t->isa;
    e->id = t->id;
    return e;
}

static __always_inline void tell(struct ring *r, struct open *e, u32 state, u64 begin, u64 end, u64 withheld, bool woken)
{
    u32 n = bpf_get_smp_processor_id(), place = n * SPANS + (r->spans & (SPANS - 1));
    struct span *s = spans.lookup(&place);

    if (!s)
        return;
    s->number = 0;
    IN_ORDER;
    s->begin_ns = begin;
    s->end_ns = end;
    s->id = e->id;
    s->withheld = withheld;
    s->by = NOBODY;
    s->waker = 0;
    if (woken) {
        s->by = e->by;
        s->waker = e->waker;
        __builtin_memcpy(s->comm, e->comm, sizeof(s->comm));
    }
    s->state = state;
    s->cpu = n;
    IN_ORDER;
    s->number = r->spans + 1;
    IN_ORDER;
    r->spans++;
}

/* What its thread does may be something else from `now` on. */
static __always_inline void follow(struct ring *r, struct open *e, struct thread *t, u64 now)
{
    u32 state = t->off ? t->off : t->exit_ns ? t->where : GUEST, was = e->state;

    if (!e->first_ns)
        e->first_ns = now;
    if (state == was)
        return;
    if (was >= USER) {
        u64 since = e->since_ns, woken = e->woken_ns;
        if (woken && (was == IDLE || was == BLOCKED)) {
            tell(r, e, was, since, woken, 0, 0);
            since = woken;
            was = WAIT;
        }
        tell(r, e, was, since, now, was == WAIT ? t->spent[THROTTLED] - e->withheld : 0, woken != 0);
    }
    e->state = state;
    e->since_ns = now;
    e->woken_ns = 0;
    e->by = NOBODY;
    e->withheld = t->spent[THROTTLED];
}
