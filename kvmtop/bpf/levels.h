/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Whose exit it is: for stacks.bpf.c, whose maps these are. KVM says that it is a nested guest's, and that the guest's
 * hypervisor is given it, some time after kvm_exit (nested.h), and may have slept by then: to read the hypervisor's page
 * tables it may need pages of it. What the exit was charged with before goes to where it belongs.
 */
#define FOLLOWED 8 /* stacks that an exit slept in, and as many samples: what more it has stays where it is */

struct charged {
    u32 place; /* of the row */
    u32 count;
    u64 ns;
    u64 waited;
};

struct early { /* what the open exit of a thread was charged with, by its slot */
    u64 exit_ns; /* that exit */
    u32 stacks;
    u32 samples;
    struct charged charged[FOLLOWED];
    u32 at[FOLLOWED]; /* where its samples are, */
    u64 number[FOLLOWED]; /* with these numbers */
};

BPF_ARRAY(earlies, struct early, THREADS);

static __always_inline struct early *early_of(u32 slot, struct thread *t)
{
    struct early *e = earlies.lookup(&slot);

    if (e && e->exit_ns != t->exit_ns) {
        e->exit_ns = t->exit_ns;
        e->stacks = e->samples = 0;
    }
    return e;
}

static __always_inline void note(struct early *e, u32 place, u64 ns, u64 waited)
{
    u32 stacks = e->stacks;

#pragma unroll
    for (u32 i = 0; i < FOLLOWED; i++) {
        struct charged *c = &e->charged[i];
        if (i == stacks) {
            c->place = place;
            c->count = c->ns = c->waited = 0;
            e->stacks = stacks + 1;
        }
        if (c->place == place) {
            c->count++;
            c->ns += ns;
            c->waited += waited;
            return;
        }
    }
}

static __always_inline void note_sample(struct early *e, u32 at, u64 number)
{
    u32 n = e->samples;

    if (n >= FOLLOWED)
        return;
    e->at[n & (FOLLOWED - 1)] = at;
    e->number[n & (FOLLOWED - 1)] = number;
    e->samples = n + 1;
}

static __always_inline void move(struct charged *c, struct thread *t)
{
    u32 place = c->place;
    struct row *from = rows.lookup(&place), *to;
    bool fresh;

    if (!from || from->key.id != t->id || from->key.isa == t->isa || from->ns < c->ns)
        return; /* user space may have taken it back */
    struct key k = from->key;
    k.isa = t->isa;
    if (!(to = row_of(&k, &place, &fresh)))
        return;
    from->count -= c->count;
    from->ns -= c->ns;
    from->waited -= c->waited;
    to->count += c->count;
    to->ns += c->ns;
    to->waited += c->waited;
    if (from->max > to->max) /* no less than the longest of them */
        to->max = from->max;
    c->place = place;
}

/* kvm_nested_vmexit, kvm_nested_vmexit_inject */
int on_level(void *ctx)
{
    u32 slot;
    struct thread *t = here(&slot);
    struct early *e;

    if (!t || !(e = earlies.lookup(&slot)) || e->exit_ns != t->exit_ns)
        return 0;
#pragma unroll
    for (u32 i = 0; i < FOLLOWED; i++) {
        if (i < e->stacks)
            move(&e->charged[i], t);
        if (i < e->samples) {
            u32 at = e->at[i];
            struct sample *one = samples.lookup(&at);
            if (one && one->number == e->number[i]) /* user space may have fetched it: then it keeps what it had */
                one->isa = t->isa;
        }
    }
    return 0;
}
