/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What KVM says of the guest's page faults: for detail.bpf.c, whose exits and touch() these are. */

#define FETCH 2 /* extra of KIND_FAULT; where neither PRESENT nor ABSENT is set, only WRITE is known */
#define PRESENT 4
#define ABSENT 8
#define RESERVED 16
#define WALK 32 /* of the guest's page tables */
#define LOGGED 64 /* KVM only had to make the page writable again */
#define WRITABLE 2 /* PT_WRITABLE_MASK and VMX_EPT_WRITABLE_MASK of a page table's entry */

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
