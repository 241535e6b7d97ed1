// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What exits touched, which guest code made them, how halts were polled, and the slow exits one by one.
 * Attached only while somebody looks; collector.bpf.c counts without it.
 *
 * A tracepoint that fires between kvm_exit and kvm_entry of a thread tells what that exit touched: a key
 * (kind, value, extra). Its row counts the event at once, and gets the exit's time at kvm_entry. Only the
 * thread itself writes to its rows. Rows are bounded: a key that finds none is counted in `dropped`, and
 * user space takes the rows of light keys back when they run short. What an exit was made of (thread.h) is read from
 * collector.bpf.c's own maps, whose program at kvm_entry has been there since before and runs first.
 *
 * Flags, from bpf/detail.py: KIND_*: numbers of the kinds; AT_*: a field's type and offset as FIELD(type,
 * offset), absent where the kernel has no such tracepoint or field; TASK_NOTES, NOTE_HIT, NOTE_MISS: where KVM
 * accounts for polling, absent where nobody knows; SKIP(tgid);
 * THREADS, ROWS, CPUS, RING: entries of the maps, RING a power of two for each CPU; MAP_FLAGS.
 */
#include "bucket.h"
#include "thread.h"

#define KEYS 8   /* that one exit may charge its time to */
#define KINDS 16
#define PARTS (STATES - USER) /* of an exit: USER to THROTTLED; KERNEL has the rest */
#define KVM_TRACE_MMIO_READ 1 /* include/trace/events/kvm.h; 0 announces a read that user space must answer */
#define KVM_TRACE_MMIO_WRITE 2
#define WRITE 1 /* extra: bit 0 a write, bits 15:8 bytes */
#define FAST (0xff << 8) /* a write to an ioeventfd, whose size nobody looked at */
#define INTERRUPTED 1 /* extra of KIND_USER: a signal or a kick, without a reason */
#define SAMPLED 1 /* extra of KIND_RIP */
#define FETCH 2 /* extra of KIND_FAULT; where neither PRESENT nor ABSENT is set, only WRITE is known */
#define PRESENT 4
#define ABSENT 8
#define RESERVED 16
#define WALK 32 /* of the guest's page tables */
#define LOGGED 64 /* KVM only had to make the page writable again */
#define WRITABLE 2 /* PT_WRITABLE_MASK and VMX_EPT_WRITABLE_MASK of a page table's entry */

enum { HIT, WASTED, UNPOLLED }; /* value of KIND_POLL */

#define FIELD(type, offset) (*(type *)((char *)ctx + (offset)))

struct key {
    u64 id;
    u64 value;
    u32 kind;
    u32 extra;
};

struct row {
    u64 id; /* pid_tgid */
    u64 value;
    u32 kind;
    u32 extra;
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
};

BPF_F_TABLE("array", u32, struct row, rows, ROWS, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct slow, slows, CPUS * RING, MAP_FLAGS);
BPF_F_TABLE("array", u32, struct tally, tallies, CPUS, MAP_FLAGS);
BPF_ARRAY(threads, struct thread, 1); /* collector.bpf.c's, both */
BPF_ARRAY(cpus, struct cpu, 1);
BPF_F_TABLE("array", u32, struct config, configs, 1, MAP_FLAGS);
BPF_HASH(places, struct key, u32, ROWS);
BPF_STACK(free_rows, u32, ROWS);
BPF_TABLE("lru_hash", u64, struct exit, exits, THREADS);

#ifndef SKIP
#define SKIP(tgid) 0
#endif

static __always_inline struct tally *tally(void)
{
    u32 n = bpf_get_smp_processor_id();
    return tallies.lookup(&n);
}

/* The states of a thread that runs here; 0 where it has none. */
static __always_inline struct thread *states(u64 id)
{
    u32 n = bpf_get_smp_processor_id(), slot;
    struct cpu *cpu = cpus.lookup(&n);

    if (!cpu)
        return 0;
    slot = cpu->slot;
    struct thread *t = threads.lookup(&slot);
    return t && t->id == id ? t : 0;
}

static __always_inline struct config *config(void)
{
    u32 zero = 0;
    return configs.lookup(&zero);
}

static __always_inline bool is_open(struct config *g, struct exit *e)
{
    return e && e->exit_ns && e->exit_ns >= g->since_ns;
}

