// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What exits touched, which guest code made them, how halts were polled, and the slow exits one by one.
 * Attached only while somebody looks; collector.bpf.c counts without it.
 *
 * A tracepoint that fires between kvm_exit and kvm_entry of a thread tells what that exit touched: a key
 * (kind, value, extra). Its row counts the event at once, and gets the exit's time at kvm_entry. Only the
 * thread itself writes to its rows. Rows are bounded: a key that finds none is counted in `dropped`, and
 * user space takes the rows of light keys back when they run short. What an exit was made of (thread.h) is read from
 * collector.bpf.c's own maps, whose program at kvm_entry has been there since before and runs first.
 *
 * Flags, from bpf/detail.py: KIND_*: numbers of the kinds; AT_*: a field's type and offset as FIELD(type,
 * offset), absent where the kernel has no such tracepoint or field; TASK_NOTES, NOTE_HIT, NOTE_MISS: where KVM
 * accounts for polling, absent where nobody knows; SKIP(tgid);
 * THREADS, ROWS, CPUS, RING: entries of the maps, RING a power of two for each CPU; PIDS: VMs that may be chosen;
 * MAP_FLAGS.
 */
#include "bucket.h"
#include "thread.h"
#include "detail.h"
#include "beside.h"
#include "asked.h"

BPF_F_TABLE("array", u32, struct row, rows, ROWS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct slow, slows, CPUS * RING, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct tally, tallies, CPUS, MAP_FLAGS);
BPF_HASH(places, struct key, u32, ROWS);
BPF_STACK(free_rows, u32, ROWS);
BPF_TABLE("lru_hash", u64, struct exit, exits, THREADS);

#ifndef SKIP
#define SKIP(tgid) 0
#endif

/* Whether nobody looks at this process. */
static __always_inline bool skipped(struct config *g, u32 tgid)
{
    return SKIP(tgid) || !asked(g, tgid);
}

static __always_inline struct tally *tally(void)
{
    u32 n = bpf_get_smp_processor_id();
    return tallies.lookup(&n);
}

static __always_inline bool is_open(struct config *g, struct exit *e)
{
    return e && e->exit_ns && e->exit_ns >= g->since_ns;
}

static __always_inline bool wanted(struct config *g, struct exit *e)
{
    return !g->only || (is_open(g, e) && e->reason == g->reason && e->isa == g->isa);
}

#include "rows.h"

/* The row of what an exit touched; none where there is no room. */
static __always_inline struct row *touched(u64 id, u32 kind, u64 value, u32 extra, u32 *place)
{
    struct key k = {.id = id, .value = value, .kind = kind, .extra = extra};
    bool fresh;
    struct row *r = row_of(&k, place, &fresh);
    struct tally *mine;

    if (!r && (mine = tally()))
        mine->dropped[kind & (KINDS - 1)]++;
    return r;
}

static __always_inline void touch(u32 kind, u64 value, u32 extra)
{
    u64 id = bpf_get_current_pid_tgid();
    struct config *g = config();

    if (!g || !(g->kinds >> kind & 1) || skipped(g, id >> 32))
        return;
    struct exit *e = exits.lookup(&id);
    if (!wanted(g, e))
        return;
    u32 n = 0;
    struct row *r = touched(id, kind, value, extra, &n);
    if (!r)
        return;
    r->count++;
    if (!is_open(g, e))
        return;
    if (!e->first_kind || e->first_kind == KIND_USER) { /* that it left for user space says little */
        e->first_kind = kind;
        e->first_value = value;
        e->first_extra = extra;
    }
    u32 used = e->used;
#pragma unroll
    for (u32 i = 0; i < KEYS; i++)
        if (i < used && e->rows[i] == n)
            return;
    if (used < KEYS) {
        e->rows[used & (KEYS - 1)] = n;
        e->used = used + 1;
    }
}

#include "touches.h"

