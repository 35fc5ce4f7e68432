"""Errors of other processes that a run needs: one that ended, as TensorFlow tells of it."""

from __future__ import annotations

import re

import tensorflow as tf

from xlm_core.training.engine import text_of_ended_process

_RANK = re.compile(r"Collective ops is aborted by: (.+?):?$", re.MULTILINE)


def lost_process(error: BaseException, *, processes: int) -> str | None:
    """What an error says of another process that ended; None: it is about something else.

    Args:
        error: Whatever was raised.
        processes: Number of those that share the model.
    """
    if processes == 1 or not isinstance(error, tf.errors.OpError):
        return None
    rank = _RANK.search(error.message)
    if rank is None and not isinstance(error, tf.errors.UnavailableError):
        return None
    why = rank[1] if rank else error.message.partition("\n")[0]
    return text_of_ended_process(why)
