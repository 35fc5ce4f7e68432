"""The loss of a language model without its logits: labelled rows only, the vocabulary in parts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
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
    cross_entropy,
    linear_cross_entropy,
    on_products_of_the_loss,
    set_logits_limits,
)
from xlm_core.errors import InputError

TIED: dict[str, Any] = {"tie_word_embeddings": True}
UNTIED: dict[str, Any] = {"tie_word_embeddings": False}
ADAPTIVE: dict[str, Any] = {**UNTIED, "asm": True, "asm_cutoffs": [9, 20], "asm_div_value": 2.0}
KINDS = pytest.mark.parametrize("values", [TIED, UNTIED, ADAPTIVE], ids=["tied", "untied", "asm"])
BATCH = {**small_batch(labels=True), "output_logits": False}
# 53 words: whole, in parts that do not divide it, in parts of one word.
WORDS_AT_A_TIME = {"whole": None, "nine": 9, "one": 1}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


@pytest.fixture(params=WORDS_AT_A_TIME)
def in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that sets the size of a part for so many labelled rows in `dtype`."""

    def in_parts_of(rows: int, dtype: torch.dtype) -> int:
        words = WORDS_AT_A_TIME[request.param] or 53
        if words < 53:
            set_logits_limits(monkeypatch, kept=0)
            size = 8 if dtype == torch.float64 else 4
            set_logits_limits(monkeypatch, part=words * size * rows)
        return words

    return in_parts_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@KINDS
def test_equals_the_loss_of_all_logits(
    taken: Taken, in_parts: Callable[..., int], values: dict[str, Any], dtype: torch.dtype
) -> None:
    model, batch = small_model(**values), small_batch(labels=True)
    rows = int((batch["labels"] != -100).sum())
    assert rows > int(((batch["labels"] != -100) & (MASK == 1)).sum())  # some are on padding
    words = in_parts(rows, dtype)
    exact = results(copy.deepcopy(model).double(), batch, plain=True)
    assert taken.nothing
    del exact["logits"]
    model = model.to(dtype)
    found = results(model, {**batch, "output_logits": False})
    assert "logits" not in found
    assert_same_results(found, exact, 1e-12 if dtype == torch.float64 else 3e-6)
    assert taken.losses == (not values.get("asm"))
    if dtype == torch.float32 and taken.products:
        widths = {shape[-1] for shape in taken.products if shape[0] == rows and len(shape) == 2}
        expected = set() if values.get("asm") else {words, 53 % words or words}
        assert widths - {12} == expected  # 12: the gradient of the hidden states

    taken.clear()
    with_logits = results(model, batch)
    assert_close_to_largest(with_logits.pop("logits"), model(**batch).logits, 0.0)
    assert_same_results(with_logits, found, 1e-12 if dtype == torch.float64 else 3e-6)


def test_nothing_larger_than_a_part_is_made(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward, every product of a row and words is of one part."""
    shapes: list[tuple[int, ...]] = []
    on_products_of_the_loss(monkeypatch, shapes.append)
    batch = small_batch(labels=True)
    rows = int((batch["labels"] != -100).sum())
    made = {}
    for part in (53, 10):
        set_logits_limits(monkeypatch, kept=0 if part < 53 else 2**28, part=part * rows * 4)
        shapes.clear()
        results(small_model(), {**batch, "output_logits": False})
        made[part] = [shape for shape in shapes if shape != (rows, 12)]
        shapes.clear()
        set_logits_limits(monkeypatch, kept=2**28)
        with torch.no_grad():  # nothing to keep them for
            small_model()(**batch, output_logits=False)
        assert shapes == [shape for shape in made[part] if shape[0] == rows][: len(shapes)]
        assert len(shapes) == -(-53 // part)
    assert made[53] == [(rows, 53), (53, 12)]  # kept for the backward pass
    assert made[10] == [
        *[*[(rows, 10)] * 5, (rows, 3)],
        *[*[(rows, 10), (10, 12)] * 5, (rows, 3), (3, 12)],
    ]
    assert taken.losses == 4


@pytest.mark.parametrize("wrong", [53, -1])
@pytest.mark.parametrize("values", [TIED, UNTIED], ids=["tied", "untied"])
def test_a_label_outside_the_vocabulary_unchecked(
    taken: Taken, in_parts: Callable[..., int], values: dict[str, Any], wrong: int
) -> None:
    model, labels = small_model(**values), BATCH["labels"].clone()
    in_parts(int((labels != -100).sum()), torch.float32)
    model.check_values = False
    labels[tuple((labels != -100).nonzero()[0])] = wrong
    loss = model(**{**BATCH, "labels": labels}).loss
    loss.backward()
    assert taken.losses == 1
    for value in (
        loss,
        model.transformer.ffns[0].lin1.weight.grad,
        model.pred_layer.proj.bias.grad,
    ):
        assert bool(value.isnan().all())


def test_what_is_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logits where they are few; otherwise nothing of the vocabulary's size times rows."""
    hidden, weight = torch.randn(30, 4).requires_grad_(), torch.randn(53, 4).requires_grad_()
    labels = torch.arange(30)
    for limit, expected in ((30 * 53 * 4, [30 * 53]), (30 * 53 * 4 - 1, [])):
        set_logits_limits(monkeypatch, kept=limit, part=30 * 10 * 4)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, kept=kept: (kept.append(tensor.numel()), tensor)[1],
            lambda tensor: tensor,
        ):
            linear_cross_entropy(hidden, weight, None, labels).backward()
        assert [size for size in kept if size > 53 * 4] == expected
        assert kept


