"""Collating examples for a DataLoader or for transformers' Trainer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from xlm_core.objectives import Collator


class ObjectiveCollator(Collator):
    """A `Collator` of tensors: `collate_fn` of a DataLoader, `data_collator` of a Trainer.

    With Trainer, columns of the data that are no arguments of the model are removed before:
    `index`, which a seed needs, stays with `remove_unused_columns=False`. Without a seed, torch's
    random numbers decide, those of each worker if there are workers.

    Args:
        config, objective, languages, settings, counts, seed, pad_to_multiple_of: As in
            `xlm_core.objectives.Collator`.
    """

    def __call__(self, examples: Iterable[Any]) -> dict[str, Tensor]:
        """Collate examples: what `arrays` gives, as int64 tensors."""
        return {name: torch.from_numpy(array) for name, array in self.arrays(examples).items()}

    def draw_seed(self) -> int:
        """What a batch is masked by where there is no seed: drawn from torch's random numbers."""
        return int(torch.randint(2**63 - 1, ()))
