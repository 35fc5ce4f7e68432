"""A file that one process holds as long as it lives, so that a second one notices.

The lock is the system's (POSIX record locks), not the file's existence: it ends with its process,
however that ends, and child processes do not inherit it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xlm_core.errors import CheckpointError, XLMWarning

# A process that looks whether a file is held holds it itself for a moment.
_ATTEMPTS, _PAUSE = 10, 0.05
_HOLDER = re.compile(r"process \d{1,10} on [\w.-]{1,255}")
# Files that this process holds, by device and number. To open and close one of them again would
# give its lock up.
_held: set[tuple[int, int]] = set()


@contextmanager
def locked(file: Path, what: str) -> Iterator[None]:
    """Hold a file within the block; where the file system has no locks, with a warning and no more.

    Args:
        file: Made if need be, and left behind.
        what: It stands for, as the error names it.

    Raises:
        CheckpointError: If another process holds it, or this one already.
        OSError: If it cannot be opened.
    """
    with suppress(FileNotFoundError):
        _refuse_own(file, what)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for attempt in range(_ATTEMPTS):
            if (holds := _lock(descriptor, shared=False)) is not False:
                break
            if attempt < _ATTEMPTS - 1:
                time.sleep(_PAUSE)
        if holds is False:
            raise _in_use(what, _holder(descriptor))
        if holds is None:
            warnings.warn(
                f"{file.parent} has no file locks: another process that writes to {what} would "
                "not be noticed.",
                XLMWarning,
                stacklevel=4,
            )
        with suppress(OSError):  # the disk may be full; this is for the error of others alone
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        key = _key(os.fstat(descriptor))
        _held.add(key)
        try:
            yield
        finally:
            _held.discard(key)
    finally:
        os.close(descriptor)


def check_unlocked(file: Path, what: str) -> None:
    """Raise `CheckpointError` if a process holds a file by `locked`; writes nothing.

    Any number of processes may look at the same time.
    """
    try:
        _refuse_own(file, what)
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:  # nobody held it yet, or whoever tries to hold it learns why that fails
        return
    try:
        if _lock(descriptor, shared=True) is False:
            raise _in_use(what, _holder(descriptor))
    finally:
        os.close(descriptor)


def is_own(file: Path) -> bool:
    """Whether a file is not somebody else's: this process holds it, or it is not there."""
    try:
        return _key(file.stat()) in _held
    except FileNotFoundError:
        return True


def _lock(descriptor: int, *, shared: bool) -> bool | None:
    """Whether a lock was taken; None: there are no locks here."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.lockf(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN) else None
    return True


def _refuse_own(file: Path, what: str) -> None:
    if _key(file.stat()) in _held:
        raise _in_use(what, "this process")


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _holder(descriptor: int) -> str:
    """Who holds a file, as it says there."""
    text = os.pread(descriptor, 300, 0).decode("ascii", "replace").strip()
    return text if _HOLDER.fullmatch(text) else "another process"


def _in_use(what: str, holder: str) -> CheckpointError:
    error: CheckpointError = CheckpointError(
        f"{what} is in use: {holder} trains there. Wait until it ends or stop it, or give another "
        "name (output)."
    )
    return error
