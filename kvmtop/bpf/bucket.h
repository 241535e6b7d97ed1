/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The histogram's bucket of a duration: four to an octave, see snapshot.py. */
#define BUCKETS 128
#define FIRST_OCTAVE 5

/* BPF has no count of leading zeros: halve the distance to the highest bit each time. */
static __always_inline u64 bucket(u64 ns)
{
    u64 v = ns;
    u32 octave = 0;

    if (ns < 1 << FIRST_OCTAVE)
        return 0;
    if (ns >> 37)
        return BUCKETS - 1;
    if (v >> 32) { v >>= 32; octave = 32; }
    if (v >> 16) { v >>= 16; octave += 16; }
    if (v >> 8) { v >>= 8; octave += 8; }
    if (v >> 4) { v >>= 4; octave += 4; }
    if (v >> 2) { v >>= 2; octave += 2; }
    octave += v >> 1;
    v = ((octave - FIRST_OCTAVE) << 2) + (ns >> (octave - 2) & 3);
    /* The bound where the verifier sees it; clang would move it to where some kernels lose it. */
    asm volatile("%0 &= 127" : "+r"(v));
    return v;
}
