"""Optimizers and learning rates by the names of a configuration."""

from __future__ import annotations

from typing import Any

import torch

from xlm_core.training.config import OptimizerSettings
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_torch.optimizers import OriginalAdam


def optimizer_of(settings: OptimizerSettings, model: Any) -> torch.optim.Optimizer:
    """The optimizer of all parameters of a model, in one group, as in the original.

    Those that require no gradients are left alone as long as they do not.

    Args:
        settings: Its name: "adam_inverse_sqrt" and "adam" are the original's Adam, "adamw" and
            "sgd" PyTorch's own.
        model: A language model or an encoder-decoder.
    """
    parameters = list(model.parameters())
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, lr=settings.learning_rate)
    kind = torch.optim.AdamW if settings.name == "adamw" else OriginalAdam
    first, second = settings.betas
    return kind(
        parameters,
        lr=settings.learning_rate,
        betas=(first, second),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )


def learning_rate_of(settings: OptimizerSettings) -> InverseSquareRoot | None:
    """The learning rate of each update; None: it stays what it is."""
    if settings.name != "adam_inverse_sqrt":
        return None
    return InverseSquareRoot(
        learning_rate=settings.learning_rate,
        warmup_updates=settings.warmup_updates,
        warmup_init_lr=settings.warmup_init_lr,
    )
