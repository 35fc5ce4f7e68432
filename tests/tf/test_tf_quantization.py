"""int8: the formula by hand, the fast product, and what a quantized model refuses."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array, assert_close_to_largest, assert_equal
from tests.support.tf_fast_paths import (
    compile_every_width,
    count_graphs,
    plainly,
    small_batch,
    small_model,
)
from tests.support.tf_internals import (
    computed_tokens,
    integer_products,
    is_flat,
    multiplies_int8,
    multiplies_integers,
    note_unpadding,
    use_integer_product,
)
from tests.tf.helpers import dataset, tensors, tiny_batch
from xlm_core.errors import CheckpointError, ConfigError, InputError, UnknownArgumentError
from xlm_core.weights import ARCHITECTURES
from xlm_tf import quantize
from xlm_tf.layers import Linear
from xlm_tf.quantization import QuantizedLinear, rounded

needs_integers = pytest.mark.skipif(
    not multiplies_integers, reason="this processor has no exact products of int8"
)


def _rounded(x: Array) -> tuple[Array, Array]:
    scale = np.abs(x).max(-1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.rint(x / scale), scale


def _linear(inputs: int = 24, *, bias: bool = True, dtype: str = "float64") -> Linear:
    layer = Linear(inputs, 31, use_bias=bias, dtype=dtype)
    layer.build()
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(inputs, 31))
    kernel[:, 3] = 0
    kernel[0, 4] = 50.0
    layer.kernel.assign(kernel)
    if bias:
        layer.bias.assign(rng.normal(size=31))
    return layer


def _rows(dtype: str = "float64", rows: int = 7) -> Array:
    x = np.random.default_rng(1).normal(size=(rows, 24))
    x[-1] = 0
    x[1, 2] = -30.0
    return x.astype(dtype)


# -- the layer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("activations", [True, False])
def test_by_hand(activations: bool) -> None:
    layer, x = _linear(), _rows()
    matrix, scale = _rounded(layer.kernel.numpy().T)
    rows, of_rows = _rounded(x) if activations else (x, 1.0)
    expected = (rows @ matrix.T) * of_rows * scale.T + layer.bias.numpy()
    ours = QuantizedLinear(layer, activations=activations)
    assert ours.kernel.dtype == "int8"
    assert ours.scale.dtype == "float64"
    assert_equal(ours.kernel, matrix.T)
    assert ours.kernel.numpy().min() >= -127
    assert not ours.trainable_variables
    assert_close_to_largest(ours(x), expected, 1e-14)
    assert_close_to_largest(ours(x[None, :, None]), expected[None, :, None], 1e-14)
    for options in ({}, {"jit_compile": True}):
        assert_close_to_largest(tf.function(ours, **options)(x), expected, 1e-14)


def test_ties_go_to_even() -> None:
    integers, scale = rounded(tf.constant([[127.0, 0.5, 1.5, -0.5, -2.5, -127.0]]))
    assert integers.numpy().tolist() == [[127, 0, 2, 0, -2, -127]]
    assert float(scale[0, 0]) == 1


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e30, 3e38])
def test_sizes_at_the_ends_of_float32(size: float) -> None:
    x = (np.linspace(-1, 1, 50)[None] * size).astype("float32")
    integers, scale = (as_array(y).astype("float64") for y in rounded(tf.constant(x)))
    assert np.abs(integers).max() <= 127
    assert np.abs(integers * scale - x).max() <= max(np.abs(x).max() / 250, 2e-36)


@pytest.mark.parametrize("shape", [(7,), (0,), (2, 3), (1, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inputs", [1, 13, 24, 4096])
@pytest.mark.parametrize("product", integer_products(), ids=lambda each: each.name)
def test_the_fast_product(
    product: Any,
    inputs: int,
    bias: bool,
    shape: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_integer_product(monkeypatch, product)
    ours = QuantizedLinear(_linear(inputs, bias=bias, dtype="float32"))
    x = np.random.default_rng(2).normal(size=(*shape, inputs)).astype("float32")
    graph = tf.function(ours, input_signature=[tf.TensorSpec(x.shape)])
    assert multiplies_int8(graph.get_concrete_function(), product)
    with plainly(True):
        plain = ours(x)
        same = tf.function(ours).get_concrete_function(tf.TensorSpec(x.shape))
        assert not multiplies_int8(same, product)
    integers, scale = (as_array(y).astype("float64") for y in rounded(tf.constant(x)))
    exact = integers @ ours.kernel.numpy().astype("float64") * scale * ours.scale.numpy()
    exact = exact + (ours.bias.numpy() if bias else 0)
    for actual, bound in ((plain, 1e-6), (ours(x), 3e-7), (graph(x), 3e-7)):
        assert actual.shape == exact.shape
        if x.size:
            assert_close_to_largest(actual, exact, bound)


@pytest.mark.parametrize("product", integer_products(), ids=lambda each: each.name)
def test_the_largest_sums_are_exact(product: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_integer_product(monkeypatch, product)
    layer = Linear(4096, 3, use_bias=False, dtype="float32")
    layer.build()
    layer.kernel.assign(-tf.ones((4096, 3)))
    assert_close_to_largest(
        QuantizedLinear(layer)(tf.ones((2, 4096))), -4096 * np.ones((2, 3)), 1.2e-7
    )


def test_an_assigned_matrix_is_the_one_that_is_used() -> None:
    ours, x = QuantizedLinear(_linear(dtype="float32")), _rows("float32")
    for function in (ours, tf.function(ours)):
        first = function(x)
        ours.kernel.assign(-ours.kernel.numpy())
        assert_close_to_largest(function(x) - ours.bias, ours.bias - first, 1e-6)


@pytest.mark.parametrize("policy", ["float32", "bfloat16", "float16", "mixed_bfloat16"])
@pytest.mark.parametrize("activations", [True, False])
def test_dtypes(policy: str, activations: bool) -> None:
    dtype = policy.removeprefix("mixed_")
    x = tf.cast(_rows(), dtype)
    expected = QuantizedLinear(_linear(), activations=activations)(tf.cast(x, "float64"))
    ours = QuantizedLinear(_linear(dtype=policy), activations=activations)
    assert ours.scale.dtype == "float32"
    for plain in (True, False):
        with plainly(plain):
            y = ours(x)
        assert y.dtype == dtype
        bound = 1e-6 if dtype == "float32" else 0.02
        assert_close_to_largest(tf.cast(y, "float64"), expected, bound)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("plain", [True, False])
def test_what_is_not_finite_stays_so(bad: float, plain: bool) -> None:
    x = _rows("float32")
    x[2, 5] = bad
    for activations in (True, False):
        ours = QuantizedLinear(_linear(dtype="float32"), activations=activations)
        with plainly(plain):
            y = as_array(ours(x))
        assert not np.isfinite(y[2, [0, 1, 2, 5]]).any()
        assert np.isfinite(y[[0, 1, 3, 4, 5, 6]]).all()


def test_gradients_are_refused_or_right() -> None:
    ours, x = QuantizedLinear(_linear(dtype="float32")), tf.constant(_rows("float32"))
    graph = tf.function(ours)
    for function, error in ((ours, InputError), (graph, tf.errors.InvalidArgumentError)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        with pytest.raises(error, match="activations=False"):
            tape.gradient(y, x)
    ours, x = QuantizedLinear(_linear(), activations=False), tf.constant(_rows())
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.square(ours(x)))
    matrix = ours.kernel.numpy() * ours.scale.numpy()
    expected = 2 * (x @ matrix + ours.bias) @ matrix.T
    assert_close_to_largest(tape.gradient(y, x), expected, 1e-12)


# -- models ----------------------------------------------------------------------------------------

BATCH = small_batch()


def _outputs(model: Any, batch: dict[str, Array] = BATCH, plain: bool = False) -> dict[str, Array]:
    with plainly(plain):
        output = dict(model(batch))
    return {name: as_array(value) for name, value in output.items() if value is not None}


def _last(model: Any, **options: Any) -> Array:
    return next(iter(_outputs(model, **options).values()))


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads(architecture: str, activations: bool) -> None:
    """float64, so that the layers' formula is what is computed."""
    batch = tiny_batch(architecture)
    model = small_model(architecture)
    dense = _outputs(model, batch)
    matrices = sum(type(layer) is Linear for layer in model.encoder()._flatten_layers())
    assert quantize(model, activations=activations) is model
    layers = [x for x in model._flatten_layers() if isinstance(x, QuantizedLinear)]
    assert len(layers) == matrices == 6 * model.config.n_layers
    assert not any(type(layer) is Linear for layer in model.encoder()._flatten_layers())
    assert not model.trainable_variables
    outputs = _outputs(model, batch)
    for name, value in _outputs(model, batch, plain=True).items():
        assert_close_to_largest(outputs[name], value, 1e-12)
    for name, value in dense.items():
        if "index" not in name:
            norm = np.linalg.norm(outputs[name] - value) / np.linalg.norm(value)
            assert 1e-5 < norm < 0.2, name


