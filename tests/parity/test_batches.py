"""Both families read the same global batches, whoever reads for them."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.core.objectives.test_global_batches import made
from xlm_core.objectives import Batch
from xlm_tf.training.reading import NAMES, dataset_of
from xlm_tf.training.reading import tensors_of as tf_tensors_of
from xlm_torch.training import GlobalBatches, tensors_of

FIRST, STEPS = 5, 6
SETTINGS: dict[str, Any] = {"parts": 2, "batch_size": 3, "bptt": 16, "max_len": 60}


@pytest.fixture(scope="module")
def expected() -> list[list[Batch]]:
    run = made(7, **SETTINGS)
    return [run.global_batch(FIRST + step) for step in range(STEPS)]


def assert_same(found: dict[str, Any], batch: Batch) -> None:
    arguments = batch.arguments()
    assert found.keys() == arguments.keys()
    for name, array in arguments.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array)
        assert np.asarray(found[name]).dtype == array.dtype == np.int64


def test_pytorch_s_loader_reads_them(expected: list[list[Batch]]) -> None:
    loader: Any = DataLoader(GlobalBatches(made(7, **SETTINGS), FIRST), batch_size=None)
    for step, parts in zip(islice(iter(loader), STEPS), expected, strict=True):
        for found, part in zip(step, parts, strict=True):
            assert found.task == part.task
            assert_same(tensors_of(found), part)


def test_tf_data_reads_them(expected: list[list[Batch]]) -> None:
    dataset = dataset_of(made(7, **SETTINGS), FIRST)
    for element, parts in zip(dataset.take(STEPS), expected, strict=True):
        for found, part in zip(element, parts, strict=True):
            given = {name: found[name] for name in NAMES if found[name].shape[0]}
            assert_same(given, part)
            assert_same(tf_tensors_of(part), part)


def test_a_rank_without_rows_computes_the_same() -> None:
    run = made(7, batch_size=2, bptt=16)
    empty = min((run.local_batches(0, rank, 4)[0] for rank in range(4)), key=len)
    assert len(empty) == 0
    in_torch = {name: x.numpy() for name, x in tensors_of(empty).items()}
    in_tf = {name: x.numpy() for name, x in tf_tensors_of(empty).items()}
    assert in_torch.keys() == in_tf.keys()
    for name, array in in_torch.items():
        assert len(array) == 1
        np.testing.assert_array_equal(array, in_tf[name], name)
