// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which threads a kernel says nothing of being switched in (witness.py): who is switched out of a CPU must have been the
 * last that was switched in there. Flags: TASK_PID, its offset in struct task_struct; CPUS; HIDDEN: entries. */
#define PROBE(size, to, from, offset) bpf_probe_read_kernel(&to, sizeof(to), (char *)(from) + (offset))

BPF_ARRAY(last, u32, CPUS);       /* the thread that each CPU was said to run, plus one */
BPF_HASH(hidden, u32, u64, HIDDEN); /* by thread: how often it ran, and nobody had said so */

/* sched_switch(preempt, prev, next). */
int on_switch(void *ctx)
{
    u32 n = bpf_get_smp_processor_id(), prev = 0, next = 0, *known = last.lookup(&n);

    PROBE(u32, prev, ((u64 *)ctx)[1], TASK_PID);
    PROBE(u32, next, ((u64 *)ctx)[2], TASK_PID);
    if (!known)
        return 0;
    if (*known && *known != prev + 1) {
        u64 zero = 0, *count = hidden.lookup_or_try_init(&prev, &zero);
        if (count)
            (*count)++;
    }
    *known = next + 1;
    return 0;
}
