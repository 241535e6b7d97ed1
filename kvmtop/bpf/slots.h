/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The slots of vCPUs' threads and the cells of their reasons: for collector.bpf.c, whose maps these are. */

static __always_inline struct cpu *this_cpu(void)
{
    u32 n = bpf_get_smp_processor_id();
    return cpus.lookup(&n);
}

/* Whether the process that runs here is to be counted. */
static __always_inline bool wanted(void)
{
    u64 tgid = bpf_get_current_pid_tgid() >> 32;

    return !SKIP(tgid);
}

/* The thread that runs here, if it has a slot. */
static __always_inline struct thread *find(struct cpu *cpu)
{
    u64 task = bpf_get_current_task();
    u32 slot = cpu->slot;
    struct thread *t = threads.lookup(&slot);

    if (t && t->task == task)
        return t;
    u32 tid = bpf_get_current_pid_tgid(), *known;
    if (!wanted() || !(known = slots.lookup(&tid)))
        return 0;
    cpu->slot = slot = *known;
    cpu->number = bpf_get_smp_processor_id();
    t = threads.lookup(&slot);
    if (t)
        t->task = task;
    return t;
}

static __always_inline void mark(u32 tid, u64 one)
{
    u32 zero = 0;
    u64 *word = bits.lookup(&zero);

    if (word)
        __sync_fetch_and_add(word + WORD(tid), one << (tid & 63));
}

/* A slot for a thread without one; the caller tells the CPU if it runs here. */
static struct thread *add(struct cpu *cpu, u64 id, u64 now, u32 *place)
{
    u32 slot = 0, tid = id;

    if (free_slots.pop(&slot))
        return 0;
    struct thread *t = threads.lookup(&slot);
    if (!t)
        return 0;
    t->first_ns = t->since_ns = now;
    t->where = KERNEL;
    t->cpu = bpf_get_smp_processor_id();
    t->id = id;
    if (slots.update(&tid, &slot)) {
        t->id = 0;
        free_slots.push(&slot, 0);
        return 0;
    }
    mark(tid, 1);
    if (slot > cpu->top_slot)
        cpu->top_slot = slot;
    *place = slot;
    return t;
}

/* A slot for the thread that runs here. */
static __always_inline struct thread *add_here(struct cpu *cpu, u64 now)
{
    u32 slot = 0;
    struct thread *t = add(cpu, bpf_get_current_pid_tgid(), now, &slot);

    cpu->number = bpf_get_smp_processor_id();
    if (t) {
        t->task = bpf_get_current_task();
        cpu->slot = slot;
    }
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