@pytest.mark.parametrize(
    "architecture",
    ["XLMModel", pytest.param("XLMForSequenceClassification", marks=pytest.mark.full)],
)
def test_every_way_to_run_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, architecture: str
) -> None:
    model = quantize(small_model(architecture))
    expected = _last(model, plain=True)
    compile_every_width(monkeypatch)
    decided = note_unpadding(monkeypatch)
    assert_close_to_largest(_last(model), expected, 1e-12)
    assert count_graphs(model.encoder()) == 1
    assert [is_flat(rows) for rows in decided] == [True]
    assert computed_tokens(decided[0]) is not None

    def first(batch: Any) -> Any:
        return next(iter(model(batch).values()))

    given = tensors(BATCH)
    for options in ({}, {"jit_compile": True}):
        assert_close_to_largest(tf.function(first, **options)(given), expected, 1e-12)
    predicted = model.predict(dataset(BATCH, rows=5), verbose=0)
    assert_close_to_largest(next(iter(predicted.values())), expected, 1e-12)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    found = served.serve(tensors(BATCH, "int32"))
    assert_close_to_largest(next(iter(found.values())), expected, 1e-12)


def test_graphs_of_before_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)
    model = small_model("XLMModel", n_layers=1)
    first = _last(model)
    assert count_graphs(model) == 1
    quantize(model)
    assert count_graphs(model) == 0
    assert np.abs(_last(model) - first).max() > 1e-5
    assert_close_to_largest(_last(model), _last(model, plain=True), 1e-12)
    for layer in model._flatten_layers():
        if isinstance(layer, QuantizedLinear):
            layer.activations = False
    assert_close_to_largest(_last(model), _last(model, plain=True), 1e-12)


