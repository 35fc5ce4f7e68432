"""Whole models by TensorFlow's fast paths, against the same models by their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.cases import Array
from tests.support.parity import (
    as_array,
    assert_close_to_largest,
    assert_equal,
    assert_same_results,
)
from tests.support.tf_fast_paths import (
    MASK,
    compile_every_width,
    count_graphs,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
    unknown_sizes,
)
from tests.support.tf_internals import (
    Unpadding,
    break_operation,
    forget_all_graphs,
    note_unpadding,
    smallest_graph_width,
)
from tests.tf.helpers import fixed_seed, tiny_batch, tiny_labels
from xlm_core.weights import ARCHITECTURES

HEADS = ("XLMModel", "XLMWithLMHeadModel", "XLMForQuestionAnswering", "XLMForTokenClassification")


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Unpadding]:
    return note_unpadding(monkeypatch)


@pytest.fixture
def every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_every_width(monkeypatch)


def _arguments(architecture: str) -> dict[str, Array]:
    return tiny_batch(architecture) | tiny_labels(architecture)


def _kept(found: dict[str, Array]) -> dict[str, Array]:
    """Without indices, which are compared where ties are looked at, and answers they belong to."""
    return {name: value for name, value in found.items() if "top" not in name}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads(decided: list[Unpadding], architecture: str, causal: bool) -> None:
    """Outputs, hidden states and all gradients."""
    model = small_model(architecture, causal=causal)
    arguments = _arguments(architecture)
    expected = outputs_and_gradients(model, arguments, plain=True, output_hidden_states=True)
    assert not decided
    found = outputs_and_gradients(model, arguments, output_hidden_states=True)
    assert_same_results(_kept(found), _kept(expected))
    assert len(decided) == 1
    assert not count_graphs(model)


@pytest.mark.usefixtures("every_width")
@pytest.mark.parametrize("architecture", HEADS)
def test_eager_calls_as_graphs(decided: list[Unpadding], architecture: str) -> None:
    model, arguments = small_model(architecture, causal=True), _arguments(architecture)
    expected = outputs_and_gradients(model, arguments, plain=True, output_hidden_states=True)
    assert not count_graphs(model.encoder())
    for _ in range(2):
        found = outputs_and_gradients(model, arguments, output_hidden_states=True)
        assert_same_results(_kept(found), _kept(expected))
    assert count_graphs(model.encoder()) == len(decided) == 1
    assert count_graphs(model) == (architecture in ("XLMModel", "XLMWithLMHeadModel"))


INPUTS = ("langs", "position_ids", "token_type_ids", "inputs_embeds", "lengths", "nothing")


def _given(kind: str) -> dict[str, Array]:
    rng = np.random.default_rng(2)
    batch = small_batch(labels=True)
    if kind == "position_ids":
        batch["position_ids"] = rng.integers(0, 19, MASK.shape)
    elif kind == "token_type_ids":  # of padding's row too, which look-ups do not train
        batch["token_type_ids"] = rng.integers(0, 4, MASK.shape)
    elif kind == "inputs_embeds":
        del batch["input_ids"]
        batch["inputs_embeds"] = rng.normal(size=(*MASK.shape, 12))
    elif kind == "lengths":
        del batch["attention_mask"]
        batch["lengths"] = np.array([6, 1, 0, 3, 2])
    elif kind == "nothing":  # padding is seen from the ids; holes and all
        del batch["attention_mask"]
    return batch


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("causal", [False, True])
def test_inputs(decided: list[Unpadding], causal: bool, kind: str) -> None:
    batch = _given(kind)
    model = small_model(causal=causal)
    expected = outputs_and_gradients(model, batch, plain=True, output_hidden_states=True)
    found = outputs_and_gradients(model, batch, output_hidden_states=True)
    assert_same_results(found, expected)
    assert len(decided) == 1
    assert ("gradient of inputs_embeds" in found) is (kind == "inputs_embeds")


@pytest.mark.usefixtures("every_width")
@pytest.mark.parametrize("kind", ["inputs_embeds", "token_type_ids"])
def test_inputs_of_graphs(kind: str) -> None:
    """Eager calls as graphs, and graphs of one's own with gradients inside."""
    model, batch = small_model(n_layers=1), _given(kind)
    expected = outputs_and_gradients(model, batch, plain=True)
    assert_same_results(outputs_and_gradients(model, batch), expected)
    assert count_graphs(model) == count_graphs(model.transformer) == 1
    inside = outputs_and_gradients(model, batch, around=lambda f: unknown_sizes(f, batch))
    assert_same_results(inside, expected)
    if kind == "inputs_embeds":
        assert not inside["gradient of inputs_embeds"][MASK == 0].any()


