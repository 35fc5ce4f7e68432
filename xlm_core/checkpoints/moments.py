"""Adam's state, as far as a checkpoint has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xlm_core.containers.lazy_tensors import LazyTensor


@dataclass(frozen=True)
class Moments:
    """What Adam knows of each parameter; of those that it never updated, nothing.

    Attributes:
        updates: Number of updates of the run that wrote it, which decides its learning rate; None
            where that is not said.
        steps: Name, in the PyTorch dialect -> updates of this parameter.
        first, second: Name -> estimate of the first and second moment, shaped as the parameter.
    """

    updates: int | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    first: Mapping[str, LazyTensor] = field(default_factory=dict, repr=False)
    second: Mapping[str, LazyTensor] = field(default_factory=dict, repr=False)
