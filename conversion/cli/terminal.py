"""Exit codes of the command line, and writing to its standard output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from conversion.reports.progress import ByteProgress

PASSED, FAILED, IMPOSSIBLE = 0, 1, 2
# As a shell has it: 128 and the number of the signal.
INTERRUPTED = 130


def write_out(text: str) -> None:
    """Write lines to the standard output; who reads it may have enough before the end."""
    try:
        try:
            sys.stdout.write(f"{text}\n")
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding or "ascii"
            sys.stdout.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        leave_pipe()


def leave_pipe() -> None:
    """What is still in the buffer must not be tried again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[ByteProgress]:
    """Progress on the standard error if that is a terminal; gone at the end, error or not."""
    progress = ByteProgress(sys.stderr if not quiet and sys.stderr.isatty() else None)
    try:
        yield progress
    finally:
        progress.end()
