"""PyTorch against TensorFlow in float64: the two compute the same function.

Every output, hidden state, attention and loss within 1e-12 of the largest value of that output;
every parameter's gradient within 1e-12 of the largest gradient of the model.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import random_case
from tests.support.parity import as_array, assert_all_close, assert_equal
from tests.support.tf_models import run_tf, tf_model, tf_outputs_and_gradients
from tests.support.torch_reference import INDEX_NAMES, our_model, outputs_and_gradients, run
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER, name_of

BOUND = 1e-12
# Where an activation of the summary is dead, as a ReLU may be, true gradients are 0.
DEAD = 1e-14
# Architecture -> (worst output, worst gradient) of each case, as shares of the largest value.
WORST: dict[str, list[tuple[float, float]]] = defaultdict(list)
SEEDS = st.integers(min_value=0, max_value=2**32)


def assert_same_function(seed: int, architecture: str) -> None:
    case = random_case(seed, architecture, for_transformers=False)
    torch_model, keras_model = our_model(case), tf_model(case)
    expected, torch_gradients = outputs_and_gradients(torch_model, case)
    actual, keras_gradients = tf_outputs_and_gradients(keras_model, case)
    for name in INDEX_NAMES:
        if name in expected:
            assert_equal(actual.pop(name), expected.pop(name), name)
    outputs = assert_all_close(actual, expected, BOUND)

    by_path = {
        spec.path: name_of(spec, "torch", architecture) for spec in keras_model.tensor_specs()
    }
    expected_gradients = {
        path: as_array(torch_gradients[by_path[path]]) for path in keras_gradients
    }
    largest = max(float(np.abs(gradient).max()) for gradient in expected_gradients.values())
    if largest > DEAD:
        shares = assert_all_close(keras_gradients, expected_gradients, BOUND, one_scale=True)
    else:  # nothing but rounding on either side
        assert max(float(np.abs(gradient).max()) for gradient in keras_gradients.values()) <= DEAD
        shares = {"": 0.0}
    WORST[architecture].append((max(outputs.values()), max(shares.values())))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(seed=SEEDS)
def test_outputs_losses_and_gradients_agree(architecture: str, seed: int) -> None:
    assert_same_function(seed, architecture)


@settings(max_examples=settings.default.max_examples // 5)
@given(seed=SEEDS)
def test_encoder_decoders_agree(seed: int) -> None:
    assert_same_function(seed, ENCODER_DECODER)


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    """Show the largest differences of the cases above (those that this process ran)."""
    with capsys.disabled():
        for architecture, shares in WORST.items():
            outputs, gradients_ = (max(column) for column in zip(*shares, strict=True))
            print(
                f"\nfloat64, PyTorch against TensorFlow, {architecture}: {len(shares)} random "
                f"configs and batches; largest difference, of the largest value: outputs "
                f"{outputs:.1e}, gradients {gradients_:.1e}",
                end="",
            )
    assert all(max(pair) <= BOUND for shares in WORST.values() for pair in shares)


def test_the_comparison_can_fail() -> None:
    """One transposed square matrix in one family must not pass."""
    case = random_case(11, "XLMModel", emb_dim=24, n_heads=2, n_layers=2, pruned_heads={})
    torch_model, keras_model = our_model(case), tf_model(case)
    kernel = keras_model.attentions[1].q_lin.kernel
    kernel.assign(kernel.numpy().T)
    with pytest.raises(AssertionError, match="differs by"):
        assert_all_close(run_tf(keras_model, case), run(torch_model, case), BOUND)
