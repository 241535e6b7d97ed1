/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A vCPU's thread as collector.bpf.c keeps it; thread_rows.py reads it, detail.bpf.c what the last exit was made of. */

/* In the order of model/vocabulary.py. */
enum state { GUEST, KERNEL, USER, IDLE, BLOCKED, WAIT, THROTTLED, STATES };

#define WAYS 64 /* reason & 63 tells apart all codes that occur together, but for a few rare ones */
#define ENDED (1ULL << 63)
#define OFF_CPU 2 /* in parts */
enum { SOME = 1, ALL = SOME | OFF_CPU };
/* Beside the isa: an exit of a nested guest (L2), and one that its hypervisor (L1) was given. model/vocabulary.py */
#define NESTED 0x100
#define REFLECTED 0x200
#define UNSEEN 1 /* exit_ns of a thread that is outside the guest without an exit that was seen */

struct thread {
    u64 id;   /* pid_tgid; with ENDED once the thread has exited */
    u64 task; /* its struct task_struct, by which it is known on its CPU; 0 until it was looked for there */
    u64 first_ns;
    u64 end_ns;
    u64 exit_ns;       /* of the open exit; 0 in the guest */
    u64 since_ns;      /* when the state began, if it is not KERNEL */
    u64 spent[STATES]; /* of all but KERNEL, which has the rest of the time since first_ns */
    u64 part[STATES];  /* of the open exit; in the guest, of the last one */
    u64 unpaired;
    u64 overwritten;
    u64 pairs; /* exits that its cells hold */
    u64 cfs;        /* the run queue of its group and CPU that it began to wait on */
    u64 withheld;   /* what its run queue's quota had withheld when it began to wait, ns */
    u64 ahead;      /* by how much the run queue's clock was ahead of ours then */
    u64 peek_since; /* the wait (its since_ns) that on_peek looked at last */
    u64 peek_ns;    /* how much of that was withheld by then */
    u64 peek_at;    /* when it did */
    u64 record_ns;  /* exit_ns, where a record of kvm_exit told it, */
    u64 checked_ns; /* and the same of the last exit that on_check has looked at */
    u64 out_ns;     /* since when its nested guest is out: the exit that its hypervisor was given; 0: it is not */
    u64 out_away;   /* what the thread had been away() by then */
    u64 nested_ns;  /* of that until the exit in which it was entered again, but for what it was away() */
    u64 address;    /* of the struct kvm_vcpu that vcpu is the number of, as a raw program read it */
    u32 off;   /* IDLE, BLOCKED or WAIT; 0 on a CPU */
    u32 where; /* outside the guest: KERNEL or USER */
    u32 parts; /* 0: part is all 0, it runs in the kernel; SOME: only part[USER] may not be 0; ALL */
    u32 halts; /* it is in user space because of KVM_EXIT_HLT: the VMM does the halting */
    u32 reason;
    u32 isa;
    u32 vcpu;
    u32 cpu; /* that it entered the guest on last, where it is until the next exit */
    u32 cells[WAYS];
};

struct cpu {
    u32 slot;      /* of the thread that runs here; 0 for others */
    u32 top_slot;  /* highest slot and cell ever taken here: how far user space must read */
    u32 top_cell;
    u32 number;    /* its own, once a thread has been looked for here */
    u64 lost;      /* exits not counted, for want of a slot or a cell */
    u64 userspace; /* kvm_userspace_exit events */
    u64 agreed;    /* exits of which on_check read what their record said, and others */
    u64 differed;
    u64 reasons;   /* of those that agreed: a bit each, by way */
    u64 pad2[1];   /* a cache line each */
};
