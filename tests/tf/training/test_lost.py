"""Errors that say that another process ended, and others."""

from __future__ import annotations

import pytest
import tensorflow as tf

from xlm_tf.training.lost import lost_process

ABORTED = """Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
Collective ops is aborted by: Error reported from /job:worker/task:1: The tasks are unhealthy:
/job:worker/replica:0/task:1
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (tf.errors.UnavailableError(None, None, ABORTED), "(Error reported from /job:worker/"),
        (tf.errors.InternalError(None, None, ABORTED), "The tasks are unhealthy): its own error"),
        (tf.errors.UnavailableError(None, None, "Socket closed\nmore"), "(Socket closed)"),
    ],
)
def test_a_worker_that_ended(error: tf.errors.OpError, said: str) -> None:
    found = lost_process(error, processes=2)
    assert found is not None
    assert found.startswith("another process of this run ended")
    assert said in found
    assert lost_process(error, processes=1) is None


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.InternalError(None, None, "Blas GEMM launch failed"),
        tf.errors.InvalidArgumentError(None, None, "shapes must be equal"),
        ValueError(ABORTED),
    ],
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert lost_process(error, processes=2) is None
