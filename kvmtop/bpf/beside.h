/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* For the C files whose programs run beside collector.bpf.c's: its maps (thread.h), and what somebody looks at. */

BPF_ARRAY(threads, struct thread, 1); /* the collector's, these four */
BPF_ARRAY(cpus, struct cpu, 1);
BPF_ARRAY(bits, u64, 1);
BPF_HASH(slots, u32, u32);
BPF_F_TABLE("array", u32, struct config, configs, 1, MAP_FLAGS);

#define ARGUMENT(n) (((u64 *)ctx)[n])
#define FIELD(type, offset) (*(type *)((char *)ctx + (offset)))

static __always_inline struct config *config(void)
{
    u32 zero = 0;
    return configs.lookup(&zero);
}

/* The thread that runs here, if it is a vCPU's. */
static __always_inline struct thread *here(u32 *slot)
{
    u32 n = bpf_get_smp_processor_id();
    struct cpu *cpu = cpus.lookup(&n);

    if (!cpu)
        return 0;
    *slot = cpu->slot;
    struct thread *t = threads.lookup(slot);
    return t && t->id == bpf_get_current_pid_tgid() ? t : 0;
}

/* A vCPU's thread by its id. */
static __always_inline struct thread *thread_of(u32 tid, u32 *slot)
{
    u32 *known = slots.lookup(&tid);

    if (!known)
        return 0;
    *slot = *known;
    struct thread *t = threads.lookup(slot);
    return t && (u32)t->id == tid ? t : 0;
}
