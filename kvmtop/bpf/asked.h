/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Of which VMs somebody asked to be told: for detail.bpf.c and stacks.bpf.c, whose struct config has `pids`. */

/* Whether this process is one of them. */
static __always_inline bool asked(struct config *g, u32 tgid)
{
    if (!g->pids[0]) /* of all */
        return 1;
#pragma unroll
    for (u32 i = 0; i < PIDS; i++)
        if (g->pids[i] == tgid)
            return 1;
    return 0;
}
