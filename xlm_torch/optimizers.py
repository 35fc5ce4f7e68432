"""The original's Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

from xlm_core.errors import ConfigError


class OriginalAdam(torch.optim.Optimizer):
    """Adam as the original trains with it.

    It differs from `torch.optim.AdamW` in where epsilon is added: to the root of the second moment
    before its bias is corrected, not after. Weights decay by themselves, not through the gradient.
    Each parameter counts its own updates: those for which it had a gradient.

    Everything is one pass over each parameter, by PyTorch's fused kernel for its own formula, which
    becomes this one if epsilon is divided by the square root of 1 - beta_2 ** step.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the first and second moments.
        eps: Epsilon.
        weight_decay: Rate at which weights decay, times the learning rate.

    Raises:
        ConfigError: For values that cannot be.

    Source: Kingma & Ba 2015; Adam in xlm/optim.py of the original.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, as `torch.optim.Optimizer` does; values of their own are checked too."""
        given = {**self.defaults, **param_group}
        lr, betas, eps, decay = (given[name] for name in ("lr", "betas", "eps", "weight_decay"))
        try:
            fit = lr >= 0 and eps > 0 and decay >= 0 and all(0 <= b < 1 for b in betas)
        except TypeError:  # no numbers
            fit = False
        if not fit:
            raise ConfigError(
                f"lr is {lr!r}, eps {eps!r}, weight_decay {decay!r} and betas {betas!r}: "
                "expected numbers from 0, eps above 0, and betas below 1."
            )
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and its gradients anew.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            refuse_sparse(group["params"])
            # The kernel takes tensors of one device and dtype.
            alike: dict[tuple[int, Any, Any], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self._state_of(parameter)
                    state["step"] += 1
                    key = (state["step"], parameter.device, parameter.dtype)
                    alike.setdefault(key, []).append(parameter)
            for (step, *_), parameters in alike.items():
                self._update(parameters, step, group)
        return loss

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _update(self, parameters: list[Tensor], step: int, group: dict[str, Any]) -> None:
        """Update parameters that have been updated as often, this time included."""
        beta_1, beta_2 = group["betas"]
        # The kernel counts in tensors, one for each parameter, on its device; on GPUs it reads them
        # as float32, whatever they are.
        steps: dict[Any, Tensor] = {}
        for parameter in parameters:
            device = parameter.device
            if device not in steps:
                steps[device] = torch.tensor(step, dtype=torch.float32, device=device)
        # Of parameters that are sharded, each process updates its part.
        torch._fused_adamw_(
            [local_part(parameter) for parameter in parameters],
            [local_part(cast(Tensor, parameter.grad)) for parameter in parameters],
            [local_part(self.state[parameter]["exp_avg"]) for parameter in parameters],
            [local_part(self.state[parameter]["exp_avg_sq"]) for parameter in parameters],
            [],
            [steps[parameter.device] for parameter in parameters],
            lr=float(group["lr"]),
            beta1=beta_1,
            beta2=beta_2,
            weight_decay=group["weight_decay"],
            eps=group["eps"] / (1 - beta_2**step) ** 0.5,
            amsgrad=False,
            maximize=False,
        )


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that may be sharded: it shares its memory."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else cast(Tensor, part())


def refuse_sparse(parameters: Iterable[Tensor]) -> None:
    """Raise `ConfigError` if a gradient is sparse."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            raise ConfigError(
                f"a gradient of shape {tuple(parameter.shape)} is sparse: expected dense ones "
                "(nn.Embedding has an option sparse)."
            )
