"""Batches that a DataLoader's processes read are those that one process reads."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.core.objectives.test_global_batches import ARRAYS, made
from xlm_torch.training import GlobalBatches, tensors_of


def test_a_batch_of_no_rows_has_something_to_compute() -> None:
    """Of more ranks than rows some have none, and compute with the others."""
    run = made(7, batch_size=2, bptt=16)
    batches = [run.local_batches(0, rank, 4, whole_parts=False)[0] for rank in range(4)]
    assert sorted(map(len, batches)) == [0, 0, 1, 1]
    tensors = tensors_of(min(batches, key=len))
    assert {name: tuple(x.shape[:1]) for name, x in tensors.items()} == dict.fromkeys(tensors, (1,))
    assert int((tensors["labels"] != -100).sum()) > 0


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_processes_reads_the_same(workers: int) -> None:
    settings: dict[str, Any] = {"parts": 2, "batch_size": 3, "bptt": 16, "max_len": 60}
    run = made(7, **settings)
    dataset = GlobalBatches(made(7, **settings), 5, rank=1, ranks=2, whole_parts=False)
    loader: Any = DataLoader(dataset, batch_size=None, num_workers=workers)
    for step, found in enumerate(islice(iter(loader), 7), 5):
        expected = run.local_batches(step, 1, 2, whole_parts=False)
        for one, other in zip(found, expected, strict=True):
            assert one.task == other.task
            for name in ARRAYS:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
