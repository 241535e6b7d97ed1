/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The histogram's bucket of a duration: four to an octave, see snapshot.py. */
#define BUCKETS 128
#define FIRST_OCTAVE 5

/*
 * BPF has no count of leading zeros: halve the distance to the highest bit each time. In assembler, because
 * clang makes two jumps of each step.
 */
#define HALVE(bits) HALVE_AT(bits, "i")
#define HALVE_AT(bits, kind) \
    asm volatile("if %0 < %2 goto +2\n%0 >>= " #bits "\n%1 += " #bits : "+r"(v), "+r"(octave) : kind(1ULL << bits))

static __always_inline u64 bucket(u64 ns)
{
    u64 v = ns >> FIRST_OCTAVE, octave = 0;

    if (v - 1 >= (1ULL << 32) - 1)
        return v ? BUCKETS - 1 : 0;
    HALVE(16);
    HALVE(8);
    HALVE(4);
    HALVE(2);
    HALVE(1);
    v = (octave << 2) + (ns >> (octave + FIRST_OCTAVE - 2) & 3);
    /* The bound where the verifier sees it; clang would move it to where some kernels lose it. */
    asm volatile("%0 &= 127" : "+r"(v));
    return v;
}

/* The number of the lowest bit that is set; clang's own crashes bcc. */
static __always_inline u64 lowest(u64 bits)
{
    u64 v = bits & -bits, octave = 0;

    HALVE_AT(32, "r"); /* more than an immediate may be */
    HALVE(16);
    HALVE(8);
    HALVE(4);
    HALVE(2);
    HALVE(1);
    return octave;
}