static __always_inline bool wanted(struct config *g, struct exit *e)
{
    return !g->only || (is_open(g, e) && e->reason == g->reason && e->isa == g->isa);
}

/* The key's row; 0 where there is none left. */
static __always_inline u32 row_of(u64 id, u32 kind, u64 value, u32 extra)
{
    struct key k = {.id = id, .value = value, .kind = kind, .extra = extra};
    u32 *known = places.lookup(&k), n = 0;

    if (known)
        return *known;
    struct tally *mine = tally();
    if (free_rows.pop(&n) || !n)
        goto full;
    struct row *r = rows.lookup(&n);
    if (!r || places.update(&k, &n)) {
        free_rows.push(&n, 0);
        goto full;
    }
    r->value = value;
    r->kind = kind;
    r->extra = extra;
    r->id = id;
    return n;
full:
    if (mine)
        mine->dropped[kind & (KINDS - 1)]++;
    return 0;
}

static __always_inline void touch(u32 kind, u64 value, u32 extra)
{
    u64 id = bpf_get_current_pid_tgid();
    struct config *g = config();

    if (!g || !(g->kinds >> kind & 1) || SKIP(id >> 32))
        return;
    struct exit *e = exits.lookup(&id);
    if (!wanted(g, e))
        return;
    u32 n = row_of(id, kind, value, extra);
    struct row *r = rows.lookup(&n);
    if (!r || !n)
        return;
    r->count++;
    if (!is_open(g, e))
        return;
    if (!e->first_kind || e->first_kind == KIND_USER) { /* that it left for user space says little */
        e->first_kind = kind;
        e->first_value = value;
        e->first_extra = extra;
    }
    u32 used = e->used;
#pragma unroll
    for (u32 i = 0; i < KEYS; i++)
        if (i < used && e->rows[i] == n)
            return;
    if (used < KEYS) {
        e->rows[used & (KEYS - 1)] = n;
        e->used = used + 1;
    }
}

int on_exit(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    struct config *g = config();

    if (!g || SKIP(id >> 32))
        return 1;
    struct exit *e = exits.lookup(&id);
    if (!e) {
        struct exit fresh = {};
        exits.update(&id, &fresh);
        e = exits.lookup(&id);
        if (!e)
            return 1;
    }
    e->exit_ns = bpf_ktime_get_ns();
    e->used = e->first_kind = e->fault = 0;
    e->reason = AT_EXIT_REASON;
#ifdef AT_EXIT_ISA
    e->isa = AT_EXIT_ISA;
#endif
#ifdef AT_EXIT_VCPU
    e->vcpu = AT_EXIT_VCPU;
#endif
#ifdef AT_EXIT_INFO
    e->info1 = AT_EXIT_INFO;
    e->info2 = AT_EXIT_INFO2;
#endif
    e->rip = AT_EXIT_RIP;
    /* At an interrupt of the host (SVM_EXIT_INTR, EXIT_REASON_EXTERNAL_INTERRUPT), which the guest knows nothing of. */
    touch(KIND_RIP, e->rip, (e->isa == 2 && e->reason == 0x60) || (e->isa == 1 && (e->reason & 0xffff) == 1) ? SAMPLED : 0);
    e->first_kind = 0; /* the rip is known anyway */
#ifdef AT_EXIT_INTR
    u32 intr = AT_EXIT_INTR;
    if (intr >> 31) /* valid: vector in bits 7:0, type in 10:8 (SDM vol. 3, 25.9.2; APM vol. 2, 15.7.2) */
        touch(KIND_VECTOR, intr & 0xff, intr >> 8 & 7);
#endif
    return 1;
}

static __always_inline void charge(u32 n, u64 ns, struct thread *t, u64 at)
{
    struct row *r = rows.lookup(&n);

    if (!r)
        return;
    r->exits++;
    r->total += ns;
    if (t) {
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            r->part[i] += t->part[USER + i];
    }
    if (ns > r->max)
        r->max = ns;
    r->hist[at & (BUCKETS - 1)]++;
}
#define CHARGE(i)    \
    if ((i) < used) \
        charge(e->rows[i], ns, t, at);

