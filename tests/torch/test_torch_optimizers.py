"""The original's Adam in PyTorch, beside its formula."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.original_adam import PlainAdam
from xlm_core.errors import ConfigError
from xlm_torch.optimizers import OriginalAdam

OPTIONS: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-3}


def test_steps_are_the_original_s() -> None:
    draw = np.random.default_rng(0)
    values = [draw.normal(size=shape) for shape in ((7, 5), (3,))]
    parameters = [torch.tensor(value, requires_grad=True) for value in values]
    plain = [PlainAdam(value, rate=1e-2, decay=0.1, **OPTIONS) for value in values]
    optimizer = OriginalAdam(parameters, lr=1e-2, weight_decay=0.1, **OPTIONS)
    for step in range(12):
        if step == 6:  # saved and resumed
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = OriginalAdam(parameters, lr=1.0)
            optimizer.load_state_dict(state)
        for parameter, expected in zip(parameters, plain, strict=True):
            parameter.grad = None
            # The second has no gradient at times, and counts its own steps.
            if expected is plain[0] or step % 3:
                gradient = draw.normal(size=parameter.shape) * 1e-3
                parameter.grad = torch.tensor(gradient)
                expected.update(gradient)
        optimizer.step()
    assert [one.step for one in plain] == [12, 8]
    for parameter, expected in zip(parameters, plain, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), expected.value, rtol=0, atol=2e-15)


def test_what_cannot_be_is_refused() -> None:
    negative: list[dict[str, Any]] = [{"lr": -1}, {"weight_decay": -0.1}]
    for wrong in (*negative, {"eps": 0}, {"betas": (0.9, 1.0)}, {"betas": 0.9}, {"lr": "1e-3"}):
        parameter = torch.zeros(1, requires_grad=True)
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            OriginalAdam([parameter], **wrong)
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            OriginalAdam([{"params": [parameter], **wrong}])


def test_parameters_of_several_dtypes() -> None:
    """Each as if it were alone: the kernels of GPUs take one dtype at a time."""
    alone = []
    together = [torch.ones(3, dtype=x, requires_grad=True) for x in (torch.float64, torch.float32)]
    for each in together:
        own = each.detach().clone().requires_grad_()
        alone.append(own)
        own.grad = torch.full_like(own, 0.5)
        each.grad = own.grad.clone()
        OriginalAdam([own], lr=1e-2).step()
    OriginalAdam(together, lr=1e-2).step()
    for each, own in zip(together, alone, strict=True):
        assert torch.equal(each, own)
