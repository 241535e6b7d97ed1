/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What exits have touched, and the slow ones, as detail.bpf.c keeps them and detail.py reads them. */

#define KEYS 8   /* that one exit may charge its time to */
#define KINDS 16
#define PARTS (STATES - USER) /* of an exit: USER to THROTTLED; KERNEL has the rest */
#define SAMPLED 1 /* extra of KIND_RIP */

struct key {
    u64 id; /* pid_tgid */
    u64 value;
    u32 kind;
    u32 extra;
};

struct row {
    struct key key;
    u64 count; /* events */
    u64 exits; /* exits with such an event that have ended: what follows is theirs */
    u64 total;
    u64 part[PARTS];
    u64 max;   /* ns; of KIND_WINDOW the window now */
    u32 hist[BUCKETS];
};

struct exit { /* a thread's open exit */
    u64 exit_ns;
    u64 rip;
    u64 info1;
    u64 info2;
    u64 hit;  /* ns that KVM has polled so far, by its own account */
    u64 miss;
    u32 polled; /* they are known */
    u32 reason;
    u32 isa;
    u32 vcpu;
    u32 used;
    u32 rows[KEYS];
    u32 fault; /* extra of a page fault that waits for what KVM says of it */
    u64 page;  /* its page */
    u64 first_value;
    u32 first_kind;
    u32 first_extra;
};

struct slow {
    u64 number; /* from 1; written last */
    u64 time_ns; /* when it ended */
    u64 id;
    u64 ns;
    u64 part[PARTS];
    u64 rip;
    u64 info1;
    u64 info2;
    u64 value;
    u32 kind;
    u32 extra;
    u32 vcpu;
    u32 reason;
    u32 isa;
    u32 cpu;
};

struct tally {
    u64 slow; /* written to this CPU's ring */
    u64 dropped[KINDS]; /* events without a row */
    u64 pad[7];
};

struct config {
    u32 only; /* this reason alone */
    u32 reason;
    u32 isa;
    u32 kinds; /* a bit each */
    u64 slow_ns; /* hand out exits this long; 0: none */
    u64 since_ns; /* exits that began earlier were left open when the probes were off last */
    u32 pids[PIDS]; /* these VMs alone; the first is 0 for all */
};