int on_entry(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    struct exit *e = exits.lookup(&id);
    struct config *g = config();

    if (!g || !is_open(g, e))
        return 1;
#ifdef AT_FIXED_OLD
    u32 fault = e->fault;
    e->fault = 0;
    if (fault)
        touch(KIND_FAULT, e->page, fault);
#endif
    u64 now = bpf_ktime_get_ns(), ns = now - e->exit_ns;
    u32 used = e->used, reason = e->reason, isa = e->isa;
    struct thread *t = states(id);
    if (t)
        isa = t->isa; /* with whose exit it was */
    if (t && !t->parts) /* all of it in the kernel */
        t = 0;
    e->exit_ns = 0;
    u64 at = bucket(ns);
    /* One after the other: clang makes a loop of them that kernels before 6.3 cannot prove bounded. */
    CHARGE(0) CHARGE(1) CHARGE(2) CHARGE(3) CHARGE(4) CHARGE(5) CHARGE(6) CHARGE(7)
    struct tally *mine = tally();
    if (!mine || !g->slow_ns || ns < g->slow_ns || (t && ns - t->part[IDLE] < g->slow_ns))
        return 1;
    if (g->only && (reason != g->reason || e->isa != g->isa))
        return 1;
    u32 place = bpf_get_smp_processor_id() * RING + (mine->slow & (RING - 1));
    struct slow *s = slows.lookup(&place);
    if (!s)
        return 1;
    s->number = 0;
    s->time_ns = now;
    s->id = id;
    s->ns = ns;
#pragma unroll
    for (int i = 0; i < PARTS; i++)
        s->part[i] = t ? t->part[USER + i] : 0;
    s->rip = e->rip;
    s->info1 = e->info1;
    s->info2 = e->info2;
    s->kind = e->first_kind;
    s->value = e->first_value;
    s->extra = e->first_extra;
    s->vcpu = e->vcpu;
    s->reason = reason;
    s->isa = isa;
    s->cpu = bpf_get_smp_processor_id();
    s->number = ++mine->slow;
    return 1;
}

int on_user(void *ctx)
{
    s32 error = AT_USER_ERRNO;

    if (error < 0)
        touch(KIND_USER, 0, INTERRUPTED);
    else
        touch(KIND_USER, AT_USER_REASON, 0);
    return 1;
}

#ifdef NOTE_HIT
/*
 * The end of a halt. What KVM has polled it has added to the vCPU's own statistics by now: halt_poll_success_ns if an
 * interrupt came meanwhile, else halt_poll_fail_ns (update_halt_poll_stats in virt/kvm/kvm_main.c). The vCPU is found
 * by the note that vcpu_load has left in the task.
 */
int on_wakeup(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid(), note = 0, hit = 0, miss = 0;
    struct config *g = config();
    struct exit *e = exits.lookup(&id);

    if (!g || !e)
        return 1;
    bpf_probe_read_kernel(&note, sizeof(note), (char *)bpf_get_current_task() + TASK_NOTES);
    if (!note || bpf_probe_read_kernel(&hit, sizeof(hit), (char *)note + NOTE_HIT)
        || bpf_probe_read_kernel(&miss, sizeof(miss), (char *)note + NOTE_MISS))
        return 1;
    u64 hits = hit - e->hit, misses = miss - e->miss;
    u32 known = e->polled;
    e->hit = hit;
    e->miss = miss;
    e->polled = 1;
    if (!known || !(g->kinds >> KIND_POLL & 1) || SKIP(id >> 32) || !wanted(g, e))
        return 1;
    u32 n = row_of(id, KIND_POLL, hits ? HIT : misses ? WASTED : UNPOLLED, 0);
    struct row *r = rows.lookup(&n);
    if (r && n) {
        r->count++;
        r->exits++;
        r->total += hits + misses;
    }
    return 1;
}
#endif

#ifdef AT_POLL_NEW
/* How long KVM polls in a halt from now on. */
int on_poll(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    struct config *g = config();
    struct exit *e = exits.lookup(&id);

    if (!g || !(g->kinds >> KIND_POLL & 1) || SKIP(id >> 32) || !wanted(g, e))
        return 1;
    u32 n = row_of(id, KIND_WINDOW, 0, 0);
    struct row *r = rows.lookup(&n);
    if (r && n) {
        r->count++;
        r->max = AT_POLL_NEW;
    }
    return 1;
}
#endif

#ifdef AT_MMIO_GPA
int on_mmio(void *ctx)
{
    u32 type = AT_MMIO_TYPE;

    if (type == KVM_TRACE_MMIO_READ || type == KVM_TRACE_MMIO_WRITE)
        touch(KIND_MMIO, AT_MMIO_GPA, (type == KVM_TRACE_MMIO_WRITE) | AT_MMIO_LEN << 8);
    return 1;
}
#endif

