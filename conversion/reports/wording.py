"""How all reports write names from files, sizes, shapes and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_LONGEST = 300


def shown(text: object, longest: int | None = _LONGEST) -> str:
    """Make a text that came from a file safe to print.

    Characters that are not printable (control characters, lone surrogates, line ends) are escaped
    as Python writes them; a text of more than `longest` characters is cut.
    """
    whole = str(text)
    plain = "".join(c if c.isprintable() else _escaped(c) for c in whole[:longest])
    return plain if longest is None or len(whole) <= longest else f"{plain}..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def size_of(count: int) -> str:
    """Write a number of bytes in powers of ten, such as "23.2 MB"."""
    size, unit = float(count), 0
    while size >= 999.95 and unit + 1 < len(_UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:,.1f} {_UNITS[unit]}" if unit else f"{count} bytes"


def shape_of(shape: Sequence[int]) -> str:
    """Write a shape, such as "12 x 48"."""
    return " x ".join(map(str, shape)) or "scalar"


def two_digits(value: float) -> str:
    """Write a difference with two digits, or "-" where there is none to tell (NaN)."""
    return "-" if math.isnan(value) else f"{value:.1e}"


def counted(count: int, what: str) -> str:
    """Write a number and a noun, in the plural unless the number is one."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[object], most: int = 8) -> str:
    """Join names with commas; of many, the first ones and how many more there are."""
    text = ", ".join(shown(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most:,} more"


def aligned(cells: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Lines of a table with aligned columns.

    Args:
        cells: The rows, header first, all of the same length.
        left: Indices of the columns to align on the left; the others are aligned on the right.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
