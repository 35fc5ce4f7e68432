"""Files and folders are written whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; at the end of the block it takes its place.

    Whatever interrupts the block, `target` stays as it was and nothing is left beside it.
    """
    temporary = _beside(target)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """As `written_whole`, for a folder, which replaces the one at `target` with all its files.

    Where the system can exchange two names in one step (Linux), `target` is at every moment the
    old folder or the new one, even if the process is killed. Elsewhere there is a moment between
    two renames at which it is absent and the old one stands beside it.
    """
    if target.is_symlink():  # a link stays, and what it leads to is replaced
        target = Path(os.path.realpath(target))
    temporary = _beside(target)
    _remove(temporary)  # of a process of the same number that was killed
    temporary.mkdir()
    try:
        yield temporary
        if not target.exists():
            os.rename(temporary, target)
        elif not _exchange(temporary, target):
            aside = temporary.with_suffix(".old")
            os.rename(target, aside)
            try:
                os.rename(temporary, target)
            except BaseException:
                os.rename(aside, target)
                raise
            shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        _remove(temporary)
        raise
    # The new folder is in its place: what cannot be removed of the old one is left beside it.
    shutil.rmtree(temporary, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = (os.fsencode(first), os.fsencode(second))
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):  # this kernel or file system has no exchange
        return False
    raise OSError(code, os.strerror(code), os.fspath(second))
