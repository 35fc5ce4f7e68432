"""A model of which each process keeps a shard, by PyTorch's `fully_shard`.

Accelerate shards models on GPUs alone, layer by layer. Here a model is sharded as one: hooks on its
layers would keep the fast paths, such as leaving padding out, from running.
"""

from __future__ import annotations

import torch
from torch import nn

from xlm_core.errors import ConfigError


def shard(
    module: nn.Module, optimizer: torch.optim.Optimizer, *, ranks: int, device: torch.device
) -> None:
    """Give each of several processes a shard of every parameter, gradient and optimizer state.

    The whole weights are gathered for a forward pass and given up behind its backward pass. All
    ranks go on with the weights of the first.

    Args:
        module: Called by all ranks together from now on.
        optimizer: Of its parameters, new: their shards take their places.
        ranks: Number of processes.
        device: Of this process.

    Raises:
        ConfigError: If the optimizer has a state already.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if optimizer.state:
        raise ConfigError(
            "the optimizer has a state already: shard the model with a new one, and resume."
        )
    module.to(device)
    with torch.no_grad():
        for parameter in module.parameters():
            torch.distributed.broadcast(parameter, 0)
    names = {parameter: name for name, parameter in module.named_parameters()}
    fully_shard(module, mesh=init_device_mesh(device.type, (ranks,)))
    shards = dict(module.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [shards[names[parameter]] for parameter in group["params"]]
