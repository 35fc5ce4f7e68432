"""Fast paths where calls are traced: functions of one's own, XLA, exports, derivatives."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import (
    as_array,
    assert_all_close,
    assert_close_to_largest,
    assert_same_results,
)
from tests.support.tf_fast_paths import (
    MASK,
    compile_every_width,
    count_graphs,
    operations,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
    unknown_sizes,
)
from tests.support.tf_internals import (
    Unpadding,
    are_traced,
    computed_tokens,
    computes_everything,
    is_flat,
    note_unpadding,
    tracing,
)
from tests.tf.helpers import ADAPTIVE, tensors, tiny_batch, tiny_labels

HEADS = ("XLMModel", "XLMWithLMHeadModel", "XLMForQuestionAnswering", "XLMForTokenClassification")


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Unpadding]:
    return note_unpadding(monkeypatch)


@pytest.fixture
def every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)


def _arguments(architecture: str) -> dict[str, Array]:
    return tiny_batch(architecture) | tiny_labels(architecture)


@pytest.mark.parametrize("tape", ["outside", "inside"])
@pytest.mark.parametrize("architecture", ["XLMModel", "XLMWithLMHeadModel"])
def test_in_a_function_of_ones_own(decided: list[Unpadding], architecture: str, tape: str) -> None:
    """One that knows no sizes, with the tape outside and inside."""
    model, arguments = small_model(architecture), _arguments(architecture)
    expected = outputs_and_gradients(model, arguments, plain=True)
    graph = {"within" if tape == "outside" else "around": lambda f: unknown_sizes(f, arguments)}
    found = outputs_and_gradients(model, arguments, **graph)
    assert_same_results(found, expected)
    assert computed_tokens(decided[0]).shape.as_list() == [None]
    assert not count_graphs(model)


@pytest.mark.parametrize("values", [{}, {"causal": True, "tie_word_embeddings": False}, ADAPTIVE])
def test_xla(decided: list[Unpadding], values: dict[str, Any]) -> None:
    """Shapes follow those of the inputs alone."""
    model, arguments = small_model(n_layers=1, **values), _arguments("XLMWithLMHeadModel")
    expected = outputs_and_gradients(model, arguments, plain=True)
    compiled = outputs_and_gradients(
        model, arguments, around=lambda f: tf.function(f, jit_compile=True)
    )
    assert_same_results(compiled, expected)
    assert decided
    for rows in decided:
        assert computes_everything(rows)
        assert is_flat(rows)
    function = tf.function(lambda given: model(given).loss, jit_compile=True)
    concrete = function.get_concrete_function(tensors(arguments))
    assert "Where" not in operations(concrete)
    dynamic = tf.function(lambda given: model(given).loss)
    assert "Where" in operations(dynamic.get_concrete_function(tensors(arguments)))


@pytest.mark.parametrize("where", ["eager", "as a graph", "in a function"])
def test_gradient_penalty(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Derivatives of derivatives."""
    if where == "as a graph":
        compile_every_width(monkeypatch)
    model, batch = small_model(n_layers=1), tensors(small_batch(labels=True))
    variables = {v.path: v.value for v in model.trainable_variables}

    def penalty() -> dict[str, tf.Tensor]:
        with tf.GradientTape() as second:
            with tf.GradientTape() as first:
                loss = model(batch).loss
            found = first.gradient(loss, list(variables.values()))
            found = [tf.convert_to_tensor(g) for g in found]
            objective = loss + sum(tf.reduce_sum(g**2) for g in found)
        gradients = second.gradient(objective, variables)
        return {name: tf.convert_to_tensor(g) for name, g in gradients.items()}

    found = (tf.function(penalty) if where == "in a function" else penalty)()
    with plainly(True):
        assert_all_close(found, penalty(), 1e-11, one_scale=True)
    assert count_graphs(model) == (where == "as a graph")


# -- for elsewhere ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_width")
@pytest.mark.parametrize("architecture", ["XLMWithLMHeadModel", "XLMForQuestionAnswering"])
def test_exports_remove_nothing(tmp_path: Path, architecture: str) -> None:
    """Shapes in a served graph follow those of its inputs; eager calls go on as before."""
    model = small_model(architecture, n_layers=1, dtype="float32")
    batch = tiny_batch(architecture, int_type="int32")
    model(batch)
    model.export(tmp_path / "served", verbose=False)
    assert count_graphs(model.transformer) == 1
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    assert "Where" not in operations(loaded.signatures["serving_default"])
    served = loaded.serve(tensors(batch))
    for name, value in model(batch).items():
        if "index" not in name:
            assert_close_to_largest(served[name], value, 1e-5, name)


def test_tracing_ends_with_its_block(decided: list[Unpadding]) -> None:
    model, batch = small_model("XLMModel", n_layers=1), small_batch()
    for static in (False, True, False):
        with tracing() if static else contextlib.nullcontext():
            assert are_traced() is static
            found = model(batch).last_hidden_state
        assert (computed_tokens(decided[-1]) is None) is static
        assert not as_array(found)[MASK == 0].any()
    assert len(decided) == 3


@pytest.mark.usefixtures("every_width")
def test_an_eager_call_under_tracing_leaves_no_graph() -> None:
    model, batch = small_model("XLMModel", n_layers=1), small_batch()
    with tracing():
        first = model(batch).last_hidden_state
    assert not count_graphs(model)
    assert_close_to_largest(model(batch).last_hidden_state, first, 1e-12)
    assert count_graphs(model) == 1
