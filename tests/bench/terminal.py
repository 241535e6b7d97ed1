"""A terminal that takes every frame, as it would be drawn, and throws it away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import ClassVar

from textual.drivers.headless_driver import HeadlessDriver

from kvmtop.ui.app import KvmtopApp


class Terminal(HeadlessDriver):
    """Not headless for Textual, which would make no frames then."""

    frames: ClassVar[list[float]] = []  # time.perf_counter() of each write

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        data.encode()  # as a terminal's driver has to
        Terminal.frames.append(time.perf_counter())


@contextlib.asynccontextmanager
async def running(app: KvmtopApp, size: tuple[int, int]) -> AsyncIterator[None]:
    """The program at work in such a terminal."""
    app.driver_class = Terminal
    program = asyncio.create_task(app.run_async(size=size))
    try:
        yield
    finally:
        app.exit()
        await program
