"""Products of int8: exact by every way, of the values at hand, and chosen on trial."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array, assert_close_to_largest, assert_equal
from tests.support.tf_fast_paths import compile_every_width, small_batch, small_model
from tests.support.tf_internals import (
    chosen_integer_product,
    compiled_rows,
    integer_feed_forward,
    integer_linears,
    integer_products,
    is_exact,
    multiplies_int8,
    round_rows,
    use_integer_product,
)
from xlm_core.errors import InputError
from xlm_tf import KeyValueCache, quantize
from xlm_tf.layers import Linear
from xlm_tf.quantization import QuantizedLinear, rounded

PRODUCTS = {each.name: each for each in integer_products()}
COMPILED = [name for name, each in PRODUCTS.items() if each.compiled]


@pytest.fixture(params=PRODUCTS)
def product(request: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each product that this machine has, used for matrices of any size."""
    use_integer_product(monkeypatch, PRODUCTS[request.param])
    return PRODUCTS[request.param]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """XLA's product, used for matrices of any size."""
    use_integer_product(monkeypatch, PRODUCTS[COMPILED[0]])
    return PRODUCTS[COMPILED[0]]


def _layer(inputs: int, outputs: int, seed: int = 0, *, bias: bool = True) -> QuantizedLinear:
    layer = Linear(inputs, outputs, use_bias=bias, dtype="float32")
    layer.build()
    rng = np.random.default_rng(seed)
    layer.kernel.assign(rng.normal(size=(inputs, outputs)))
    if bias:
        layer.bias.assign(rng.normal(size=outputs))
    return QuantizedLinear(layer)


def _rows(rows: int, width: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(rows).normal(size=(rows, width)), tf.float32)


# -- sums and rounding -----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 13, 5), (3, 4096, 31), (64, 256, 96)])
@pytest.mark.parametrize("name", PRODUCTS)
def test_sums_are_exact(name: str, sizes: tuple[int, int, int]) -> None:
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.integers(-127, 128, size, np.int8) for size in ((rows, inputs), (inputs, outputs))
    )
    x[0] = 127
    scales = rng.uniform(size=outputs).astype("float32")
    multiply = tf.function(PRODUCTS[name].multiply, jit_compile=PRODUCTS[name].compiled)
    found = multiply(tf.constant(x), tf.constant(kernel), tf.constant(scales))
    # Sums above 2**24 are rounded, once.
    assert_equal(found, (x.astype("int64") @ kernel.astype("int64")).astype("float32") * scales)


def test_compiled_rounding_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 40)) * np.exp(5 * rng.normal(size=(500, 1)))).astype("float32")
    x[0] = 0
    x[1] = np.arange(40) + 0.5  # ties, once the largest is 127
    x[1, 3] = -127
    x[2] *= 1e-38
    x[3] *= 1e30
    found = tf.function(round_rows, jit_compile=True)(x, tf.constant(127.0))
    for actual, expected in zip(found, rounded(tf.constant(x)), strict=True):
        assert_equal(actual, expected)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_of_one_input_are_as_each_alone(product: Any, bias: bool) -> None:
    layers = [_layer(40, outputs, outputs, bias=bias) for outputs in (24, 37)]
    x = _rows(11, 40)
    together = integer_linears(layers, x)
    assert together is not None
    for layer, y in zip(layers, together, strict=True):
        assert_close_to_largest(y, layer(x), 3e-7)


def test_feed_forward_layers_are_one_linear_layer_after_the_other(compiled: Any) -> None:
    first, second, x = _layer(40, 72), _layer(72, 24), _rows(11, 40)
    found = integer_feed_forward(first, second, x, tf.nn.relu)
    assert found is not None
    assert_close_to_largest(found, second(tf.nn.relu(first(x))), 1e-6)
    bfloat16 = tf.cast(x, tf.bfloat16)  # which XLA would not round between the two
    assert integer_feed_forward(first, second, bfloat16, tf.nn.relu) is None


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9, 64, 65, 100, 1000, 1024, 1025, 2**20 + 1])
def test_numbers_of_rows_that_are_compiled(rows: int) -> None:
    found = compiled_rows(rows)
    assert rows <= found <= max(rows * 1.125, rows + 7, 8)
    assert found % 8 == 0
    assert int(compiled_rows(tf.constant(rows))) == found


