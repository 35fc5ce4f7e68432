"""Whole models by the fast paths, against the same models by their formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.cases import random_case
from tests.support.parity import assert_all_close, assert_close_to_largest, assert_same_results
from tests.support.torch_fast_paths import (
    ONEDNN,
    Taken,
    arguments_of,
    results,
    small_batch,
    small_model,
    take_fast_paths,
)
from tests.support.torch_internals import (
    FlashAttention,
    Unpadding,
    attention_mask_of,
    changed,
    formulas_only,
    on_unpadding,
    positions_of,
    set_sentence_cost,
)
from tests.support.torch_reference import our_model
from xlm_core.weights import ARCHITECTURES
from xlm_torch import XLMModel
from xlm_torch.cache import KeyValueCache

WITHOUT_DROPOUT = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "summary_first_dropout": 0.0,
    "chunk_size_feed_forward": 0,
    "num_labels": 2,
    "problem_type": None,
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads(taken: Taken, architecture: str, causal: bool) -> None:
    """float64 to 1e-12; float32 not further from it than the plain formulas are.

    How far two roundings of one small model are apart is chance, so float32 is judged over several.
    """
    ratios = [_compare(taken, architecture, causal, seed) for seed in range(6)]
    assert float(np.exp(np.log(ratios).mean())) < 1.4, ratios


def _compare(taken: Taken, architecture: str, causal: bool, seed: int) -> list[float]:
    """Errors of the fast way as multiples of the plain one's: of the values, of the gradients."""
    values = {**WITHOUT_DROPOUT, "causal": causal}
    case = random_case(seed, architecture, for_transformers=False, **values)
    case = replace(case, config={**case.config, **values})  # chunks were drawn after `values`
    taken.clear()
    exact_model = our_model(case).train()
    exact = results(exact_model, arguments_of(case, torch.float64), plain=True)
    assert taken.nothing
    assert_same_results(results(exact_model, arguments_of(case, torch.float64)), exact, 1e-12)
    assert taken.attentions
    assert len(taken.unpaddings) == 1
    taken.clear()

    model, arguments = our_model(case, torch.float32).train(), arguments_of(case, torch.float32)
    plain = results(model, arguments, plain=True)
    assert taken.nothing
    fast = results(model, arguments)
    assert taken.attentions
    assert bool(taken.products) is (ONEDNN is not None)
    values_of = [n for n in exact if "gradient of" not in n and "index" not in n]
    ratios = []
    for names in (values_of, [n for n in exact if "gradient of" in n]):
        assert names
        wanted = _joined(exact, names)
        fast_error, plain_error = (
            float((_joined(found, names) - wanted).square().mean().sqrt() / wanted.abs().max())
            for found in (fast, plain)
        )
        ratios.append((fast_error + 1e-9) / (plain_error + 1e-9))
    return ratios


def _joined(values: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([values[name].double().flatten() for name in names])


INPUTS = ("langs", "position_ids", "token_type_ids", "inputs_embeds", "lengths", "nothing")


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("causal", [False, True])
def test_inputs(taken: Taken, causal: bool, given: str) -> None:
    batch = small_batch(labels=True)
    mask = batch["attention_mask"]
    generator = torch.Generator().manual_seed(2)
    if given == "position_ids":
        batch["position_ids"] = torch.randint(0, 19, mask.shape, generator=generator)
    elif given == "token_type_ids":  # of padding's row too, which the word embeddings do not train
        batch["token_type_ids"] = torch.randint(0, 4, mask.shape, generator=generator)
    elif given == "inputs_embeds":
        del batch["input_ids"]
        shape = (*mask.shape, 12)
        batch["inputs_embeds"] = torch.randn(shape, generator=generator, dtype=torch.double)
    elif given == "lengths":
        del batch["attention_mask"]
        batch["lengths"] = torch.tensor([6, 1, 0, 3, 2])
    elif given == "nothing":  # the padding is seen from the ids; holes and all
        del batch["attention_mask"]
    model = small_model(causal=causal).double()
    expected = results(model, batch, plain=True)
    assert taken.nothing
    assert_same_results(results(model, batch), expected, 1e-12)
    assert taken.unpadded == 1
    assert taken.losses == 1
    assert bool(taken.look_ups) is (given != "inputs_embeds")
    assert taken.attentions == 3 * len([n for n in taken.unpaddings[0].lengths if n])


@pytest.mark.parametrize("packed", [False, True])
def test_gradient_checkpointing(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    if not packed:
        set_sentence_cost(monkeypatch, 2**60)
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 2e-6)):
        model, batch = small_model().to(dtype), small_batch(labels=True)
        expected = results(model, batch)
        once = taken.attentions
        assert taken.unpadded == packed
        taken.clear()
        model.gradient_checkpointing_enable()
        assert_same_results(results(model, batch), expected, bound)
        assert taken.attentions == 2 * once > 0
        taken.clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cache(taken: Taken, dtype: torch.dtype) -> None:
    """Step by step, after a padded beginning, as the whole at once and as the plain formulas."""
    model = small_model(causal=True).to(dtype).eval()
    mask = torch.tensor([[1] * 8, [0] * 3 + [1] * 5, [1, 0, 1, 1, 0, 1, 1, 1]])
    batch = small_batch(mask)
    bound = 1e-13 if dtype == torch.float64 else 3e-6

    def steps() -> Tensor:
        cache, parts = KeyValueCache(), []
        for end in (5, 6, 8):
            part = {name: tensor[:, :end] for name, tensor in batch.items()}
            parts.append(model(**part, cache=cache).logits)
            assert cache.get_seq_length() == end
        return torch.cat(parts, 1)

    with torch.no_grad():
        whole = model(**batch).logits
        assert taken.unpadded == 1
        found = steps()
        with formulas_only():
            assert_close_to_largest(found, steps(), bound)
    assert_close_to_largest(found, whole, bound)
    assert bool(taken.products) is (dtype == torch.float32 and ONEDNN is not None)


