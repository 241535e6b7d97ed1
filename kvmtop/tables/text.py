"""Tables as lines of text, for logs and pipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.cells import cell_len, set_cell_size

from .columns import Column
from .rows import Cell

T = TypeVar("T")


def lines(columns: Sequence[Column[T]], items: Iterable[T]) -> Iterator[str]:
    """The titles, then a line for each item. No number is cut, nor any text but that of a column that says so."""
    yield _line(columns, [column.title for column in columns])
    for item in items:
        yield _line(columns, [column.cell(item) for column in columns])


def _line(columns: Sequence[Column[T]], cells: Sequence[Cell]) -> str:
    line, left = "", True
    for column, cell in zip(columns, cells, strict=True):
        text = cell if isinstance(cell, str) else "".join(run for run, _ in cell)
        if column.left:
            text = set_cell_size(text, column.width - 1 if column.cut else max(column.width, cell_len(text)))
            text += " " * column.cut
            line += text if left else f" {text}"  # right behind a number, one blank is too few
        else:
            line += f"{text:>{column.width}}"
        line, left = line + " ", column.left
    return line.rstrip()


def shortened(text: str, width: int) -> str:
    """Cut at a word's end where it is too long."""
    if cell_len(text) <= width:
        return text
    cut = set_cell_size(text, max(width - 1, 0))
    if text[len(cut) :][:1] != " " and " " in cut:
        cut = cut.rpartition(" ")[0]
    return cut.rstrip(" ,:;(<") + "…" if width > 0 else ""


def wrapped(text: str, width: int, most: int) -> list[str]:
    """In so many lines at most, the last of which is cut where there is more."""
    lines, words = [""], text.split()
    for number, word in enumerate(words):
        line = f"{lines[-1]} {word}".lstrip()
        if cell_len(line) <= width or not lines[-1]:
            lines[-1] = line
        elif len(lines) == most:
            lines[-1] = " ".join([lines[-1], *words[number:]])
            break
        else:
            lines.append(word)
    return [shortened(line, width) for line in lines]
