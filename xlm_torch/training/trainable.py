"""What of a model is trained, and whether a run can train it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xlm_core.errors import ConfigError


def check_trainable(model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Raise `ConfigError` unless the optimizer and checkpoints have all that is trained."""
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    known = {model._name(spec) for spec in model.tensor_specs()}
    missing, foreign, narrow = [], [], []
    for name, parameter in model.named_parameters():
        optimized_here = id(parameter) in optimized
        optimized.discard(id(parameter))
        if name not in known:
            foreign.append(name)
        if parameter.requires_grad and not optimized_here:
            missing.append(name)
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            narrow.append(name)
    if foreign:
        raise ConfigError(
            f"the model has parameters that its checkpoints do not hold: {_some(foreign)}. Merge "
            "adapters first, or train them with your own loop."
        )
    if missing:
        raise ConfigError(
            f"parameters that require gradients are not the optimizer's: {_some(missing)}. Give it "
            "all of model.parameters(); those to be left alone have requires_grad False."
        )
    if optimized:
        raise ConfigError(
            f"the optimizer has {len(optimized)} parameters that are not the model's: make it "
            "from this model's, after the model was moved or resized."
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("the model has nothing to train: no parameter requires gradients.")
    if narrow:
        raise ConfigError(
            f"weights are in half precision, in which small updates vanish: {_some(narrow)}. Call "
            "model.float(), and choose the precision of the computation."
        )
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.sparse:
            raise ConfigError(f"the gradient of {name} is sparse: expected dense ones.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