@needs_integers
def test_the_fast_way_is_as_near_to_the_truth() -> None:
    """Rounding to integers jumps, so two float32 ways part; their errors are of one size."""
    sizes = {"emb_dim": 60, "dtype": "float32"}
    exact = _last(small_model("XLMModel", **{**sizes, "dtype": "float64"}))
    model = quantize(small_model("XLMModel", **sizes))
    errors = [np.linalg.norm(_last(model, plain=plain) - exact) for plain in (False, True)]
    assert 0.5 < errors[0] / errors[1] < 2
    assert errors[0] / np.linalg.norm(exact) < 0.1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_half_types(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    compile_every_width(monkeypatch)
    model = quantize(small_model("XLMModel", dtype=policy))
    exact = _last(small_model("XLMModel"))
    found = _last(model).astype("float64")
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.1


@pytest.mark.parametrize("compiled", [True, False])
def test_a_head_of_ones_own_on_top(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    if compiled:
        compile_every_width(monkeypatch)
    model = quantize(small_model("XLMModel", dtype="float32"))
    weight = tf.Variable(tf.ones((12, 1)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(BATCH).last_hidden_state @ weight)
    assert_close_to_largest(tape.gradient(loss, weight)[:, 0], _last(model).sum((0, 1)), 1e-5)


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("way", ["copied", "pickled", "saved", "weights", "configuration"])
def test_keras_copies_and_saves(tmp_path: Path, way: str, activations: bool) -> None:
    model = quantize(small_model("XLMForTokenClassification"), activations=activations)
    first = _last(model)
    if way == "copied":
        other = copy.deepcopy(model)
    elif way == "pickled":
        other = pickle.loads(pickle.dumps(model))
    elif way == "saved":
        model.save(tmp_path / "model.keras")
        other = keras.models.load_model(tmp_path / "model.keras")
    else:
        other = type(model).from_config(model.get_config())
        if way == "weights":
            model.save_weights(tmp_path / "model.weights.h5")
            other.load_weights(tmp_path / "model.weights.h5")
        else:
            other.set_weights(model.get_weights())
    assert_equal(_last(other), first)
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        assert ours.dtype == theirs.dtype
    assert not other.trainable_variables


def test_weights_of_the_other_kind_are_not_loaded(tmp_path: Path) -> None:
    dense, model = small_model("XLMModel"), quantize(small_model("XLMModel"))
    for one, other in ((dense, model), (model, dense)):
        one.save_weights(tmp_path / "of.weights.h5")
        with pytest.raises(ValueError, match="variables"):
            other.load_weights(tmp_path / "of.weights.h5")
    model.save(tmp_path / "model.keras")
    with pytest.raises(CheckpointError):
        type(model).from_pretrained(tmp_path / "model.keras")


def test_resized() -> None:
    model = quantize(small_model("XLMWithLMHeadModel"))
    model.resize_token_embeddings(60)
    assert _outputs(model)["logits"].shape[-1] == 60


def test_keras_own_name_for_it() -> None:
    kind = keras.quantizers.Int8QuantizationConfig
    for activations, given in (
        (True, {"mode": "int8"}),
        (True, {"config": kind()}),
        (False, {"config": kind(activation_quantizer=None)}),
    ):
        model = small_model("XLMModel")
        model.quantize(**given)
        expected = quantize(small_model("XLMModel"), activations=activations)
        assert_equal(_last(model), _last(expected))
    model = small_model("XLMModel")
    for mode in ("int4", "float8"):
        with pytest.raises(ConfigError, match=f"{mode!r}"):
            model.quantize(mode)
    quantizer = keras.quantizers.AbsMaxQuantizer(axis=0)
    with pytest.raises(ConfigError, match="settings"):
        model.quantize(config=kind(weight_quantizer=quantizer))
    with pytest.raises(UnknownArgumentError, match="filters"):
        model.quantize("int8", filters="lin1")
    assert type(model.ffns[0].lin1) is Linear


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)
    model = small_model("XLMModel", dtype="float32")
    model(BATCH)
    matrices = [x.kernel for x in model._flatten_layers() if type(x) is Linear]
    size = sum(int(np.prod(kernel.shape)) for kernel in matrices)
    total = sum(int(np.prod(v.shape)) * v.value.dtype.size for v in model.variables)
    quantize(model)
    left = [x for x in model._flatten_layers() if isinstance(x, QuantizedLinear)]
    assert sum(x.kernel.value.dtype.size * x.kernel.numpy().size for x in left) == size
    scales = sum(x.scale.numpy().nbytes for x in left)
    now = sum(int(np.prod(v.shape)) * v.value.dtype.size for v in model.variables)
    assert now == total - 3 * size + scales
    held = {id(v) for layer in model._flatten_layers() for v in layer.variables}
    assert not held & {id(kernel) for kernel in matrices}


# -- refusals --------------------------------------------------------------------------------------


def _own_call(model: Any) -> None:
    layer = model.transformer.ffns[1].lin2
    layer.__dict__["call"] = lambda x: x


def _subclass(model: Any) -> None:
    class Scaled(Linear):
        pass

    model.transformer.attentions[0].k_lin.__class__ = Scaled


def _regularizer(model: Any) -> None:
    model.transformer.ffns[0].lin1.activity_regularizer = keras.regularizers.L2(0.1)


def _not_finite(model: Any) -> None:
    kernel = model.transformer.attentions[1].out_lin.kernel
    kernel.assign(np.full(kernel.shape, math.nan))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "twice": (quantize, "attentions.0.q_lin is int8 already"),
    "a call of its own": (_own_call, "ffns.1.lin2"),
    "a regularizer": (_regularizer, "ffns.0.lin1"),
    "another class": (_subclass, "attentions.0.k_lin is a Scaled"),
    "not finite": (_not_finite, "attentions.1.out_lin.kernel holds NaN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_changed(name: str) -> None:
    model = small_model("XLMWithLMHeadModel")
    change, message = REFUSED[name]
    change(model)
    before = [type(layer) for layer in model._flatten_layers()]
    trainable = len(model.trainable_variables)
    with pytest.raises((ConfigError, InputError), match=message):
        quantize(model)
    assert [type(layer) for layer in model._flatten_layers()] == before
    assert len(model.trainable_variables) == trainable


def test_no_model_of_ours() -> None:
    with pytest.raises(ConfigError, match="no model of this library"):
        quantize(keras.Sequential([keras.layers.Dense(3)]))


def test_what_int8_cannot(tmp_path: Path) -> None:
    model = quantize(small_model("XLMWithLMHeadModel"))
    with pytest.raises(CheckpointError, match="before quantize"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match="before quantize"):
        model.prune_heads({0: [1]})
    with pytest.raises(ConfigError, match="before quantize"):
        model.init_weights()
    model.compile("sgd")
    batch = small_batch(labels=True)
    with pytest.raises(ConfigError, match="train it before quantize"):
        model.fit(dataset(batch, rows=5), verbose=0)
    assert model.evaluate(dataset(batch, rows=5), verbose=0) > 0
