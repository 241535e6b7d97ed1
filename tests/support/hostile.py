"""Names as somebody who means harm would choose them, and a disk that is full."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    'say "hi", they said',
    "two\nlines\r\nand\ta tab",
    "a,b;c",
    "x" * 65536,
    "\udcff\udcfe broken",
    "\u202etxt.exe",
    "</script>{}[]\\",
    "=cmd|' /C calc'!A0",
    "-1+1",
    "@x",
    "\x85\u2028end",
    "",
    " ",
    "日本語",
    "'quoted'",
    b"\xff\xfeQ".decode(errors="surrogateescape"),
    "\x00\x01",
]

NASTY = ["[bold red]x[/]", "a" * 200, "虚拟机" * 30, "x\x1b[31mred\x1b]0;t\x07", "new\nline", "\u202edesrever"]


def disk_full(*_: object) -> NoReturn:
    """In place of what writes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
