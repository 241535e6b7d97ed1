/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The tracepoints that tell what an exit touches, where no more is asked of them than that: for detail.bpf.c and
 * timeline.bpf.c, each with its own touch(kind, value, extra). bpf/detail.py has their fields.
 */

#define KVM_TRACE_MMIO_READ 1 /* include/trace/events/kvm.h; 0 announces a read that user space must answer */
#define KVM_TRACE_MMIO_WRITE 2
#define WRITE 1 /* extra: bit 0 a write, bits 15:8 bytes */
#define FAST (0xff << 8) /* a write to an ioeventfd, whose size nobody looked at */
#define INTERRUPTED 1 /* extra of KIND_USER: a signal or a kick, without a reason */

#define TOUCH(name, kind, value, extra) \
    int name(void *ctx)                 \
    {                                   \
        touch(kind, value, extra);      \
        return 1;                       \
    }

#ifdef AT_MMIO_GPA
int on_mmio(void *ctx)
{
    u32 type = AT_MMIO_TYPE;

    if (type == KVM_TRACE_MMIO_READ || type == KVM_TRACE_MMIO_WRITE)
        touch(KIND_MMIO, AT_MMIO_GPA, (type == KVM_TRACE_MMIO_WRITE) | AT_MMIO_LEN << 8);
    return 1;
}
#endif

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
#ifdef AT_VMGEXIT_CODE
TOUCH(on_vmgexit, KIND_VMGEXIT, AT_VMGEXIT_CODE, 0)
#endif
#ifdef AT_CR_NUMBER
TOUCH(on_cr, KIND_CR, AT_CR_NUMBER, AT_CR_RW & 1)
#endif
#ifdef AT_APIC_REGISTER
TOUCH(on_apic, KIND_APIC, AT_APIC_REGISTER, AT_APIC_RW & 1)
#endif
