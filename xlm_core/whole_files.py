"""Files and folders are written whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
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
def folder_written_whole(target: Path, *, flushed: bool = False) -> Iterator[Path]:
    """As `written_whole`, for a folder, which replaces the one at `target` with all its files.

    Where the system can exchange two names in one step (Linux), `target` is at every moment the
    old folder or the new one, even if the process is killed. Elsewhere there is a moment between
    two renames at which it is absent and the old one stands beside it; `put_back` mends that.
    `flushed`: it is on the disk before the old one goes, so that one outlives a loss of power.
    """
    if target.is_symlink():  # a link stays, and what it leads to is replaced
        target = Path(os.path.realpath(target))
    temporary = _free_beside(target)
    temporary.mkdir()
    try:
        yield temporary
        if flushed:
            _flush(temporary)
        put_folder(temporary, target, flushed=flushed)
    except BaseException:
        _remove(temporary)
        raise
    if flushed:
        _sync(target.parent)
    # The new folder is in its place: what cannot be removed of the old one is left beside it.
    shutil.rmtree(temporary, ignore_errors=True)


def put_folder(folder: Path, target: Path, *, flushed: bool = False) -> None:
    """Give a folder beside `target` its place, as `folder_written_whole` says.

    What was there is removed, or stands at `folder`, where names could be exchanged.
    """
    if not target.exists():
        os.rename(folder, target)
    elif not _exchange(folder, target):
        aside = folder.with_suffix(".old")
        try:
            os.rename(target, aside)
            os.rename(folder, target)
        except BaseException:
            if not target.exists():
                os.rename(aside, target)
            raise
        if flushed:
            _sync(target.parent)
        shutil.rmtree(aside, ignore_errors=True)


def put_back(target: Path) -> None:
    """Give a folder its name again, if a process was killed that had renamed it to replace it."""
    target = Path(os.path.realpath(target))
    if target.exists() or not target.parent.is_dir():
        return
    name = re.compile(rf"\.{re.escape(target.name)}\.\d+(\.\d+)?\.old")
    found = [each for each in target.parent.iterdir() if name.fullmatch(each.name)]
    with suppress(OSError):  # another rank was first
        if found:
            os.rename(max(found, key=lambda each: each.stat().st_mtime), target)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _free_beside(target: Path) -> Path:
    """As `_beside`; another number, that of no process, where a folder cannot be removed."""
    for number in count(os.getpid(), 1 << 22):
        temporary = target.with_name(f".{target.name}.{number}.tmp")
        # Of a process of the same number that was killed, or of what was replaced before.
        shutil.rmtree(temporary, ignore_errors=True)
        if not (temporary.exists() or temporary.with_suffix(".old").exists()):
            break
    return temporary


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _flush(folder: Path) -> None:
    for where, _, names in os.walk(folder, topdown=False):
        for path in (*(os.path.join(where, name) for name in names), where):
            _sync(path)


def _sync(path: str | Path) -> None:
    """Wait until a file or a folder is on the disk, where the system can tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(descriptor)


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