def test_few_numbers_of_rows_are_compiled() -> None:
    assert len({compiled_rows(rows) for rows in range(1025, 2049)}) == 8
    assert len({compiled_rows(rows) for rows in range(2049)}) == 8 * 5 + 8


def test_gradients_are_refused(compiled: Any) -> None:
    layers, x = [_layer(40, 24), _layer(24, 40)], tf.Variable(_rows(3, 40))
    ways = {
        "linears": lambda: integer_linears(layers[:1], tf.convert_to_tensor(x)),
        "feed forward": lambda: integer_feed_forward(*layers, tf.convert_to_tensor(x), tf.nn.relu),
    }
    for way in ways.values():
        with tf.GradientTape() as tape:
            y = way()
        with pytest.raises(InputError, match="train before quantize"):
            tape.gradient(y, x)


# -- the values at hand ----------------------------------------------------------------------------


def _model(seed: int = 0) -> Any:
    keras.utils.set_random_seed(seed)
    model = small_model("XLMModel", dtype="float32", emb_dim=24, n_layers=1)
    for layer in model._flatten_layers():
        if type(layer) is Linear:
            layer.kernel.assign(np.random.default_rng(seed).normal(size=layer.kernel.shape))
    return quantize(model)


BATCH = small_batch()


def _hidden(model: Any) -> Array:
    return as_array(model(BATCH)["last_hidden_state"])


def test_graphs_use_the_values_at_hand(
    compiled: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However they came there: nothing is kept of the matrices of before."""
    compile_every_width(monkeypatch)
    model, other = _model(), _model(1)
    graph = tf.function(lambda: model(BATCH)["last_hidden_state"])
    first, expected = _hidden(model), _hidden(other)
    assert np.abs(first - expected).max() > 0.1
    assert_close_to_largest(graph(), first, 1e-2)
    assert multiplies_int8(graph.get_concrete_function(), compiled)

    weights, others = model.get_weights(), other.get_weights()
    other.save_weights(tmp_path / "other.weights.h5")
    tf.train.Checkpoint(model=other).write(tmp_path / "checkpoint")
    changes = {
        "set_weights": lambda: model.set_weights(others),
        "load_weights": lambda: model.load_weights(tmp_path / "other.weights.h5"),
        "checkpoint": lambda: tf.train.Checkpoint(model=model).read(tmp_path / "checkpoint"),
        "assign": lambda: [
            mine.assign(theirs)
            for mine, theirs in zip(model.variables, other.variables, strict=True)
        ],
    }
    for name, change in changes.items():
        change()
        assert_equal(_hidden(model), expected, name)
        assert_close_to_largest(graph(), expected, 1e-2, name)
        model.set_weights(weights)
        assert_equal(_hidden(model), first, name)


def test_cached_steps(compiled: Any) -> None:
    """Rows are rounded by themselves, so that it does not matter which others come with them."""
    model, cache = quantize(small_model("XLMModel", dtype="float32", causal=True)), KeyValueCache()
    batch = small_batch(np.ones((2, 8), "int64"))
    steps = []
    for end in (4, 6, 8):
        given = {name: value[:, :end] for name, value in batch.items()}
        steps.append(as_array(model(given, cache=cache)["last_hidden_state"]))
    # One integer in a thousand may be rounded to its neighbour.
    whole = as_array(model(batch)["last_hidden_state"])
    assert_close_to_largest(np.concatenate(steps, 1), whole, 1e-2)


# -- the choice ------------------------------------------------------------------------------------


def _cut_off(integers: tf.Tensor, kernel: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
    sums = tf.matmul(integers, kernel, output_type=tf.int32)
    return tf.cast(tf.clip_by_value(sums, -(2**15), 2**15), tf.float32) * scales


def _missing(*given: tf.Tensor) -> tf.Tensor:
    raise TypeError("no such operation")


def _slow(integers: tf.Tensor, kernel: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
    time.sleep(0.1)
    return tf.cast(tf.matmul(integers, kernel, output_type=tf.int32), tf.float32) * scales


@pytest.mark.parametrize("multiply", [_cut_off, _missing, _slow])
def test_refused_on_trial(multiply: Any) -> None:
    assert all(map(is_exact, PRODUCTS.values()))
    assert not is_exact(replace(next(iter(PRODUCTS.values())), multiply=multiply, compiled=False))


def test_what_is_chosen_is_exact() -> None:
    assert chosen_integer_product() is None or is_exact(chosen_integer_product())
    assert COMPILED
