"""Learning rates as functions of the number of updates."""

from __future__ import annotations

from dataclasses import dataclass

from xlm_core.errors import ConfigError


@dataclass(frozen=True)
class InverseSquareRoot:
    """Linear warm-up, then decay by a power of the number of updates.

    Source: AdamInverseSqrtWithWarmup in xlm/optim.py of the original, with its defaults.

    Attributes:
        learning_rate: At the end of the warm-up, the highest.
        warmup_updates: Its length.
        warmup_init_lr: Of the first update.
        exp_factor: The power; 0.5 is the inverse square root.

    Raises:
        ConfigError: For values that cannot be.
    """

    learning_rate: float = 1e-3
    warmup_updates: int = 4000
    warmup_init_lr: float = 1e-7
    exp_factor: float = 0.5

    def __post_init__(self) -> None:
        if self.warmup_updates < 1:
            raise ConfigError(
                f"warmup_updates is {self.warmup_updates!r}: expected a positive whole number."
            )
        for name in ("learning_rate", "warmup_init_lr", "exp_factor"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: expected a number from 0.")
        if self.learning_rate < self.warmup_init_lr:
            raise ConfigError(
                f"learning_rate is {self.learning_rate!r}: expected at least warmup_init_lr, "
                f"{self.warmup_init_lr!r}, at which the warm-up begins."
            )

    def at(self, update: int) -> float:
        """The learning rate of an update, counted from 0."""
        if update < self.warmup_updates:
            slope = (self.learning_rate - self.warmup_init_lr) / self.warmup_updates
            return self.warmup_init_lr + update * slope
        return self.learning_rate * float((self.warmup_updates / update) ** self.exp_factor)