int on_exit(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    struct config *g = config();

    if (!g || skipped(g, id >> 32))
        return 1;
    struct exit *e = exits.lookup(&id);
    if (!e) {
        struct exit fresh = {};
        exits.update(&id, &fresh);
        e = exits.lookup(&id);
        if (!e)
            return 1;
    }
    e->exit_ns = bpf_ktime_get_ns();
    e->used = e->first_kind = e->fault = 0;
    e->reason = AT_EXIT_REASON;
#ifdef AT_EXIT_ISA
    e->isa = AT_EXIT_ISA;
#endif
#ifdef AT_EXIT_VCPU
    e->vcpu = AT_EXIT_VCPU;
#endif
#ifdef AT_EXIT_INFO
    e->info1 = AT_EXIT_INFO;
    e->info2 = AT_EXIT_INFO2;
#endif
    e->rip = AT_EXIT_RIP;
    /* At an interrupt of the host (SVM_EXIT_INTR, EXIT_REASON_EXTERNAL_INTERRUPT), which the guest knows nothing of. */
    touch(KIND_RIP, e->rip, (e->isa == 2 && e->reason == 0x60) || (e->isa == 1 && (e->reason & 0xffff) == 1) ? SAMPLED : 0);
    e->first_kind = 0; /* the rip is known anyway */
#ifdef AT_EXIT_INTR
    u32 intr = AT_EXIT_INTR;
    if (intr >> 31) /* valid: vector in bits 7:0, type in 10:8 (SDM vol. 3, 25.9.2; APM vol. 2, 15.7.2) */
        touch(KIND_VECTOR, intr & 0xff, intr >> 8 & 7);
#endif
    return 1;
}

static __always_inline void charge(u32 n, u64 ns, struct thread *t, u64 at)
{
    struct row *r = rows.lookup(&n);

    if (!r)
        return;
    r->exits++;
    r->total += ns;
    if (t) {
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            r->part[i] += t->part[USER + i];
    }
    if (ns > r->max)
        r->max = ns;
    r->hist[at & (BUCKETS - 1)]++;
}
#define CHARGE(i)    \
    if ((i) < used) \
        charge(e->rows[i], ns, t, at);

int on_entry(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    struct exit *e = exits.lookup(&id);
    struct config *g = config();

    if (!g || !is_open(g, e))
        return 1;
#ifdef AT_FIXED_OLD
    u32 fault = e->fault;
    e->fault = 0;
    if (fault)
        touch(KIND_FAULT, e->page, fault);
#endif
    u64 now = bpf_ktime_get_ns(), ns = now - e->exit_ns;
    u32 used = e->used, reason = e->reason, isa = e->isa, slot;
    struct thread *t = here(&slot);
    if (t)
        isa = t->isa; /* with whose exit it was */
    if (t && !t->parts) /* all of it in the kernel */
        t = 0;
    e->exit_ns = 0;
    u64 at = bucket(ns);
    /* One after the other: clang makes a loop of them that kernels before 6.3 cannot prove bounded. */
    CHARGE(0) CHARGE(1) CHARGE(2) CHARGE(3) CHARGE(4) CHARGE(5) CHARGE(6) CHARGE(7)
    struct tally *mine = tally();
    if (!mine || !g->slow_ns || ns < g->slow_ns || (t && ns - t->part[IDLE] < g->slow_ns))
        return 1;
    if (g->only && (reason != g->reason || e->isa != g->isa))
        return 1;
    u32 place = bpf_get_smp_processor_id() * RING + (mine->slow & (RING - 1));
    struct slow *s = slows.lookup(&place);
    if (!s)
        return 1;
    s->number = 0;
    s->time_ns = now;
    s->id = id;
    s->ns = ns;
#pragma unroll
    for (int i = 0; i < PARTS; i++)
        s->part[i] = t ? t->part[USER + i] : 0;
    s->rip = e->rip;
    s->info1 = e->info1;
    s->info2 = e->info2;
    s->kind = e->first_kind;
    s->value = e->first_value;
    s->extra = e->first_extra;
    s->vcpu = e->vcpu;
    s->reason = reason;
    s->isa = isa;
    s->cpu = bpf_get_smp_processor_id();
    s->number = ++mine->slow;
    return 1;
}

int on_user(void *ctx)
{
    s32 error = AT_USER_ERRNO;

    if (error < 0)
        touch(KIND_USER, 0, INTERRUPTED);
    else
        touch(KIND_USER, AT_USER_REASON, 0);
    return 1;
}

#include "faults.h"
#include "polls.h"
