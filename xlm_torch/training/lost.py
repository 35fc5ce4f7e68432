"""Errors of other processes that a run needs: one that ended, as PyTorch tells of it."""

from __future__ import annotations

import re

import torch

from xlm_core.training.engine import text_of_ended_process

_READER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(?:is )?(killed by signal: [\w ]*\w|exited unexpectedly)"
)
# Of gloo and of NCCL.
_RANK = re.compile(
    r"gloo/transport/\S+\] (.+?)(?:\. |$)|remote process exited|closed by remote peer", re.MULTILINE
)


def lost_process(error: BaseException, *, processes: int) -> str | None:
    """What an error says of another process that ended; None: it is about something else.

    Args:
        error: Whatever was raised.
        processes: Number of those that share the model.
    """
    if not isinstance(error, RuntimeError):
        return None
    if found := _READER.search(str(error)):
        return (
            f"a reading process ended (pid {found[1]}, {found[2]}): did memory run out, or was a "
            "corpus changed in place?"
        )
    if processes == 1:
        return None
    rank = _RANK.search(str(error))
    network = (torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    if rank is None and not isinstance(error, network):
        return None
    why = rank[1] or rank[0] if rank else str(error).partition("\n")[0]
    return text_of_ended_process(why)
