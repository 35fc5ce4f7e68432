"""The matrix that is both the word embeddings and the output: one gradient, of every use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.parity import (
    assert_all_close,
    assert_close_to_largest,
    assert_equal,
    assert_same_results,
)
from tests.support.torch_fast_paths import Taken, results, small_batch, small_model, take_fast_paths
from tests.support.torch_internals import (
    embedding,
    formulas_only,
    set_logits_limits,
    shared_matrix,
)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


def _tied_results(model: Any, given: dict[str, Any], uses: str) -> dict[str, Tensor]:
    """Gradients where the embeddings are used in more places than two."""
    batch = dict(given)
    model.zero_grad()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if uses == "inputs_embeds":
        batch["inputs_embeds"] = model.get_input_embeddings()(batch.pop("input_ids"))
    elif uses == "token types":  # some of padding's row, which the look-up does not train
        batch["token_type_ids"] = batch["langs"]
    output = model(**batch)
    loss = output.loss
    if uses == "beside":
        loss = loss + model.get_input_embeddings().weight.square().sum()
    elif uses == "logits":
        loss = loss + output.logits.tanh().sum()
    elif uses == "two calls":
        loss = loss + model(**{**batch, "labels": batch["input_ids"]}).loss
    found = [torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
             for _ in range(2)]  # fmt: skip
    for one, other in zip(*found, strict=True):
        assert_equal(one, other)  # nothing that was kept has been written to
    loss.backward(retain_graph=True)
    loss.backward()
    return {name: parameter.grad / 2 for name, parameter in parameters.items()}


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("frozen", ["", "embeddings", "all else"])
@pytest.mark.parametrize(
    "uses", ["plain", "inputs_embeds", "token types", "beside", "logits", "two calls"]
)
def test_every_use_of_the_embeddings_is_trained(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, parts: bool, uses: str, frozen: str
) -> None:
    model, batch = small_model().double(), small_batch(labels=True)
    if parts:
        set_logits_limits(monkeypatch, kept=0, part=1000)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_((name == "transformer.embeddings.weight") == (frozen == "all else")
                                 or not frozen)  # fmt: skip
    with formulas_only():
        expected = _tied_results(model, batch, uses)
    assert taken.nothing
    assert_all_close(_tied_results(model, batch, uses), expected, 1e-12, one_scale=True)
    assert taken.losses == 1 + (uses == "two calls")
    assert bool(taken.look_ups) is (frozen != "embeddings" and uses != "inputs_embeds")


@pytest.mark.parametrize("changed", ["max_norm", "scale_grad_by_freq", "no padding_idx", "sparse"])
def test_embeddings_with_options(taken: Taken, changed: str) -> None:
    """A look-up that does more than look up is called, and the same comes out."""
    options = {
        "max_norm": {"max_norm": 0.5},
        "scale_grad_by_freq": {"scale_grad_by_freq": True},
        "sparse": {"sparse": True},
        "no padding_idx": {"padding_idx": None},
    }[changed]
    found = []
    for plain in (True, False):
        model = small_model().double()
        embeddings = nn.Embedding(53, 12, **{"padding_idx": 2, **options}).double()
        embeddings.weight.data.copy_(model.get_input_embeddings().weight.data)
        embeddings.weight.data[2] = 0  # not looked up where padding is left out
        model.set_input_embeddings(embeddings)
        found.append(results(model, small_batch(labels=True), plain=plain))
    assert_same_results(found[1], found[0], 1e-12)
    assert taken.losses == 1
    assert bool(taken.look_ups) is (changed in ("no padding_idx", "sparse"))


def _both_ends(layer: nn.Embedding, ids: Tensor) -> Tensor:
    """A loss of the second order in the matrix, by the two Functions that share its gradient."""
    with shared_matrix(layer.weight) as (output, look_up):
        looked_up = look_up(layer, ids).tanh() + look_up(layer, ids.flip(0))
    return (looked_up @ output.t()).sin()


def test_derivatives_of_both_ends(taken: Taken) -> None:
    torch.manual_seed(0)
    layer = nn.Embedding(5, 3).double()
    ids = torch.tensor([[4, 0], [1, 4]], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda _: _both_ends(layer, ids), (layer.weight,))
    assert torch.autograd.gradgradcheck(lambda _: _both_ends(layer, ids), (layer.weight,))
    assert taken.look_ups


@pytest.mark.parametrize("end", ["look-up", "output"])
def test_one_end_alone(taken: Taken, end: str) -> None:
    layer = nn.Embedding(5, 3, padding_idx=4).double()
    ids = torch.tensor([[4, 0], [1, 0]])
    with shared_matrix(layer.weight) as (output, look_up):
        looked_up = look_up(layer, ids)
    used = (looked_up if end == "look-up" else output).square().sum()
    (found,) = torch.autograd.grad(used, layer.weight)
    plain = (layer(ids) if end == "look-up" else layer.weight).square().sum()
    assert_close_to_largest(found, torch.autograd.grad(plain, layer.weight)[0], 1e-15)
    assert found.layout == torch.strided
    assert taken.look_ups == 1


def test_only_inside_and_only_that_matrix(taken: Taken) -> None:
    layer, other = nn.Embedding(5, 3), nn.Embedding(5, 3)
    ids = torch.tensor([1, 2])

    def fail() -> None:
        with shared_matrix(layer.weight) as (_, look_up):
            assert_equal(look_up(other, ids), other(ids))
            assert taken.look_ups == 0
            look_up(layer, ids)
            assert taken.look_ups == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    embedding(layer, ids).sum().backward()
    assert taken.look_ups == 1
    assert layer.weight.grad is not None
