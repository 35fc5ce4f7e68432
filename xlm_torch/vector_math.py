"""Functions that MKL computes: each is called once, on one number, before threads share a tensor.

PyTorch hands `exp`, `tanh` and others over to MKL, each thread its part of the tensor. At the first
call of a function in a process, MKL decides which of its codes is to compute it; where two threads
make that call at once, one of them may run a less accurate one for this time. The first loss of a
process was off by 1.3e-6 of its size so, and a run that was resumed went on differently, once in
some tens of processes. What has been decided stays, and is seen by all threads.

Source: issue 188792 of PyTorch, which MKL 2024.2 shows and 2025.0 does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Those that PyTorch computes by MKL where it is built with it.
FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.acos,
    torch.asin,
    torch.atan,
    torch.cos,
    torch.erf,
    torch.erfc,
    torch.erfinv,
    torch.exp,
    torch.log,
    torch.log10,
    torch.log1p,
    torch.log2,
    torch.sin,
    torch.sqrt,
    torch.tan,
    torch.tanh,
    torch.trunc,
)


def settle_functions() -> None:
    """Have MKL decide how it computes each function, in float32 and in float64.

    It draws no random numbers, starts no threads, and takes about two milliseconds.
    """
    if not torch.backends.mkl.is_available():
        return
    for dtype in (torch.float32, torch.float64):
        number = torch.full((1,), 0.5, dtype=dtype, device="cpu")
        for function in FUNCTIONS:
            function(number)
