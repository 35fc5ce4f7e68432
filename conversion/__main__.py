"""`python -m conversion` is the `xlm` command."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

INTERRUPTED = 130


def run() -> int:
    """Run the command of this process; from its first import to its end, Ctrl-C ends it in words.

    Returns:
        The exit code.
    """
    try:
        from conversion.cli import main

        code = main()
        # It is done: while Python ends, the signal would kill it, and the exit code with it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(OSError):
            sys.stderr.write("xlm: interrupted\n")
        return INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(run())
