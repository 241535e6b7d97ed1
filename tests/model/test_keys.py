from __future__ import annotations

import numpy as np
import pytest

from kvmtop.model.keys import pack, unpack
from kvmtop.model.reasons import DEVICE, HLT, basic
from kvmtop.model.vocabulary import SVM, VMX

PAIRS = [(0, 0), (SVM, 0x400), (VMX, 12 | 1 << 31), (4_194_304, 4_194_303), (2**32 - 1, 2**32 - 1)]


@pytest.mark.parametrize(("high", "low"), PAIRS)
def test_two_numbers_in_one_and_back(high: int, low: int) -> None:
    assert pack(high, low) == high * 2**32 + low
    assert unpack(pack(high, low)) == (high, low)


@pytest.mark.parametrize("dtype", ["u4", "u8", "i8"])
def test_columns_of_them_are_the_same_numbers_in_64_bits(dtype: str) -> None:
    high, low = (np.array(column, dtype) for column in zip(*PAIRS, strict=True))
    both = pack(high, low)
    assert both.dtype == np.uint64 and both.tolist() == [pack(*pair) for pair in PAIRS]
    back = unpack(both)
    assert [column.dtype for column in back] == [np.uint64] * 2
    assert list(zip(*(column.tolist() for column in back), strict=True)) == PAIRS


def test_the_flags_are_vmxs_only() -> None:
    assert basic(VMX, 12 | 1 << 27) in HLT and basic(VMX, 49 | 1 << 26) in DEVICE
    assert basic(SVM, 0x10078) not in HLT and basic(SVM, 0x80000010) == (SVM, 0x80000010)
