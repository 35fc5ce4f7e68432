"""Whose classes a suite tests in this process: the environment says it.

`theirs` are transformers' classes, the control; `ours` the plain classes of this library; `kind`
ours that are also transformers' own kind.
"""

from __future__ import annotations

import os

VARIABLE = "XLM_PEER_SUBJECT"
SUBJECTS = ("theirs", "ours", "kind")


def subject() -> str:
    """One of `SUBJECTS`; without the variable, `ours`."""
    found = os.environ.get(VARIABLE, "ours")
    if found not in SUBJECTS:
        raise ValueError(f"{VARIABLE} is one of {', '.join(SUBJECTS)}, not {found!r}")
    return found
