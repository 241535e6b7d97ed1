/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Guests of guests: for collector.bpf.c, whose maps these are. KVM tells of them by events of their own, so an exit of a
 * guest that runs none costs nothing more.
 *
 * An exit of a nested guest (L2) is a kvm_exit like any other; then KVM asks whose it is, and says kvm_nested_vmexit
 * (svm_handle_exit in svm/svm.c, nested_vmx_reflect_vmexit in vmx/nested.c). If its hypervisor (L1) wants it, KVM
 * switches to that one's state, and says kvm_nested_vmexit_inject; with another reason where it is for something else,
 * as an interrupt that came meanwhile. What KVM does on its fast path it does before it asks: of nested guests those
 * are exits of VMX's preemption timer, since Linux 6.9 (vmx_exit_handlers_fastpath), which are told as L1's.
 */

/* The thread whose exit KVM speaks of. */
static __always_inline struct thread *outside(void)
{
    struct cpu *cpu = this_cpu();
    struct thread *t = cpu ? find(cpu) : 0;

    return t && t->exit_ns > UNSEEN ? t : 0;
}

/* For how long it had been halted, or without a CPU that it could have used, when its open exit began; ns. */
static __always_inline u64 away(struct thread *t)
{
    u64 ns = t->spent[IDLE] + t->spent[WAIT] + t->spent[THROTTLED];

    if (t->parts & OFF_CPU)
        ns -= t->part[IDLE] + t->part[WAIT] + t->part[THROTTLED];
    return ns;
}

int on_nested_exit(void *ctx)
{
    struct thread *t = outside();

    if (t)
        t->isa |= NESTED;
    return 1;
}

#ifdef INJECT_REASON
int on_inject(void *ctx)
{
#ifdef RAW
    u32 reason = ARGUMENT(0);
#else
    u32 reason = FIELD(INJECT_REASON);
#endif
    struct thread *t = outside();

    if (!t)
        return 1;
    if (t->isa & NESTED && reason == t->reason)
        t->isa |= REFLECTED;
    if (!t->out_ns) {
        t->out_ns = t->exit_ns;
        t->out_away = away(t);
    }
    return 1;
}
#endif

/* kvm_nested_vmenter, before Linux 6.1 kvm_nested_vmrun, of AMD alone: in an exit of VMRUN or its like. */
int on_nested_entry(void *ctx)
{
    struct thread *t = outside();

    if (t && t->out_ns) {
        t->nested_ns += t->exit_ns - t->out_ns - (away(t) - t->out_away);
        t->out_ns = 0;
    }
    return 1;
}
