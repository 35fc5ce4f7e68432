"""Random numbers that depend on what they are for, and on nothing that was drawn before."""

from __future__ import annotations

import hashlib
import json
import operator

import numpy as np

from xlm_core.errors import ConfigError


def generator_of(seed: int, *purpose: str | int) -> np.random.Generator:
    """The generator of one purpose, such as the masks of batch 1,000 of a task.

    Whoever names the same purpose gets the same numbers: another rank, a reading process, a run
    that was resumed there.

    Args:
        seed: Of the whole run.
        purpose: Names and numbers; two purposes that differ are independent.

    Raises:
        ConfigError: If the seed is no whole number, of whatever size.
    """
    try:
        number = int(operator.index(seed))
    except TypeError:
        raise ConfigError(f"seed is {seed!r:.80}: expected a whole number.") from None
    text = json.dumps([number, *purpose], default=operator.index)  # numpy's numbers too
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], "<u8")))
