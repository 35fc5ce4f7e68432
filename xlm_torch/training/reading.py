"""Batches as tensors, read by this process or by those of a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from xlm_core.objectives import Batch, TrainingBatches
from xlm_core.objectives.batch import stand_in


def tensors_of(batch: Batch, device: torch.device | str | None = None) -> dict[str, Tensor]:
    """A batch by the names of a model's arguments: int64 tensors.

    All ranks have to compute, for their gradients are exchanged: of a batch without labels, of no
    rows for instance, this is one row of one word and a label, whose loss is to count nothing.

    Args:
        batch: Of `xlm_core.objectives`.
        device: Where to put them.
    """
    given = batch if batch.predicted else stand_in(batch)
    return {name: torch.from_numpy(x).to(device) for name, x in given.arguments().items()}


class GlobalBatches(IterableDataset[list[Batch]]):
    """What one rank computes of each step, for a DataLoader with any number of workers.

    Give the DataLoader `batch_size=None`: batches are made already, the same with any number of
    workers, each of which maps the corpora into its memory.

    Args:
        batches: Of the run.
        first: The step to begin with.
        rank, ranks, whole_parts: As in `TrainingBatches.local_batches`.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        first: int = 0,
        *,
        rank: int = 0,
        ranks: int = 1,
        whole_parts: bool = True,
    ) -> None:
        super().__init__()
        self.batches, self.first = batches, first
        self.rank, self.ranks, self.whole_parts = rank, ranks, whole_parts

    def __iter__(self) -> Iterator[list[Batch]]:
        worker = get_worker_info()
        reader, readers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return self.batches.iterate(
            self.first,
            rank=self.rank,
            ranks=self.ranks,
            reader=reader,
            readers=readers,
            whole_parts=self.whole_parts,
        )
