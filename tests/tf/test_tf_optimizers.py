"""`AdamW` does in place what Keras' own does: every option, however it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import xlm_tf
from tests.support.cases import Array
from tests.support.parity import as_array, assert_all_close, assert_equal
from tests.support.tf_fast_paths import operations, plainly, small_batch, small_model
from tests.support.tf_internals import decay_in_parts, forget_optimizer_functions
from tests.tf.helpers import dataset
from xlm_core import ConfigError

SHAPES = ((70, 5), (7,), (3, 4, 5), ())
STEPS = 20
BOTH = (xlm_tf.AdamW, keras.optimizers.AdamW)

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "weight decay": {"weight_decay": 0.3},
    "no weight decay": {"weight_decay": 0.0},
    "betas and epsilon": {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.5},
    "moving average": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7},
    "amsgrad": {"amsgrad": True},
    "loss scale": {"loss_scale_factor": 8.0},
    "accumulation": {"gradient_accumulation_steps": 3},
    "schedule": {"learning_rate": "schedule"},
}


@pytest.fixture(autouse=True)
def _all_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of every size decay in parts, of several rows, the last part a smaller one."""
    decay_in_parts(monkeypatch, smallest=0, part=600)


def _optimizer(kind: type[Any], **options: Any) -> Any:
    options = {"learning_rate": 0.02, **options}
    if options["learning_rate"] == "schedule":
        options["learning_rate"] = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.5)
    return kind(**options)


def _variables(dtype: str = "float64") -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape), dtype=dtype, name=f"v{number}")
        for number, shape in enumerate(SHAPES)
    ]


def _stepped(
    optimizer: Any, variables: list[Any], how: str = "function", steps: int = STEPS, **options: Any
) -> dict[str, Array]:
    """All state after so many steps with random gradients."""

    def step(*gradients: tf.Tensor) -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    if how == "function":
        step = tf.function(step, autograph=False, **options)
    optimizer.build(variables)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        step(*(tf.constant(rng.normal(size=v.shape), v.dtype) for v in variables))
    return _state(optimizer, variables)


def _state(optimizer: Any, variables: list[Any]) -> dict[str, Array]:
    found = {f"v{number}": v.numpy() for number, v in enumerate(variables)}
    for number, variable in enumerate(optimizer.variables):
        found[f"{number} {variable.name.rpartition('_')[2]}"] = variable.numpy()
    return {name: value for name, value in found.items() if value.dtype.kind == "f"}


# -- the same as Keras' own ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["eager", "function"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(name: str, how: str) -> None:
    found, expected = (
        _stepped(_optimizer(kind, **OPTIONS[name]), _variables(), how) for kind in BOTH
    )
    assert_all_close(found, expected, 1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_float32(name: str) -> None:
    """Variables and first moments to a few ulp; second ones up to how 1 - beta_2 is rounded."""
    found, expected = (
        _stepped(_optimizer(kind, **OPTIONS[name]), _variables("float32")) for kind in BOTH
    )
    for second, bound in ((True, 2e-5), (False, 2e-6)):
        names = [name for name in found if ("velocity" in name) is second]
        assert names
        assert_all_close(*({n: state[n] for n in names} for state in (found, expected)), bound)


def test_float32_is_as_near_to_the_formula_as_keras() -> None:
    """In numpy, by the paper; Keras' own rounds beta_2 in one place and not in the other."""
    rng, x = np.random.default_rng(1), _variables()[0].numpy()
    m = v = np.zeros(SHAPES[0])
    for step in range(1, STEPS + 1):
        g, *_ = [np.asarray(rng.normal(size=shape)) for shape in SHAPES]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        update = m / (1 - 0.9**step) / np.sqrt(v / (1 - 0.999**step))
        x = x * (1 - 0.02 * 0.004) - 0.02 * update
    errors = [
        np.abs(_stepped(_optimizer(kind, epsilon=1e-12), _variables("float32"))["v0"] - x).max()
        for kind in BOTH
    ]
    assert errors[0] <= min(errors[1], 2e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_keras_own(dtype: str) -> None:
    found, expected = (_stepped(_optimizer(kind), _variables(dtype)) for kind in BOTH)
    assert_all_close(found, expected, 0.0)


@pytest.mark.parametrize("by", ["names", "list"])
def test_what_is_excluded_does_not_decay(by: str) -> None:
    states = []
    for kind in BOTH:
        variables, optimizer = _variables(), _optimizer(kind, weight_decay=0.3)
        given = {"var_names": ["v0"]} if by == "names" else {"var_list": variables[:1]}
        optimizer.exclude_from_weight_decay(**given)
        states.append(_stepped(optimizer, variables))
    assert_all_close(*states, 1e-12)
    decayed = _stepped(_optimizer(kind, weight_decay=0.3), _variables())
    assert np.abs(decayed["v0"] - states[0]["v0"]).max() > 1e-3
    assert_equal(decayed["v1"], states[1]["v1"])


def _sparse_step(optimizer: Any, table: Any) -> Callable[[], None]:
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table.value, [3, 3, 69]) ** 2)
        gradient = tape.gradient(loss, table.value)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply([gradient], [table])

    return step


