/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a CPU is in an interrupt. Flags as scheduling.bpf.c has them. */

#define HARDIRQ_MASK 0x000f0000 /* include/linux/preempt.h */
#define SOFTIRQ_OFFSET 0x00000100

/* This CPU's __preempt_count, 0 where nobody knows; base: where the CPU has its variables, 0 until it was asked for. */
static __always_inline u32 preempt_count(u64 *base)
{
    u32 count = 0;

#ifdef PREEMPT_COUNT
    if (!*base) {
        u32 n = bpf_get_smp_processor_id();
        bpf_probe_read_kernel(base, sizeof(*base), (void *)(CPU_OFFSETS + 8ULL * n));
    }
    bpf_probe_read_kernel(&count, sizeof(count), (void *)(*base + PREEMPT_COUNT));
#endif
    return count;
}
