/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who is charged with what vCPUs wait, as scheduling.bpf.c keeps it and scheduling.py reads it. */

#define MOST 64 /* waiters that a CPU can have; what others wait is not charged to anybody */
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define NO_CALL (~0ULL)
#define KSOFTIRQ 0x71726974666f736bULL /* "ksoftirqd/0" begins so, read as a number */

/* As model/scheduling.py has them. */
enum { UNKNOWN, TASK, IDLE_CPU, INTERRUPT, SOFTIRQ, TIMER, OTHER_INTERRUPT };
enum { BEHIND = 1, WOKEN, HELD_UP };

struct key {
    u64 id;
    u64 who;
    u64 call;
    u32 kind;
    u32 by;
    s32 stack;
    u32 zero; /* in a row, whether it is a kernel thread */
};

struct row {
    struct key key;
    u64 cgroup;
    char comm[16];
    u64 count;
    u64 ns;
    u64 max;
};

struct actor {
    u64 who;
    u64 by;
};

struct waiter { /* of a vCPU's thread, by its slot */
    u64 id;
    u64 mark;      /* until when its wait is charged; 0: it does not wait, or nobody follows it */
    u64 begin_ns;  /* of its last wait */
    u64 end_ns;    /* of the last that is over */
    struct actor last; /* that was charged */
    u64 withheld;  /* by its quota, until then */
    u64 waking_ns; /* when it was woken last */
    u64 woken_ns;  /* the same while it waits for that */
    u64 asleep_ns; /* since when it is blocked; 0: it is not, or nobody saw it fall asleep */
    u64 call;      /* that it sleeps in */
    s32 stack;
    u32 cpu;       /* whose run queue it waits on */
    struct actor waker;
    u64 count;     /* of wake-ups that have led to running, and how long that took */
    u64 total;
    u64 max;
    u32 hist[BUCKETS];
};

struct runner { /* of a CPU */
    u64 task;    /* tgid and tid of what has it; 0: idle */
    u64 base;    /* where its own variables are */
    u32 hard;    /* it is in the handler of an interrupt: by, in bits 31:28, and its number */
    u32 soft;    /* in that of a softirq, its vector + 1 */
    u32 waiting; /* bits that are set */
    u32 top;     /* the highest row ever taken here: how far user space must read */
    u64 known;   /* whether task is: it has switched since somebody looks */
    u64 bits[WORDS];
    u64 left[2]; /* while they are gone through, by level: those of this word that are left, */
    u32 next[2]; /* and the next word. Kept here, since the verifier would follow each value of a variable */
};

struct config {
    u64 pid; /* only the vCPUs of this process; 0: all */
    u64 since_ns;
};