#define TOUCH(name, kind, value, extra) \
    int name(void *ctx)                 \
    {                                   \
        touch(kind, value, extra);      \
        return 1;                       \
    }

#ifdef AT_FAST_GPA
TOUCH(on_fast, KIND_MMIO, AT_FAST_GPA, WRITE | FAST)
#endif
#ifdef AT_PIO_PORT
TOUCH(on_pio, KIND_IO, AT_PIO_PORT, (AT_PIO_RW & 1) | AT_PIO_SIZE << 8)
#endif
#ifdef AT_MSR_INDEX
TOUCH(on_msr, KIND_MSR, AT_MSR_INDEX, AT_MSR_WRITE & 1)
#endif
#ifdef AT_CPUID_LEAF
TOUCH(on_cpuid, KIND_CPUID, AT_CPUID_LEAF, 0)
#endif
#ifdef AT_HYPERCALL_NR
TOUCH(on_hypercall, KIND_HYPERCALL, AT_HYPERCALL_NR, 0)
#endif
#ifdef AT_HYPERV_CODE
TOUCH(on_hyperv, KIND_HYPERV, AT_HYPERV_CODE, 0)
#endif
#ifdef AT_FAULT_ADDRESS
#define BIT(code, bit, meaning) ((code) >> (bit) & 1 ? (meaning) : 0)

/*
 * A page fault's error code as bits of extra. handle_ept_violation in vmx.c hands kvm_page_fault the exit qualification
 * (SDM vol. 3, table 28-7; bits 5:3 are what the entries allowed: KVM takes the page to be present if they allow
 * anything); all others hand it a page fault's error code (PFERR_* in kvm_host.h; APM vol. 2, 15.25.6). A write is
 * bit 1 of both.
 */
static __always_inline u32 fault_bits(u64 code, struct exit *e)
{
    u32 write = BIT(code, 1, WRITE);

    if (!e || !e->exit_ns)
        return write;
    if (e->isa == 1 && (e->reason & 0xffff) == 48) /* EPT_VIOLATION; bit 8 says more if bit 7 is set */
        return write | BIT(code, 2, FETCH) | (code & 0x38 ? PRESENT : ABSENT) | ((code & 0x180) == 0x80 ? WALK : 0);
    return write | BIT(code, 4, FETCH) | (code & 1 ? PRESENT : ABSENT) | BIT(code, 3, RESERVED) | BIT(code, 33, WALK);
}

int on_fault(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid(), page = AT_FAULT_ADDRESS & ~0xfffULL;
    struct exit *e = exits.lookup(&id);
    u32 extra = fault_bits(AT_FAULT_ERROR, e);

#ifdef AT_FIXED_OLD
    if (e && (extra & ~WALK) == (WRITE | PRESENT)) { /* on_fixed tells why, and on_entry counts it */
        e->page = page;
        e->fault = extra;
        return 1;
    }
#endif
    touch(KIND_FAULT, page, extra);
    return 1;
}
#endif

#ifdef AT_FIXED_OLD
/*
 * KVM has answered a page fault without its lock, by changing one entry. That it makes one writable says that only the
 * dirty log had it protected: what shadows the guest's page tables, or is read-only on the host (copy on write, KSM), is
 * not "MMU-writable" (fast_page_fault in mmu/mmu.c; the comments on write protection in mmu/spte.h).
 */
int on_fixed(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid(), old = AT_FIXED_OLD, new = AT_FIXED_NEW;
    struct exit *e = exits.lookup(&id);

    if (e && e->fault && !(old & WRITABLE) && new & WRITABLE)
        e->fault |= LOGGED;
    return 1;
}
#endif
#ifdef AT_VMGEXIT_CODE
TOUCH(on_vmgexit, KIND_VMGEXIT, AT_VMGEXIT_CODE, 0)
#endif
#ifdef AT_CR_NUMBER
TOUCH(on_cr, KIND_CR, AT_CR_NUMBER, AT_CR_RW & 1)
#endif
#ifdef AT_APIC_REGISTER
TOUCH(on_apic, KIND_APIC, AT_APIC_REGISTER, AT_APIC_RW & 1)
#endif
