"""Files that are written: under another name until they are whole, compressed by their name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from xlm_core.errors import InputError


def real_path(path: Path) -> Path:
    """Where a file is in fact: a link stays, and what it points to is replaced.

    Raises:
        InputError: If it is a folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file.")
    return path


def is_device(path: Path) -> bool:
    """Whether it is a device or a pipe, which cannot be replaced."""
    return path.exists() and not path.is_file()


def check_absent(path: Path, overwrite: bool) -> None:
    """Refuse to write over what is there, unless that is wanted.

    Raises:
        InputError: If there is a file.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: give another name, or overwrite=True.")


@contextmanager
def written(path: Path, overwrite: bool) -> Iterator[Any]:
    """A file to write to, which is renamed to `path` unless something fails."""
    path = real_path(path)
    if is_device(path):
        with path.open("wb") as file:
            yield file
        return
    check_absent(path, overwrite)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as raw, compressed(raw, path.name) as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def compressed(raw: BinaryIO, name: str) -> Iterator[Any]:
    """A stream into `raw` that compresses if `name` ends in .gz, .xz or .bz2."""
    if name.endswith(".gz"):
        # Without name and time: the same texts give the same file.
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
            yield zipped
    elif name.endswith(".xz"):
        with lzma.LZMAFile(raw, "wb") as packed:
            yield packed
    elif name.endswith(".bz2"):
        with bz2.BZ2File(raw, "wb") as squeezed:
            yield squeezed
    else:
        yield raw