@pytest.mark.parametrize("parts", [None, 9, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_derivatives_of_the_loss(
    monkeypatch: pytest.MonkeyPatch, bias: bool, parts: int | None
) -> None:
    if parts:
        set_logits_limits(monkeypatch, kept=0, part=parts * 3 * 8)
    torch.manual_seed(0)
    shapes = [(3, 2), (11, 2), *([(11,)] if bias else [])]
    tensors = [torch.randn(shape, dtype=torch.double).requires_grad_() for shape in shapes]
    labels = torch.tensor([0, 10, 4])

    def loss(hidden: Tensor, weight: Tensor, b: Tensor | None = None) -> Tensor:
        return linear_cross_entropy(hidden, weight, b, labels)

    expected = cross_entropy(F.linear(*tensors), labels)
    assert_close_to_largest(loss(*tensors), expected, 1e-15)
    assert torch.autograd.gradcheck(loss, tensors)
    assert torch.autograd.gradgradcheck(loss, tensors)


def test_hidden_states_that_come_of_the_matrix() -> None:
    """Each gradient, of the first and second order, holds each path once."""
    weight = torch.randn(7, 3, dtype=torch.double, requires_grad=True)
    labels = torch.tensor([1, 0, 6])
    values = []
    for way in (lambda h, w: linear_cross_entropy(h, w, None, labels),
                lambda h, w: cross_entropy(h @ w.t(), labels)):  # fmt: skip
        (first,) = torch.autograd.grad(way(weight[2:5].tanh(), weight), weight, create_graph=True)
        (second,) = torch.autograd.grad(first.sin().sum(), weight)
        values.append({"first": first, "second": second})
    assert_all_close(*values, 1e-14)


# -- which labels ----------------------------------------------------------------------------------


@KINDS
def test_labels(taken: Taken, in_parts: Callable[..., int], values: dict[str, Any]) -> None:
    model = small_model(**values).double()
    batch = small_batch()
    ids = batch["input_ids"]
    one, last = torch.full_like(ids, -100), torch.full_like(ids, 52)
    one[1, 5] = 0  # on padding
    in_parts(ids.numel(), torch.float64)
    for labels in (ids, ids.int(), one, one.to(torch.int16), last):
        given = {**batch, "labels": labels}
        expected = results(model, given, plain=True)
        del expected["logits"]
        assert_same_results(results(model, {**given, "output_logits": False}), expected, 1e-12)
    assert taken.losses == (0 if values.get("asm") else 5)


@pytest.mark.parametrize("output_logits", [False, True])
@KINDS
def test_no_label_at_all(taken: Taken, values: dict[str, Any], output_logits: bool) -> None:
    model, batch = small_model(**values), small_batch()
    batch["labels"] = torch.full_like(batch["input_ids"], -100)
    found = results(model, {**batch, "output_logits": output_logits})
    assert found["loss"] == 0
    gradients = {name: value for name, value in found.items() if "gradient of" in name}
    assert any("embeddings" in name for name in gradients)
    for name, gradient in gradients.items():
        assert_equal(gradient, torch.zeros_like(gradient), name)
    assert taken.losses == (not values.get("asm"))


# -- how it is asked for ---------------------------------------------------------------------------


def test_output_logits(taken: Taken) -> None:
    model, batch = small_model(), small_batch(labels=True)
    assert model(**batch).logits is not None
    loss = model(**batch, output_logits=False, return_dict=False)
    assert len(loss) == 1
    model.output_logits = False
    output = model(**batch)
    assert output.logits is None
    assert_equal(output.loss, loss[0])
    assert_close_to_largest(model(**batch, output_logits=True).loss, output.loss, 1e-6)
    assert model(**batch, output_logits=True).logits.shape == (5, 6, 53)
    del batch["labels"]
    assert model(**batch).logits.shape == (5, 6, 53)
    with pytest.raises(InputError, match="no labels"):
        model(**batch, output_logits=False)
    assert taken.losses == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(taken: Taken, in_parts: Callable[..., int], dtype: torch.dtype) -> None:
    model, batch = small_model(), small_batch(labels=True)
    exact = results(copy.deepcopy(model).double(), batch, plain=True)
    in_parts(int((batch["labels"] != -100).sum()), dtype)
    found = results(model.to(dtype), {**batch, "output_logits": False})
    assert taken.losses == 1
    assert found["loss"].dtype == torch.float32
    assert_close_to_largest(found["loss"], exact["loss"], 0.03)
    for name in ("pred_layer.proj.bias", "transformer.embeddings.weight"):
        name = f"gradient of {name}"
        if name in exact:
            assert found[name].dtype == dtype
            assert_close_to_largest(found[name], exact[name], 0.1)