@pytest.mark.parametrize("how", ["eager", "function"])
def test_sparse_gradients(how: str) -> None:
    states = []
    for kind in BOTH:
        variables, optimizer = _variables()[:1], _optimizer(kind, weight_decay=0.3)
        optimizer.build(variables)

        step = _sparse_step(optimizer, variables[0])
        function = tf.function(step, autograph=False)
        assert "ResourceApplyAdam" not in operations(function.get_concrete_function())
        for _ in range(5):
            (step if how == "eager" else function)()
        states.append(_state(optimizer, variables))
    assert_all_close(*states, 1e-12)


def test_fit() -> None:
    """With what `fit` brings: metrics, mixed precision's scale of the loss, constraints."""
    for policy, bound in (("float64", 1e-12), ("mixed_float16", 1e-5)):
        states = []
        for kind in BOTH:
            model = small_model(n_layers=1, dtype=policy)
            model.compile(optimizer=_optimizer(kind, global_clipnorm=1.0), auto_scale_loss=True)
            model.fit(dataset(small_batch(labels=True), rows=2), epochs=3, verbose=0)
            states.append(_state(model.optimizer, model.trainable_variables))
        assert_all_close(*states, bound, one_scale=True)


def test_a_wrong_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _stepped(_optimizer(keras.optimizers.AdamW), _variables())
    apply = tf.raw_ops.ResourceApplyAdam
    monkeypatch.setattr(
        tf.raw_ops, "ResourceApplyAdam", lambda **given: apply(**given, use_nesterov=True)
    )
    with pytest.raises(AssertionError, match="differs by"):
        assert_all_close(_stepped(_optimizer(xlm_tf.AdamW), _variables()), expected, 1e-6)


# -- where it applies ------------------------------------------------------------------------------


def _is_in_place(optimizer: Any, dtype: str = "float64", **options: Any) -> bool:
    variables = _variables(dtype)
    optimizer.build(variables)
    gradients = [tf.ones(v.shape, v.dtype) for v in variables]
    step = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False, **options)
    return "ResourceApplyAdam" in operations(step.get_concrete_function())


def test_where_it_is_in_place() -> None:
    for name, options in OPTIONS.items():
        assert _is_in_place(_optimizer(xlm_tf.AdamW, **options)) is (name != "amsgrad"), name
    assert _is_in_place(xlm_tf.AdamW(), "float32")
    assert not _is_in_place(xlm_tf.AdamW(), "bfloat16")
    assert not _is_in_place(keras.optimizers.AdamW())
    assert not _is_in_place(xlm_tf.AdamW(), jit_compile=True)
    with plainly(True):
        assert not _is_in_place(xlm_tf.AdamW())


def test_xla() -> None:
    found = _stepped(_optimizer(xlm_tf.AdamW), _variables(), jit_compile=True)
    assert_all_close(found, _stepped(_optimizer(keras.optimizers.AdamW), _variables()), 1e-12)


def test_in_a_distribution_strategy() -> None:
    expected = _stepped(_optimizer(keras.optimizers.AdamW, weight_decay=0.3), _variables(), steps=3)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        variables, optimizer = _variables(), _optimizer(xlm_tf.AdamW, weight_decay=0.3)
        optimizer.build(variables)
    rng = np.random.default_rng(1)

    @tf.function(autograph=False)
    def step(*gradients: tf.Tensor) -> None:
        strategy.run(lambda: optimizer.apply(gradients, variables))

    for _ in range(3):
        step(*(tf.constant(rng.normal(size=shape)) for shape in SHAPES))
    assert_all_close(_state(optimizer, variables), expected, 1e-12)


