from __future__ import annotations

from kvmtop.model.vocabulary import SVM, VMX
from kvmtop.reference import exit_reasons
from kvmtop.tables.reason_page import meaning


def test_meanings_have_what_causes_and_advice() -> None:
    for key in ((SVM, 0x7B), (VMX, 30), (VMX, 48 | 1 << 31)):
        text = meaning(*key)
        found = exit_reasons.meaning(*key)
        assert found and text == f"{found.what}\nUsual causes: {found.causes}\nWhat to try: {found.advice}"
    assert meaning(SVM, 0x99999) == ""
