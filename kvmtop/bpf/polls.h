/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How halts are polled: for detail.bpf.c, whose maps these are. */

enum { HIT, WASTED, UNPOLLED }; /* value of KIND_POLL */

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
    if (!known || !(g->kinds >> KIND_POLL & 1) || skipped(g, id >> 32) || !wanted(g, e))
        return 1;
    u32 place;
    struct row *r = touched(id, KIND_POLL, hits ? HIT : misses ? WASTED : UNPOLLED, 0, &place);
    if (r) {
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

    if (!g || !(g->kinds >> KIND_POLL & 1) || skipped(g, id >> 32) || !wanted(g, e))
        return 1;
    u32 place;
    struct row *r = touched(id, KIND_WINDOW, 0, 0, &place);
    if (r) {
        r->count++;
        r->max = AT_POLL_NEW;
    }
    return 1;
}
#endif