# -- one graph for all shapes ----------------------------------------------------------------------


@pytest.mark.usefixtures("every_width")
def test_one_graph_for_all_shapes(decided: list[Unpadding]) -> None:
    model = small_model(n_layers=1)
    first = None
    for rows, sequence in ((4, 9), (1, 7), (6, 1), (2, 20), (4, 9)):
        batch = tiny_batch(rows=rows, sequence=sequence)
        batch["attention_mask"] = batch["attention_mask"].astype(np.float32)
        batch |= tiny_labels("XLMWithLMHeadModel", rows, max(sequence, 6))
        batch["labels"] = batch["labels"][:, :sequence]
        output = model(batch)
        again = model(batch)
        for name in ("loss", "logits"):
            assert_equal(again[name], output[name])
        with plainly(True):
            assert_close_to_largest(output.logits, model(batch).logits, 1e-12)
        assert count_graphs(model) == count_graphs(model.transformer) == len(decided) == 1
        first = output.logits if first is None else first
    assert_equal(output.logits, first)
    del batch["langs"], batch["labels"]  # other arguments, another graph
    with pytest.warns(UserWarning, match="langs"):
        model(batch)
    assert count_graphs(model) == count_graphs(model.transformer) == 2


@pytest.mark.usefixtures("every_width")
def test_head_masks_of_all_kinds() -> None:
    """Of each dtype and rank, for a model with pruned heads: sizes decide what is gathered."""
    model = small_model("XLMModel", pruned_heads={0: [1]})
    for mask in (np.array([1.0, 0, 0.5]), np.array([[1, 0, 1], [1, 1, 0]])):
        expected = outputs_and_gradients(model, small_batch(), plain=True, head_mask=mask)
        assert_same_results(outputs_and_gradients(model, small_batch(), head_mask=mask), expected)
    assert count_graphs(model) == 2


# -- training --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_width")
def test_dropout_is_drawn_at_each_call() -> None:
    model = small_model("XLMModel", n_layers=1, dropout=0.3, attention_dropout=0.3)
    batch = small_batch()

    def call() -> Array:
        return as_array(model(batch, training=True).last_hidden_state)

    fixed_seed(model)
    drawn = [call() for _ in range(3)]
    fixed_seed(model)
    for one in drawn:
        assert_equal(call(), one)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(drawn[one], drawn[other])
    for one in drawn:
        assert not one[MASK == 0].any()
        assert (one[MASK == 1] != 0).any(-1).all()
    assert count_graphs(model) == 1
    fixed_seed(model)
    forget_all_graphs()
    assert_equal(call(), drawn[0])  # in a graph made anew


@pytest.mark.parametrize("width", [0, 2**30], ids=["as a graph", "eagerly"])
def test_gradient_checkpointing(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Dropout included, since its seeds are drawn once."""
    smallest_graph_width(monkeypatch, width)
    model, batch = small_model(dropout=0.3, attention_dropout=0.2), small_batch(labels=True)
    found = []
    for recompute in (False, True):
        if recompute:
            model.gradient_checkpointing_enable()
        fixed_seed(model)
        found.append(outputs_and_gradients(model, batch, training=True))
    assert_same_results(found[1], found[0])
    assert count_graphs(model.transformer) == (2 if width == 0 else 0)


# -- the comparison can fail -----------------------------------------------------------------------


@pytest.mark.usefixtures("every_width")
@pytest.mark.parametrize("missing", ["scale", "residual"])
def test_a_wrong_operation_is_seen(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    model, batch = small_model("XLMModel", n_layers=1), small_batch()
    expected = outputs_and_gradients(model, batch, plain=True)
    break_operation(monkeypatch, missing)
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_results(outputs_and_gradients(model, batch), expected, 1e-4)
    assert count_graphs(model) == 1
