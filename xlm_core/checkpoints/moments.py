"""Adam's state, as far as a checkpoint has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xlm_core.containers.lazy_tensors import LazyTensor

# What an opened checkpoint says, among `dropped`, of an optimizer in its file.
OPTIMIZER_STATE = "optimizer state"
# The last two parts of the names of parameters with a row for each word or language.
_TABLES = {
    ("embeddings", "weight"),
    ("lang_embeddings", "weight"),
    ("proj", "weight"),
    ("proj", "bias"),
}


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

    def without_tables(self) -> Moments:
        """Those of what has no row for each word or language: rows may stand for others now."""
        kept = {n: x for n, x in self.steps.items() if tuple(n.split(".")[-2:]) not in _TABLES}
        return replace(self, steps=kept)
