/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How an exit begins: for collector.bpf.c, whose maps these are.
 *
 * kvm_exit as a classic tracepoint has the kernel write a record, of which little is of use; that is a third of what an
 * exit costs. As a raw one it has arguments only, and since Linux 5.16 (0a62a0319abb) the reason is none of them: it is
 * read where KVM's own svm_get_exit_info and vmx_get_exit_info read it, at offsets that the kernel's types (BTF) tell.
 *
 * Should those be wrong, all figures would be, so they are put to the test first: on_exit counts by the record, and
 * on_check, which comes after it in the same event, reads the same exit its own way and compares reason, isa and vCPU.
 * What lies at a wrong place is either always the same (then of two reasons it is not one at least), or it changes with
 * something else (then it does not equal the reason 1,000 times running), or cannot be read (then it is 0). So
 * bpf/kvm_exit.py lets on_exit_raw count once 1,000 exits of two reasons or more have agreed and none has not.
 * It does not show what equals the reason in all that was seen, and not elsewhere: another VMCB than the current one is
 * right until a guest runs guests, and a place where there is always 0 is vCPU 0's number. For that the names are
 * relied on: vcpu_svm.vmcb is the one that KVM reads.
 *
 * SEV-ES: the control area of a VMCB stays KVM's own there, and KVM reads it in the same way.
 */

/* The thread whose exit is to be told; none if it is not to be counted. raw: on_exit may be attached as well. */
static __always_inline struct thread *left_guest(void *ctx, bool raw)
{
    struct cpu *cpu = this_cpu();

    if (!cpu)
        return 0;
    struct thread *t = find(cpu);
    if (!t && !wanted())
        return 0;
    u64 now = bpf_ktime_get_ns();
    if (!t) {
        t = add_here(cpu, now);
        if (!t) {
            cpu->lost++;
            return 0;
        }
        t->exit_ns = now; /* what it did before is not known */
    }
    if (t->parts) {
        awake(t, now);
        t->part[USER] = 0;
        if (t->parts & OFF_CPU) {
#pragma unroll
            for (int i = IDLE; i < STATES; i++)
                t->part[i] = 0;
        }
        t->parts = 0;
        t->where = KERNEL;
    }
    if (!t->exit_ns) {
        t->spent[GUEST] += now - t->since_ns;
    } else if (t->exit_ns > UNSEEN && t->exit_ns != now) {
        if (raw && t->exit_ns == t->record_ns)
            return 0; /* on_exit has told it just now, in this event */
        /* VMX's fast path in 5.8 to 5.10 re-enters without a kvm_entry: the guest ran */
        t->overwritten++;
        t->spent[GUEST] += now - (t->since_ns > t->exit_ns ? t->since_ns : t->exit_ns);
    }
    t->exit_ns = now;
    return t;
}

/* The kernel's memory, where the verifier has no type for it. */
#ifdef RDONLY_CAST /* without a helper: bpf_rdonly_cast, since Linux 6.2 (a35b9af4ec2c) */
static u64 (*rdonly_cast)(u64 address, u64 type) = (void *)RDONLY_CAST;
#define PEEK(size, to, from, offset)                                                                          \
    do {                                                                                                      \
        u64 as_any = rdonly_cast(from, ENDLESS);                                                           \
        asm volatile("%0 = *(" #size " *)(%1 + %2)" : "=r"(to) : "r"(as_any), "i"(offset));                   \
    } while (0)
#else
#define PEEK PROBE
#endif

#ifdef RAW_VCPU /* which argument is the vCPU: the isa comes after it, the reason, if it is one, before it */
static __always_inline u32 reason_of(void *ctx)
{
    u32 reason = 0;
#if RAW_VCPU
    reason = ARGUMENT(0);
#else
    u64 vcpu = ARGUMENT(0), isa = ARGUMENT(1);
#ifdef SVM_VMCB
    if (isa == 2) { /* KVM_ISA_SVM: arch/x86/kvm/trace.h */
        u64 vmcb = 0;
        PEEK(u64, vmcb, vcpu, SVM_VMCB);
        PEEK(u32, reason, vmcb, SVM_CODE);
    }
#endif
#ifdef VMX_REASON
    if (isa == 1)
        PEEK(u32, reason, vcpu, VMX_REASON);
#endif
#endif
    return reason;
}

static __always_inline u32 number_of(u64 vcpu)
{
    u32 number = 0;

    PEEK(u32, number, vcpu, VCPU_ID);
    return number;
}
#endif
