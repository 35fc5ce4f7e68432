"""What all sub-commands share: exit codes, standard output, and progress."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO, TypeAlias

from conversion.cli.parsing import Parser
from conversion.reports.progress import ByteProgress

# What sub-commands are added to.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

PASSED, FAILED, IMPOSSIBLE = 0, 1, 2
# As shells report it: 128 plus the number of the signal.
INTERRUPTED = 130


def write_out(text: str) -> None:
    """Write a text to the standard output, whose reader may stop before the end."""
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
    """Discard the rest of the output, or the interpreter would try to write it at its end."""
    _discard(sys.stdout)


def write_error(text: str) -> None:
    """Write a line to the standard error, if anybody is there to be told."""
    if sys.stderr is not None:  # which was closed before the process began
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{text}\n")
        settle_errors()


def settle_errors() -> None:
    """Discard what the standard error does not take: a full disk, a terminal that went away.

    The interpreter would try once more at its end, and turn any exit code into 120.
    """
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[ByteProgress]:
    """Show progress on the standard error if that is a terminal; remove it even after an error."""
    progress = ByteProgress(sys.stderr if not quiet and sys.stderr.isatty() else None)
    try:
        yield progress
    finally:
        progress.end()
