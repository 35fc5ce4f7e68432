"""Random numbers that depend on what they are for, and on nothing that was drawn before."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def generator_of(seed: int, *purpose: str | int) -> np.random.Generator:
    """The generator of one purpose, such as the masks of batch 1,000 of a task.

    Whoever names the same purpose gets the same numbers: another rank, a reading process, a run
    that was resumed there.

    Args:
        seed: Of the whole run.
        purpose: Names and numbers; two purposes that differ are independent.
    """
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], "<u8")))
