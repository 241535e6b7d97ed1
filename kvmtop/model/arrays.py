"""The types of numpy arrays, and where the values of one are in another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.void]  # of a structured dtype
U16 = npt.NDArray[np.uint16]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def find(where: npt.NDArray[np.uint64], what: npt.NDArray[np.uint64]) -> I64:
    """The position of each of `what` in `where`; -1 where it is not."""
    if not len(where):
        return np.full(len(what), -1)
    if np.array_equal(where[: len(what)], what):  # as a rule
        return np.arange(len(what))
    order = np.argsort(where)
    at = order[np.minimum(np.searchsorted(where, what, sorter=order), len(where) - 1)]
    found: I64 = np.where(where[at] == what, at, -1)
    return found
