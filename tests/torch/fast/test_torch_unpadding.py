"""Padding is left out of what is computed, for any mask, and put back as zeros."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.parity import (
    assert_all_close,
    assert_close_to_largest,
    assert_equal,
    assert_same_results,
)
from tests.support.torch_fast_paths import (
    MASK,
    Taken,
    results,
    small_batch,
    small_model,
    take_fast_paths,
)
from tests.support.torch_internals import (
    choose_unpadding,
    formulas_only,
    keep_padding,
    make_unpadding,
    pad,
    positions_of,
    set_sentence_cost,
    unpad,
    unpad_positions,
    zero_padding,
)
from xlm_torch import XLMModel

MODELS = {causal: small_model(XLMModel, causal=causal).double() for causal in (False, True)}
FLOAT32 = {causal: small_model(XLMModel, causal=causal) for causal in (False, True)}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    """bool-like, shape (batch, sequence): anything."""
    batch, sequence = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    flags = st.lists(st.sampled_from([0, 1]), min_size=sequence, max_size=sequence)
    return torch.tensor(draw(st.lists(flags, min_size=batch, max_size=batch)))


ANY_MASK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY_MASK
@given(mask=masks(), causal=st.booleans())
@example(mask=MASK, causal=False)
@example(mask=MASK, causal=True)
@example(mask=torch.zeros(2, 3, dtype=torch.long), causal=True)
@example(mask=torch.tensor([[0, 0, 1], [0, 0, 0]]), causal=False)
def test_any_mask(taken: Taken, mask: Tensor, causal: bool) -> None:
    taken.clear()
    model, batch = MODELS[causal], small_batch(mask)
    expected = results(model, batch, plain=True)
    assert taken.nothing
    found = results(model, batch)
    assert_close_or_zero(found, expected, 1e-12)
    assert taken.unpadded == (0 < int(mask.sum()) < mask.numel())
    assert_zero_at_padding(found, mask)
    if taken.unpadded:
        assert taken.unpaddings[0].lengths == tuple(n for n in mask.sum(1).tolist() if n)
    inferred = _inferred(FLOAT32[causal], batch)
    assert_close_to_largest(inferred, expected["last_hidden_state"], 3e-6, scale=1.0)


def _inferred(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**batch).last_hidden_state


def assert_close_or_zero(
    found: dict[str, Tensor], expected: dict[str, Tensor], bound: float
) -> None:
    if any(bool(value.any()) for value in expected.values()):
        assert_same_results(found, expected, bound)
    else:  # without any token, nothing depends on anything
        assert_all_close(found, expected, 0.0)


def assert_zero_at_padding(found: dict[str, Tensor], mask: Tensor) -> None:
    states = [value for name, value in found.items() if "state" in name]
    assert len(states) == 5
    for state in states:
        assert_equal(state[mask == 0], torch.zeros_like(state[mask == 0]))
        assert (state[mask == 1] != 0).any(-1).all()


@pytest.mark.parametrize("how", ["bool", "float", "int8", "lengths", "from the ids"])
def test_ways_to_say_what_is_padding(taken: Taken, how: str) -> None:
    mask = torch.tensor([[1] * 6, [1] * 2 + [0] * 4, [0] * 6, [1] * 5 + [0]])
    batch = small_batch(mask)
    expected = _inferred(MODELS[False], batch)
    if how == "lengths":
        del batch["attention_mask"]
        batch["lengths"] = mask.sum(1)
    elif how == "from the ids":
        del batch["attention_mask"]
    else:
        batch["attention_mask"] = mask.to(getattr(torch, how))
    assert_equal(_inferred(MODELS[False], batch), expected)
    assert taken.unpadded == 2


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sentences_never_see_each_other(taken: Taken, dtype: torch.dtype, causal: bool) -> None:
    """Another sentence, NaN or any other: bit for bit, the rest of the batch stays."""
    model, batch = {torch.float32: FLOAT32, torch.float64: MODELS}[dtype][causal], small_batch()
    for name in ("input_ids", "langs"):
        del batch[name]
    inputs = torch.randn(*MASK.shape, 12, dtype=dtype)
    langs = torch.zeros(MASK.shape, dtype=torch.long)
    first = _inferred(model, {**batch, "inputs_embeds": inputs, "langs": langs})
    for changed in range(4):
        others = [row for row in range(5) if row != changed]
        for value in (torch.randn(6, 12, dtype=dtype), torch.full((6, 12), torch.nan)):
            given = inputs.clone()
            given[changed] = value
            again = _inferred(model, {**batch, "inputs_embeds": given, "langs": langs})
            assert_equal(again[others], first[others])
            assert (again[changed] != first[changed])[MASK[changed] == 1].all()
    assert taken.unpadded == 9


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_at_padding_does_not_matter(taken: Taken, causal: bool) -> None:
    batch, model = small_batch(), MODELS[causal]
    expected = _inferred(model, batch)
    for name, value in (("input_ids", 7), ("langs", 4), ("position_ids", 3)):
        given = {**batch, "position_ids": torch.arange(6).expand(5, 6)}
        given[name] = given[name].masked_fill(MASK == 0, value)
        assert_equal(_inferred(model, given), expected)
    assert taken.unpadded == 4


@pytest.mark.parametrize("causal", [False, True])
def test_the_gradient_of_inputs_embeds(taken: Taken, causal: bool) -> None:
    found = []
    for plain in (False, True):
        inputs = torch.randn(*MASK.shape, 12, dtype=torch.double,
                             generator=torch.Generator().manual_seed(0))  # fmt: skip
        batch = {"inputs_embeds": inputs.requires_grad_(), "attention_mask": MASK,
                 "langs": torch.zeros_like(MASK)}  # fmt: skip
        results(MODELS[causal], batch, plain=plain)
        found.append(inputs.grad)
    assert_close_to_largest(found[0], found[1], 1e-12)
    assert not found[0][MASK == 0].any()
    assert found[0][MASK == 1].any(-1).all()
    assert taken.unpadded == 1


def test_hidden_states_are_one_graph(taken: Taken) -> None:
    """Each hidden state that is returned is what the next layer was computed from."""
    found = []
    for plain in (False, True):
        with formulas_only() if plain else torch.enable_grad():
            output = MODELS[False](**small_batch(), output_hidden_states=True)
        objective = output.last_hidden_state.sin().sum()
        states = output.hidden_states[:-1]
        gradients = torch.autograd.grad(objective, states, retain_graph=True)
        found.append({str(layer): gradient for layer, gradient in enumerate(gradients)})
    assert_all_close(*found, 1e-12)


# -- where it is not done --------------------------------------------------------------------------


def test_full_batches_are_dense(taken: Taken) -> None:
    batch = small_batch(torch.ones(2, 5, dtype=torch.long))
    for causal in (False, True):
        expected = results(MODELS[causal], batch, plain=True)
        assert_same_results(results(MODELS[causal], batch), expected, 1e-12)
        decided = taken.unpaddings[-1]
        assert decided == make_unpadding(decided.shape, causal)  # nothing left out or masked
    assert taken.unpadded == 0


def test_only_where_it_saves_work() -> None:
    """A row of width 1024 is worth two sentences; narrower ones by the square of the width."""
    tokens = torch.ones(4, 6, dtype=torch.bool)
    for left_out, width, packed in (
        (1, 1024, False),
        (2, 1024, True),
        (7, 512, False),
        (8, 512, True),
        (0, 4096, False),
    ):
        mask = tokens.clone()
        mask[1:3, -4:] = (torch.arange(8) >= left_out).view(2, 4)
        assert int((~mask).sum()) == left_out
        decided = choose_unpadding(mask, causal=False, width=width)
        assert (positions_of(decided) is not None) is packed
    mask = torch.tensor([[True, False], [False, False]])  # one sentence, three rows
    assert positions_of(choose_unpadding(mask, causal=False, width=256)) is None
    assert positions_of(choose_unpadding(mask, causal=False, width=1024)).tolist() == [0]
    assert positions_of(choose_unpadding(mask & False, causal=False, width=1024)) is None


@pytest.mark.parametrize("causal", [False, True])
def test_the_dense_way_with_padding(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, causal: bool
) -> None:
    set_sentence_cost(monkeypatch, 2**60)
    expected = results(MODELS[causal], small_batch(), plain=True)
    found = results(MODELS[causal], small_batch())
    assert_same_results(found, expected, 1e-12)
    assert_zero_at_padding(found, MASK)
    assert taken.unpadded == 0
    assert taken.attentions == 3
    dropping = small_model(XLMModel, causal=causal, attention_dropout=0.3)
    assert all(value.isfinite().all() for value in results(dropping, small_batch()).values())


@pytest.mark.parametrize(
    "asked", [{"output_attentions": True}, {"head_mask": torch.tensor([1.0, 0.0, 1.0, 1.0])}]
)
def test_what_needs_attention_weights_takes_the_formula(
    taken: Taken, asked: dict[str, Any]
) -> None:
    batch = {**small_batch(), **asked}
    state = _inferred(MODELS[False], batch)
    with formulas_only():
        assert_equal(_inferred(MODELS[False], batch), state)
    assert not taken.unpaddings
    assert (state[MASK == 0] == 0).all()


def test_chunks_take_the_formula(taken: Taken) -> None:
    state = _inferred(small_model(XLMModel, chunk_size_feed_forward=2), small_batch())
    assert not taken.unpaddings
    assert_close_to_largest(state, _inferred(FLOAT32[False], small_batch()), 3e-6)


# -- unpadding by itself ---------------------------------------------------------------------------


@given(mask=masks())
def test_unpad_and_pad(mask: Tensor) -> None:
    tokens = mask.bool()
    positions = tokens.flatten().nonzero().squeeze(1)
    unpadding = make_unpadding(mask.shape, False, positions=positions)
    x = torch.randn(*mask.shape, 3)
    assert_equal(unpad(unpadding, x), x[tokens])
    assert_equal(pad(unpadding, unpad(unpadding, x)), x * tokens[..., None])
    table = torch.randn(mask.shape[1], 3)
    assert_equal(unpad_positions(unpadding, table), table.expand(*mask.shape, 3)[tokens])
    kept = keep_padding(tokens, causal=False)
    assert unpad(kept, x) is pad(kept, x) is x
    assert_equal(zero_padding(kept, x), x * tokens[..., None])
