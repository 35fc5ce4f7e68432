"""int8 in both families: the same integers, the same scales, the same function in float64."""

from __future__ import annotations

import numpy as np
import pytest

import xlm_tf
import xlm_torch
from tests.support.cases import random_case
from tests.support.parity import as_array, assert_all_close, assert_equal
from tests.support.tf_models import run_tf, tf_model
from tests.support.torch_internals import QuantizedLinear
from tests.support.torch_reference import INDEX_NAMES, our_model, run
from xlm_core.weights import ARCHITECTURES
from xlm_tf.quantization import QuantizedLinear as TFQuantizedLinear


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_function(architecture: str, seed: int, activations: bool) -> None:
    case = random_case(seed, architecture, for_transformers=False, chunk_size_feed_forward=0)
    torch_model, keras_model = our_model(case), tf_model(case)
    dense = run(torch_model, case)
    xlm_torch.quantize(torch_model, activations=activations)
    xlm_tf.quantize(keras_model, activations=activations)

    ours = [m for m in torch_model.modules() if isinstance(m, QuantizedLinear)]
    theirs = [m for m in keras_model._flatten_layers() if isinstance(m, TFQuantizedLinear)]
    assert len(ours) == len(theirs) == 6 * case.config["n_layers"]
    by_sum = sorted(int(np.abs(as_array(m.weight).astype(int)).sum()) for m in ours)
    assert by_sum == sorted(int(np.abs(m.kernel.numpy().astype(int)).sum()) for m in theirs)

    expected, actual = run(torch_model, case), run_tf(keras_model, case)
    for name in INDEX_NAMES:
        if name in expected:
            assert_equal(actual.pop(name), expected.pop(name), name)
            dense.pop(name)
    assert_all_close(actual, expected, 1e-12)
    # It is int8, not the dense model once more.
    assert any(not np.allclose(as_array(dense[n]), as_array(expected[n]), 1e-6) for n in expected)
