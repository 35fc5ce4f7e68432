"""NumPy's file of one array, written row by row: its length is filled in at the end."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

# As NumPy's own, with room for a number of rows of any length.
_SIZE = 128
_MAGIC = b"\x93NUMPY\x01\x00"


def npy_header(rows: int, width: int, dtype: str) -> bytes:
    """The header of an array in C order; of the same length for any number of rows.

    Args:
        rows, width: The array's shape.
        dtype: Its dtype, as NumPy names it.
    """
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, width)}
    text = repr(described).encode("ascii")
    length = _SIZE - len(_MAGIC) - 2
    return _MAGIC + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def fill_in(file: BinaryIO, rows: int, width: int, dtype: str) -> None:
    """Write the number of rows into the header at the beginning of a file."""
    file.seek(0)
    file.write(npy_header(rows, width, dtype))