@pytest.mark.parametrize("packed", [False, True])
def test_gradient_penalty(taken: Taken, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Derivatives of derivatives of a whole model, in float32 against the formulas in float64."""

    def penalty(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        model.zero_grad()
        loss = model(**batch).loss
        parameters = [p for p in model.parameters() if p.requires_grad]
        first = torch.autograd.grad(loss, parameters, create_graph=True)
        (loss + sum(gradient.square().sum() for gradient in first)).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    if not packed:
        set_sentence_cost(monkeypatch, 2**60)
    batch = small_batch(MASK_OF_SOME, labels=True)
    for values in ({}, {"tie_word_embeddings": False}, {"causal": True}):
        exact_model = small_model(**values).double()
        with formulas_only():
            exact = penalty(exact_model, batch)
        assert taken.nothing
        assert_all_close(penalty(exact_model, batch), exact, 1e-11, one_scale=True)
        assert taken.attentions
        assert taken.losses
        assert taken.unpadded == packed
        found = penalty(small_model(**values), batch)
        assert_all_close(found, exact, 1e-4, one_scale=True)
        taken.clear()


MASK_OF_SOME = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0], [0] * 4])


# -- the comparison can fail -----------------------------------------------------------------------


def _shifted(unpadding: Unpadding) -> Unpadding:
    positions = positions_of(unpadding).clone()
    positions[-1] = (positions[-1] + 1) % (unpadding.shape[0] * unpadding.shape[1])
    return changed(unpadding, positions=positions)


MUTATIONS = {
    "a token is taken from its neighbour": _shifted,
    "not causal": lambda it: changed(it, causal=False),
    "one sentence ends a token late": lambda it: changed(
        it, lengths=(it.lengths[0] + 1, it.lengths[1] - 1, *it.lengths[2:])
    ),
    "all sentences see each other": lambda it: changed(it, lengths=(sum(it.lengths),)),
}
DENSE_MUTATIONS = {
    "the mask is ignored": lambda it: changed(
        it, attention_mask=torch.ones_like(attention_mask_of(it)), causal=False
    ),
    "padding is not zeroed": lambda it: changed(it, tokens=None),
}


@pytest.mark.parametrize("mutation", [*MUTATIONS, *DENSE_MUTATIONS])
def test_a_wrong_decision_is_seen(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, mutation: str
) -> None:
    dense = mutation in DENSE_MUTATIONS
    if dense:
        set_sentence_cost(monkeypatch, 2**60)
    mutate = {**MUTATIONS, **DENSE_MUTATIONS}[mutation]
    model, batch = small_model(XLMModel, causal=not dense).double(), small_batch()
    expected = results(model, batch, plain=True)
    assert_same_results(results(model, batch), expected, 1e-12)
    assert taken.unpadded == (not dense)
    on_unpadding(monkeypatch, mutate)
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_results(results(model, batch), expected, 1e-4)


@pytest.mark.parametrize("place", range(3))
def test_a_wrong_gradient_is_seen(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Of query, key or value: left out of one of the attention's."""
    model, batch = small_model().double(), small_batch(labels=True)
    expected = results(model, batch, plain=True)
    backward = FlashAttention.backward

    def wrong(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = list(backward(ctx, gradient))
        found[place] = torch.zeros_like(found[place])
        return tuple(found)

    monkeypatch.setattr(FlashAttention, "backward", staticmethod(wrong))
    with pytest.raises(AssertionError, match=r"gradient of .*: differs by"):
        assert_same_results(results(model, batch), expected, 1e-4)
