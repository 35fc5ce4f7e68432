"""Weights and optimizer states as whole tensors, whatever shares them among processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError, ConfigError
from xlm_torch.optimizers import local_part
from xlm_torch.pretrained import arrays_of, tensor_of

Names = Mapping[nn.Parameter, str]


def whole(tensor: Tensor, *, kept: bool = True) -> Tensor:
    """A tensor that may be sharded, whole and on the CPU: every rank has to ask for it.

    Args:
        tensor: The tensor.
        kept: Whether this rank wants it; one that does not gets an empty one.
    """
    gather = getattr(tensor, "full_tensor", None)
    found: Tensor = (tensor if gather is None else gather()).detach()
    return found.cpu() if kept else found.new_empty(0)


def fill(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    if hasattr(target, "device_mesh"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        sharded = cast(DTensor, target)
        # Every rank has read the whole: nothing needs to be sent.
        value = distribute_tensor(
            value.to(target.device), sharded.device_mesh, sharded.placements, src_data_rank=None
        )
    with torch.no_grad():
        local_part(target).copy_(local_part(value))


def lazy_tensors(tensors: Mapping[str, Tensor]) -> dict[str, LazyTensor]:
    """As `xlm_core.containers` writes them."""
    return {name: LazyTensor.of(array) for name, array in arrays_of(tensors).items()}


# -- the optimizer ---------------------------------------------------------------------------------


def optimizer_state(
    optimizer: torch.optim.Optimizer, names: Names, *, kept: bool = True
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What an optimizer knows: its tensors as "parameter/state", and the rest as JSON holds it.

    Args:
        optimizer: The optimizer.
        names: Of its parameters.
        kept: As in `whole`.

    Raises:
        ConfigError: If it knows what is neither a tensor nor a number.
    """
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter, key, value in _states(optimizer):
        name = names[parameter]
        if isinstance(value, Tensor):
            tensors[f"{name}/{key}"] = whole(value, kept=kept)
        elif isinstance(value, (int, float)):
            numbers.setdefault(name, {})[key] = value
        else:
            raise ConfigError(
                f"{type(optimizer).__name__} keeps {key!r} of a parameter as "
                f"{type(value).__name__}: a run with it cannot be saved."
            )
    groups = [
        {
            "parameters": [names[parameter] for parameter in group["params"]],
            **{key: _plain(value) for key, value in group.items() if key != "params"},
        }
        for group in optimizer.param_groups
    ]
    return tensors, {"class": type(optimizer).__name__, "groups": groups, "numbers": numbers}


# Of its groups, what changes no number, or belongs to a scheduler.
_HOW = ("params", "foreach", "fused", "capturable", "differentiable", "initial_lr")


def hyperparameters_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimizer computes with, by name: a value, or of groups that differ one each."""
    groups = optimizer.param_groups
    names = {name for group in groups for name in group if name not in _HOW}
    found = {name: [_plain(group.get(name)) for group in groups] for name in sorted(names)}
    return {
        name: values[0] if all(value == values[0] for value in values) else values
        for name, values in found.items()
    }


def check_optimizer_class(
    optimizer: torch.optim.Optimizer, described: Mapping[str, Any], source: object
) -> None:
    """Raise `CheckpointError` unless what `optimizer_state` described is of the same class."""
    found, expected = described.get("class"), type(optimizer).__name__
    if found != expected:
        raise CheckpointError(f"{source} has the state of {found}, and this run {expected}.")


def check_optimizer_state(
    optimizer: torch.optim.Optimizer,
    names: Names,
    tensors: Mapping[str, LazyTensor],
    described: Mapping[str, Any],
    source: object,
) -> None:
    """Raise `CheckpointError` unless `fill_optimizer` can take these."""
    groups, numbers = described.get("groups"), described.get("numbers")
    own = [[names[parameter] for parameter in group["params"]] for group in optimizer.param_groups]
    if (
        not isinstance(groups, list)
        or not all(isinstance(group, dict) for group in groups)
        or not isinstance(numbers, dict)
        or [group.get("parameters") for group in groups] != own
    ):
        raise CheckpointError(f"{source} has the state of an optimizer of other parameters.")
    by_name = {name: parameter for parameter, name in names.items()}
    for name, tensor in tensors.items():
        parameter = by_name.get(name.rpartition("/")[0])
        if parameter is None or not _is_state_of(tensor.shape, parameter):
            shape = "none" if parameter is None else tuple(parameter.shape)
            raise CheckpointError(f"{source}: {name} has shape {tensor.shape}, expected {shape}.")
    for name, values in numbers.items():
        plain = isinstance(values, dict) and all(
            type(value) in (int, float) and math.isfinite(value) for value in values.values()
        )
        if name not in by_name or not plain:
            raise CheckpointError(f"{source} is damaged: the numbers of {name!r:.80}.")


def fill_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Names,
    tensors: Mapping[str, LazyTensor],
    described: Mapping[str, Any],
) -> None:
    """Give an optimizer what `optimizer_state` took, and nothing else."""
    by_name = {name: parameter for parameter, name in names.items()}
    group_of = {p: group for group in optimizer.param_groups for p in group["params"]}
    optimizer.state.clear()
    for name, lazy in tensors.items():
        of, _, key = name.rpartition("/")
        parameter, value = by_name[of], tensor_of(lazy.read())
        if tuple(value.shape) == tuple(parameter.shape) and value.dim():
            state = torch.zeros_like(parameter, dtype=value.dtype).detach()
            fill(state, value)
        else:
            # PyTorch counts updates on the CPU, but where a kernel reads the count.
            group = group_of[parameter]
            goes_along = value.dim() or group.get("fused") or group.get("capturable")
            state = value.clone().to(parameter.device if goes_along else value.device)
        optimizer.state[parameter][key] = state
    for name, values in described["numbers"].items():
        optimizer.state[by_name[name]].update(values)
    for group, values in zip(optimizer.param_groups, described["groups"], strict=True):
        for key, value in values.items():
            if key in group and key != "params":
                is_tuple = isinstance(group[key], tuple)
                group[key] = tuple(value) if is_tuple and isinstance(value, list) else value


def _is_state_of(shape: tuple[int, ...], parameter: Tensor) -> bool:
    """Whether a state of this shape may be a parameter's: one number, as many, or sums of them.

    Adafactor keeps sums over rows and columns, which are no shards where the parameter is one.
    """
    whole_shape = tuple(parameter.shape)
    if shape in ((), whole_shape):
        return True
    are_sums = len(shape) == len(whole_shape) and all(
        size in (1, most) for size, most in zip(shape, whole_shape, strict=True)
    )
    return are_sums and not hasattr(parameter, "device_mesh")


def _states(optimizer: torch.optim.Optimizer) -> Iterator[tuple[nn.Parameter, str, Any]]:
    """Parameter, key and value of every state, in one order on all ranks."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    yield parameter, key, value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, (Tensor, np.generic)) else value
