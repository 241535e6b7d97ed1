// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Where in the kernel exits spend their time: the stacks that vCPUs' threads sleep in, with how long, and samples of
 * what they run. Attached only while somebody looks; collector.bpf.c, whose programs run before these at the same
 * tracepoint, tells which exit is open, and since when (thread.h).
 *
 * Off the CPU nothing is estimated: from the switch away to the switch back is charged to the stack at the switch, by
 * the collector's own readings of the clock. Who was preempted has no stack: it is not the code's doing.
 * On the CPU perf's software clock samples. Its timer, too, makes the guest exit, and such an exit is no news. So a
 * sample counts if its timer expired after the open exit began; if before, the guest ran then, or an exit that is over
 * (KVM enters and leaves with interrupts off), whatever the exit's reason and wherever this kernel fires kvm_exit.
 *
 * Flags, from bpf/stacks.py: TYPED, TASK_PID: as collector.bpf.c has them; REGS_CS, DATA_EVENT, EVENT_EXPIRES: offsets
 * in the kernel's structures; ROWS, THREADS, CPUS, RING (a power of two for each CPU), DEEP, STACKS, MORE, PIDS: sizes;
 * MAP_FLAGS.
 */
#include "task.h"
#include "thread.h"

#define COLLISION -17 /* EEXIST: another stack has the place */

struct key {
    u64 id; /* pid_tgid */
    u32 reason;
    u32 isa;
    s32 stack; /* negative: none, or no room */
    u32 kind;  /* IDLE, BLOCKED, or WAIT */
};

struct row {
    struct key key;
    u64 count; /* times it was off the CPU */
    u64 ns;    /* from the switch away to the switch back */
    u64 waited; /* of it: ready to run, or throttled */
    u64 max;
};

struct sleeper { /* a vCPU's thread that is off the CPU, by its slot */
    u64 since_ns; /* 0: it is not, or nobody follows it */
    u64 waited;   /* its exit's part of it, then */
    struct key key;
};

struct sample {
    u64 number; /* from 1; written last */
    u64 id;
    u32 reason;
    u32 isa;
    u32 where; /* KERNEL or USER, as the collector has it */
    s32 size;  /* bytes of ip; 0: it ran user space's code */
    u64 ip[DEEP];
};

struct tally { /* of a CPU */
    u64 samples;
    u64 dropped; /* times off the CPU that had no room, */
    u64 dropped_ns;
    u64 pad[5];
};

struct config {
    u32 only; /* this reason alone, */
    u32 reason;
    u32 isa; /* of all levels, since KVM says later whose exit it is */
    u32 pad;
    u32 pids[PIDS]; /* these VMs alone; the first is 0 for all */
};

#include "beside.h"
#include "asked.h"

BPF_F_TABLE("array", u32, struct row, rows, ROWS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct sleeper, sleepers, THREADS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct sample, samples, CPUS * RING, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct tally, tallies, CPUS, MAP_FLAGS);
BPF_HASH(places, struct key, u32, ROWS);
BPF_STACK(free_rows, u32, ROWS);
BPF_TABLE("stacktrace", int, struct bpf_stacktrace, stacks, STACKS);
BPF_TABLE("stacktrace", int, struct bpf_stacktrace, more, MORE); /* for what another stack has the place of */

#include "rows.h"
#include "levels.h"

static __always_inline bool wanted(struct thread *t)
{
    struct config *g = config();

    if (!g || t->exit_ns <= UNSEEN || !asked(g, t->id >> 32))
        return 0;
    return !g->only || (t->reason == g->reason && (t->isa & ~(NESTED | REFLECTED)) == g->isa);
}

/* It has a CPU again, since `now`. */
static __always_inline void back(u32 slot, struct sleeper *s, struct thread *t, u64 now)
{
    u64 ns = now - s->since_ns, waited = t->part[WAIT] + t->part[THROTTLED] - s->waited;

    s->since_ns = 0;
    if (s->key.id != t->id)
        return; /* the slot is another thread's */
    struct key k = s->key;
    struct early *e = early_of(slot, t);
    u32 place;
    bool fresh;
    struct row *row = row_of(&k, &place, &fresh);
    if (!row) {
        u32 n = bpf_get_smp_processor_id();
        struct tally *y = tallies.lookup(&n);
        if (y) {
            y->dropped++;
            y->dropped_ns += ns;
        }
        return;
    }
    row->count++;
    row->ns += ns;
    row->waited += waited;
    if (ns > row->max)
        row->max = ns;
    if (e)
        note(e, place, ns, waited);
}

/* sched_switch(preempt, prev, next). */
int on_switch(void *ctx)
{
    void *prev = (void *)ARGUMENT(1);
    u32 pid, n = bpf_get_smp_processor_id();
    struct cpu *cpu = cpus.lookup(&n);
    struct sleeper *s;
    struct thread *t;

    LOAD(u32, pid, prev, TASK_PID);
    if (!cpu)
        return 0;
    u32 slot = cpu->slot; /* of next, as collector.bpf.c has just found out */
    if (slot && (s = sleepers.lookup(&slot)) && s->since_ns && (t = threads.lookup(&slot)))
        back(slot, s, t, t->since_ns);
    if (!is_vcpu(pid))
        return 0;
    if (!(t = thread_of(pid, &slot)) || !(s = sleepers.lookup(&slot)))
        return 0;
    s->since_ns = 0;
    if (!t->off || !wanted(t))
        return 0;
    s->key.id = t->id;
    s->key.reason = t->reason;
    s->key.isa = t->isa;
    s->key.kind = t->off;
    s->key.stack = -1;
    s->waited = t->part[WAIT] + t->part[THROTTLED];
    if (t->off != WAIT) {
        int id = stacks.get_stackid(ctx, 0);
        if (id == COLLISION) {
            id = more.get_stackid(ctx, 0);
            if (id >= 0)
                id += STACKS;
        }
        s->key.stack = id;
    }
    s->since_ns = t->since_ns;
    return 0;
}

/* The software clock of this CPU. */
int on_sample(void *ctx)
{
    u32 n = bpf_get_smp_processor_id();
    struct cpu *cpu = cpus.lookup(&n);
    struct tally *y = tallies.lookup(&n);
    u64 event = 0, expires = 0;

    if (!cpu || !y)
        return 0;
    u32 slot = cpu->slot;
    struct thread *t = threads.lookup(&slot);
    if (!slot || !t || (u32)t->id != (u32)bpf_get_current_pid_tgid() || t->off || !wanted(t))
        return 0;
    bpf_probe_read_kernel(&event, sizeof(event), (char *)ctx + DATA_EVENT);
    bpf_probe_read_kernel(&expires, sizeof(expires), (char *)event + EVENT_EXPIRES);
    if (expires < t->exit_ns)
        return 0;
    u64 number = y->samples + 1;
    u32 at = n * RING + (number & (RING - 1));
    struct sample *one = samples.lookup(&at);
    if (!one)
        return 0;
    one->id = t->id;
    one->reason = t->reason;
    one->isa = t->isa;
    one->where = t->where;
    one->size = *(u64 *)((char *)ctx + REGS_CS) & 3 ? 0 : bpf_get_stack(ctx, one->ip, sizeof(one->ip), 0);
    asm volatile("" ::: "memory");
    one->number = number;
    y->samples = number;
    struct early *e = early_of(slot, t);
    if (e)
        note_sample(e, at, number);
    return 0;
}
