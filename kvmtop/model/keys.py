"""Two numbers of 32 bits in one of 64: tgid and tid of a thread, isa and code of a reason."""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

_LOW = 0xFFFFFFFF


@overload
def pack(high: int, low: int) -> int: ...


@overload
def pack(high: npt.NDArray[np.integer], low: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]: ...


def pack(high: int | npt.NDArray[np.integer], low: int | npt.NDArray[np.integer]) -> int | npt.NDArray[np.uint64]:
    """Both in one, the first in bits 63:32."""
    if isinstance(high, np.ndarray):
        return np.asarray(high.astype("u8") << np.uint64(32) | np.asarray(low, "u8"))
    return high << 32 | int(low)


@overload
def unpack(both: int) -> tuple[int, int]: ...


@overload
def unpack(both: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]: ...


def unpack(both: int | npt.NDArray[np.uint64]) -> tuple[object, object]:
    """What pack() was given."""
    if isinstance(both, np.ndarray):
        return both >> np.uint64(32), both & np.uint64(_LOW)
    return both >> 32, both & _LOW
