/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Reading the kernel's structures, and what its CPU quotas withhold. Flags as collector.bpf.c has them. */

#ifdef TYPED /* the verifier knows the kernel's structures, and lets them be read as they are */
#define LOAD(size, to, from, offset) asm volatile("%0 = *(" #size " *)(%1 + %2)" : "=r"(to) : "r"(from), "i"(offset))
#endif
#define PROBE(size, to, from, offset) bpf_probe_read_kernel(&to, sizeof(to), (char *)(from) + (offset))

#define WORD(tid) ((tid) >> 6 & 0xffff) /* PID_MAX_LIMIT is 1 << 22 */

#ifdef TYPED
/* Whether a thread id is a vCPU's: its bit in `bits`, without a look-up (BPF_PSEUDO_MAP_VALUE, Linux 5.2); loader.py
 * puts the map in. */
static __always_inline u64 is_vcpu(u32 tid)
{
    u64 map = bpf_pseudo_fd(2, 0), at = WORD(tid) * 8, word;

    asm volatile("%1 += %2\n%0 = *(u64 *)(%1 + 0)" : "=&r"(word), "+r"(map) : "r"(at));
    return word >> (tid & 63) & 1;
}
#endif

/*
 * What the CPU quota of the groups above a thread has withheld from its run queue so far, in the time of that queue,
 * which is `clock` now (tg_throttle_down in kernel/sched/fair.c): cfs_rq.throttled_clock_self and its sum, since 6.6;
 * before, the same for the clocks of PELT (5.19) and of tasks, in which the time stood still.
 */
#ifdef TASK_CFS
#define WITHHELD(READ, cfs, ahead, now, result)                       \
    do {                                                              \
        u64 rq = 0, clock = 0, since = 0, sum = 0;                    \
        u32 throttled = 1;                                            \
        READ(u64, sum, cfs, CFS_SUM);                                 \
        READ(u64, since, cfs, CFS_SINCE);                             \
        THROTTLE_COUNT(READ, throttled, cfs);                         \
        if (!(ahead)) {                                               \
            READ(u64, rq, cfs, CFS_RQ);                               \
            READ(u64, clock, rq, RQ_CLOCK);                           \
            RQ_LESS(READ, clock, rq);                                 \
            ahead = clock - (now);                                    \
        }                                                             \
        result = sum;                                                 \
        if (throttled && since)                                       \
            result += (now) + (ahead) - since;                        \
    } while (0)
#ifdef CFS_COUNT
#define THROTTLE_COUNT(READ, to, cfs) READ(u32, to, cfs, CFS_COUNT)
#else
#define THROTTLE_COUNT(READ, to, cfs)
#endif
#ifdef RQ_LOST
#define RQ_LESS(READ, clock, rq)        \
    do {                                \
        u64 lost = 0;                   \
        READ(u64, lost, rq, RQ_LOST);   \
        clock -= lost;                  \
    } while (0)
#else
#define RQ_LESS(READ, clock, rq)
#endif
#endif
