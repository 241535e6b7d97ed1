"""A memory map of QEMU."""

from __future__ import annotations

MTREE = """\
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    00000000febd0000-00000000febd0fff (prio 1, i/o): virtio-blk\x1b[31m[bold]
address-space: I/O
  0000000000000000-000000000000ffff (prio 0, i/o): io
    0000000000000600-0000000000000607 (prio 0, i/o): acpi-tmr
"""
