"""Import TensorFlow without its log messages; for the command line only.

TF_CPP_MIN_LOG_LEVEL does not cover what TensorFlow logs before it has set up its logging, so the
standard error is held back during the import. Errors and everything unknown are shown afterwards.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import tempfile

# Messages and warnings of absl's log: "I0000 00:00:1700000000.1  1234 file.cc:31] ..."
_NOTE = re.compile(rb"(WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:)")


def import_tensorflow() -> None:
    """Import TensorFlow if it is installed; a failing import is left for the next one to report."""
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            with contextlib.suppress(ImportError):
                importlib.import_module("tensorflow")
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held.read().splitlines(keepends=True):
                if not _NOTE.match(line):
                    os.write(2, line)
