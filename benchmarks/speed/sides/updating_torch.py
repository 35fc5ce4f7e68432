"""What an optimizer of PyTorch takes to update the parameters of a language model: ours, or its."""

from __future__ import annotations

import torch

from benchmarks.speed.protocol import Prepared
from benchmarks.speed.tasks import (
    BETAS,
    DECAY,
    EPSILON,
    LEARNING_RATE,
    Task,
    gradients_of,
    seconds_of,
    sizes_of,
)


def prepared(task: Task, optimizer: str) -> Prepared:
    """Updates one after the other, by gradients that stay.

    Args:
        task: Of the kind "update".
        optimizer: "foreach" or "fused", of PyTorch's AdamW; else ours.
    """
    from xlm_torch import OriginalAdam

    parameters = [torch.nn.Parameter(torch.ones(size)) for size in sizes_of(task)]
    for parameter, gradient in zip(parameters, gradients_of(task), strict=True):
        parameter.grad = torch.from_numpy(gradient)
    values = {"lr": LEARNING_RATE, "betas": BETAS, "eps": EPSILON, "weight_decay": DECAY}
    by_name = {"foreach": {"foreach": True}, "fused": {"fused": True}}
    made: torch.optim.Optimizer = (
        torch.optim.AdamW(parameters, **values, **by_name[optimizer])
        if optimizer in by_name
        else OriginalAdam(parameters, **values)
    )

    def run() -> dict[str, float]:
        return {"seconds": seconds_of(made.step)}

    return Prepared(run)
