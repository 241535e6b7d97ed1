"""README's pictures of the demo can be made, and show what they are about."""

from __future__ import annotations

import re
from pathlib import Path

from tools.tour import NUMBERS, STEPS, animated, take

README = (Path(__file__).parents[2] / "README.md").read_text()


async def test_a_number_for_each_explanation_and_a_frame_for_each_step() -> None:
    first, frames = await take()
    assert re.findall(r'fill="#fff">(\d)</text>', first) == [str(number + 1) for number in range(len(NUMBERS))]
    section = README.partition("## Read the screen")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d\. ", section, re.MULTILINE)) == len(NUMBERS)
    assert len(frames) == len(set(frames)) == len(STEPS)
    assert animated(frames).count('class="rich-terminal"') == len(STEPS)
