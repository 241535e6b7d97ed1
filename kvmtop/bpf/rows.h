/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Rows that are handed out to keys, and bounded: for C files with the maps rows, places and free_rows. keyed_rows.py */

/* The key's row, none where there is no room; its place, and whether it has just got it. */
static __always_inline struct row *row_of(struct key *k, u32 *place, bool *fresh)
{
    u32 *known = places.lookup(k), n = 0;

    if (known) {
        *place = *known;
        return rows.lookup(place);
    }
    if (free_rows.pop(&n) || !n)
        return 0;
    struct row *row = rows.lookup(&n);
    if (!row || places.update(k, &n)) {
        free_rows.push(&n, 0);
        return 0;
    }
    row->key = *k;
    *place = n;
    *fresh = 1;
    return row;
}