@pytest.mark.parametrize("how", ["eager", "function"])
def test_what_was_read_before_stays(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A tensor that was read from a variable is not written to; reading copies nothing later."""
    variables, optimizer = _variables(), _optimizer(xlm_tf.AdamW, weight_decay=0.3)
    read = [tf.convert_to_tensor(v.value) for v in variables]
    before = [tensor.numpy().copy() for tensor in read]
    _stepped(optimizer, variables, how, steps=2)
    for tensor, value, variable in zip(read, before, variables, strict=True):
        assert_equal(tensor, value)
        assert np.abs(variable.numpy() - value).max() > 1e-3
    assert _shares_memory(variables[0].value)
    monkeypatch.setattr(tf.raw_ops, "DisableCopyOnRead", lambda resource: None)
    forget_optimizer_functions()
    optimizer = _optimizer(xlm_tf.AdamW, weight_decay=0.3)
    _stepped(optimizer, variables, how, steps=1)
    forget_optimizer_functions()
    assert not _shares_memory(variables[0].value)


def _shares_memory(variable: tf.Variable) -> bool:
    """Whether reading a variable twice gives the same memory."""
    reads = [np.asarray(memoryview(tf.convert_to_tensor(variable))) for _ in range(2)]
    return np.shares_memory(*reads)


# -- where it goes ---------------------------------------------------------------------------------


def test_saved_and_opened_again(tmp_path: Path) -> None:
    """With its state, as a class of its own; training goes on as if nothing had happened."""
    model, batches = small_model(n_layers=1), dataset(small_batch(labels=True), rows=5)
    model.compile(optimizer=_optimizer(xlm_tf.AdamW, weight_decay=0.1, clipnorm=1.0))
    model.fit(batches, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    assert type(other.optimizer) is xlm_tf.AdamW
    assert other.optimizer.get_config() == model.optimizer.get_config()
    states = []
    for one in (model, other):
        states.append(_state(one.optimizer, one.trainable_variables))
        one.fit(batches, verbose=0)
        states[-1] |= {f"later {k}": v for k, v in _state(one.optimizer, one.weights).items()}
    assert_all_close(*states, 0.0)


def test_configuration() -> None:
    given = {"learning_rate": 0.5, "weight_decay": 0.25, "beta_1": 0.5, "global_clipnorm": 2.0}
    ours, keras_own = (kind(**given, name="one").get_config() for kind in BOTH)
    assert ours == keras_own
    assert xlm_tf.AdamW.from_config(ours).get_config() == ours
    described = keras.optimizers.serialize(xlm_tf.AdamW(**given))
    assert described["registered_name"] == "xlm_models>AdamW"
    assert type(keras.optimizers.deserialize(described)) is xlm_tf.AdamW
    with pytest.raises(ValueError, match="weight_decay"):
        xlm_tf.AdamW(weight_decay=None)


def test_state_of_keras_own() -> None:
    """Training that began with Keras' optimizer goes on with this one."""
    theirs, variables = _optimizer(keras.optimizers.AdamW), _variables()
    _stepped(theirs, variables, steps=3)
    ours, copies = _optimizer(xlm_tf.AdamW), _variables()
    ours.build(copies)
    for new, old in zip([*ours.variables, *copies], [*theirs.variables, *variables], strict=True):
        new.assign(old)
    found, expected = _stepped(ours, copies, steps=3), _stepped(theirs, variables, steps=3)
    assert_all_close(found, expected, 1e-12)
    assert as_array(ours.iterations) == 6


@pytest.mark.parametrize("largest", [0.5, 1e3])
def test_gradients_are_clipped_together_as_in_keras(largest: float) -> None:
    """The moments show it: of what the first update changes, Adam takes any factor out."""
    numbers, shapes = np.random.default_rng(0), ((3, 4), (5,), ())
    gradients: list[Any] = [tf.constant(numbers.normal(size=x), "float64") for x in shapes]
    clipped = keras.optimizers.Adam(global_clipnorm=largest)._clip_gradients(gradients)

    def state(optimizer: Any, gradients: list[Any]) -> list[Any]:
        variables = [keras.Variable(np.ones(x), dtype="float64") for x in shapes]
        optimizer.apply(gradients, variables)
        return [as_array(x) for x in (*variables, *optimizer.variables)]

    found = state(xlm_tf.OriginalAdam(1e-3, global_clipnorm=largest), gradients)
    expected = state(xlm_tf.OriginalAdam(1e-3), clipped)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-15)
    infinite = [*gradients[:2], tf.constant(np.inf, "float64")]
    after = state(xlm_tf.OriginalAdam(1e-3, global_clipnorm=largest), infinite)
    assert all(np.isnan(x).all() for x in after[:3])


@pytest.mark.parametrize(
    "wrong",
    [
        *({"learning_rate": -1}, {"learning_rate": -1e-3}, {"learning_rate": "1e-3"}),
        *({"epsilon": 0}, {"beta_2": 1.0}, {"beta_1": "0.9"}, {"weight_decay": -0.1}),
    ],
    ids=str,
)
def test_values_of_the_original_adam_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected numbers from 0"):
        xlm_tf.OriginalAdam(**wrong)
