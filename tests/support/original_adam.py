"""The original's Adam, by its formula."""

from __future__ import annotations

from typing import Any

import numpy as np


class PlainAdam:
    """One parameter and its moments, in float64."""

    def __init__(self, value: Any, *, rate: float, betas: Any, eps: float, decay: float) -> None:
        self.value, self.first, self.second = value.copy(), 0 * value, 0 * value
        self.rate, self.betas, self.eps, self.decay, self.step = rate, betas, eps, decay, 0

    def update(self, gradient: Any) -> None:
        """As xlm/optim.py does."""
        one, two = self.betas
        self.step += 1
        self.first = one * self.first + (1 - one) * gradient
        self.second = two * self.second + (1 - two) * gradient**2
        size = self.rate * np.sqrt(1 - two**self.step) / (1 - one**self.step)
        self.value -= self.decay * self.rate * self.value
        self.value -= size * self.first / (np.sqrt(self.second) + self.eps)
