"""Training checkpoints of the original: its own files, with a state of Adam as its code saves it.

xlm/trainer.py of the original has one optimizer over the parameters of all its modules that require
gradients (`model_optimizer`). Until its memory layers came, each module had its own, over all of
its parameters (`encoder_optimizer`, `decoder_optimizer`). Parameters are numbered in the order of
`named_parameters`, where a shared one comes once; before PyTorch 1.6, the numbers were addresses.
"""

from __future__ import annotations

from typing import Any

from tests.support.shared import shared_path
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.torch_files import read_torch


def golden(name: str) -> dict[str, Any]:
    """What a checkpoint of the original's own holds."""
    [path] = shared_path(f"golden/facebook/{name}").glob("*.pth")
    content: dict[str, Any] = read_torch(path)
    return content


def optimizer(
    content: dict[str, Any],
    modules: tuple[str, ...],
    *,
    without: str = "-",
    numbers: int = 0,
    **group: Any,
) -> dict[str, Any]:
    """The state of an optimizer of all parameters of some modules, but the tied ones.

    Args:
        content: That of the file.
        modules: In the order in which the optimizer got them.
        without: A name that it does not know.
        numbers: What the first parameter is numbered with; each has another step.
        group: What the optimizer says of its parameters.
    """
    known = [
        tensor
        for module in modules
        for name, tensor in content[module].items()
        if not name.endswith(("pred_layer.proj.weight", without))
    ]
    states = {
        numbers + 32 * place: {
            "step": place + 1,
            "exp_avg": LazyTensor.of(2 * tensor.read()),
            "exp_avg_sq": LazyTensor.of(tensor.read() ** 2),
        }
        for place, tensor in enumerate(known)
    }
    return {"state": states, "param_groups": [{"params": [*states], "lr": 1e-4, **group}]}
