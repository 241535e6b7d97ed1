"""Text from others, made fit to be shown."""

from __future__ import annotations

import re

# What a terminal obeys, and surrogates. What is shown as nothing: Default_Ignorable_Code_Point, in Unicode 15's
# DerivedCoreProperties, which unicodedata lacks. What is shown as a blank: other spaces, Braille without dots,
# Egyptian blanks, Khitan's filler, a note without a head.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufff9-\ufffb"
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    r"\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\u3000\U00013441\U00013442\U00016fe4\U0001d159]+"
)

NAME_LENGTH = 200


def clean(text: str, length: int = NAME_LENGTH) -> str:
    """One line in which all can be seen, or is a space: names come from whoever starts a VM."""
    return _UNSEEN.sub(" ", text).strip()[:length].rstrip()
