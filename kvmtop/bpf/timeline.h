/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Every single exit, and who has each CPU, as timeline.bpf.c keeps it and timeline.py reads it. */

#define RAN STATES /* a span's state where it is a CPU's: a task had it */
#define NO_REASON (~0U)

enum { NOBODY, A_TASK, AN_INTERRUPT }; /* that woke it; NOBODY: not known */

struct exit { /* all of one, with the time in the guest before it */
    u64 number;   /* from 1; 0 while it is written */
    u64 guest_ns; /* since when it was in the guest before; 0: not known */
    u64 begin_ns; /* 0: before somebody looked */
    u64 end_ns;
    u64 idle_ns;  /* of it */
    u64 id;
    u64 rip;   /* 0: not known */
    u64 value; /* that it touched first */
    u32 kind;
    u32 extra;
    u32 reason; /* NO_REASON: it was out of the guest without an exit that was seen */
    u32 isa;
    u32 vcpu;
    u32 cpu;
};

struct span {
    u64 number;
    u64 begin_ns;
    u64 end_ns;
    u64 id;
    u64 withheld; /* of a wait, ns, by its group's quota */
    u64 waker;    /* of a wait after a sleep, where that was a task; 0: the idle one */
    char comm[16]; /* the waker's; of RAN its own */
    u16 state;
    u16 by;
    u32 cpu;
};

struct open { /* what of a thread, by its slot, is not over */
    u64 id;
    u64 first_ns; /* its first event since somebody looks */
    u64 begin_ns; /* of the exit; 0: in the guest, or since before somebody looked */
    u64 guest_ns;
    u64 since_ns; /* of the state */
    u64 woken_ns; /* it slept until then */
    u64 withheld; /* spent[THROTTLED] when the state began */
    u64 waker;
    char comm[16];
    u64 rip;
    u64 value;
    u32 kind;
    u32 extra;
    u32 state; /* GUEST or KERNEL: none that has a span */
    u32 by;
    u32 unseen; /* it is out of the guest without an exit that was seen */
    u32 reason; /* of an exit that is not over, as its record tells it */
    u32 isa;
    u32 pad;
};

struct ring { /* of a CPU */
    u64 exits;    /* written so far */
    u64 spans;
    u64 missed;   /* entries without an exit before them, and exits without an entry */
    u64 since_ns; /* when it switched last */
    u64 base;     /* where its own variables are */
    u64 next;     /* the task that it has since then */
    u64 pad[2];
};

struct config {
    u64 since_ns; /* when somebody began to look; 0: nobody does */
};
