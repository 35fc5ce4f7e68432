"""Packed weights: an explicit second copy for inference that is never stale and never saved."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.torch_internals import (
    ANY_ROWS,
    ONEDNN,
    formulas_only,
    has_onednn,
    is_packed_as_it_is,
    packed_layers,
    prefer_onednn,
    replace_onednn,
    set_packed_rows,
    set_smallest_matrix,
)
from xlm_core import XLMConfig
from xlm_torch import XLMWithLMHeadModel, pack_weights, unpack_weights

IDS = torch.randint(6, 90, (3, 11), generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN"
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    prefer_onednn(monkeypatch, dict.fromkeys((torch.float32, torch.bfloat16), ANY_ROWS))
    set_smallest_matrix(monkeypatch, 64 * 64)
    torch.manual_seed(0)
    config = XLMConfig(vocab_size=90, emb_dim=64, n_layers=2, n_heads=4, init_std=0.2)
    return XLMWithLMHeadModel(config).eval()


def _hidden(model: Any) -> torch.Tensor:
    with torch.no_grad():
        hidden: torch.Tensor = model.transformer(IDS).last_hidden_state
    return hidden


def test_the_same_numbers_and_how_much_memory(model: Any) -> None:
    expected = _hidden(model)
    # 12 matrices of 64 x 64 in each layer, and the output, which is 90 x 64.
    assert pack_weights(model) == 4 * (2 * 12 * 64 * 64 + 90 * 64)
    assert all(is_packed_as_it_is(layer) for layer in packed_layers())
    assert_close_to_largest(_hidden(model), expected, 1e-6)
    unpack_weights(model)
    assert not packed_layers()
    assert_equal(_hidden(model), expected)


@pytest.mark.parametrize("preferred", [True, False])
def test_packed_matrices_are_used(
    model: Any, preferred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not preferred:
        prefer_onednn(monkeypatch, {})
    pack_weights(model)
    seen, product = [], ONEDNN

    class Spy:
        def __call__(self, x: Any, weight: Any, *rest: Any) -> Any:
            seen.append(weight.is_mkldnn)
            return product(x, weight, *rest)

        def binary(self, x: Any, residual: Any, weight: Any, *rest: Any) -> Any:
            seen.append(weight.is_mkldnn)
            return product.binary(x, residual, weight, *rest)

    replace_onednn(monkeypatch, Spy())
    _hidden(model)
    assert seen == [True] * 12
    seen.clear()
    model.transformer(IDS)  # with gradients: plain ones
    assert seen == [False] * (12 if preferred else 0)
    seen.clear()
    model.transformer.ffns[0].lin1.weight.data.mul_(2)  # stale: this one as if never packed
    _hidden(model)
    assert seen.count(False) == (1 if preferred else 0)
    assert seen.count(True) == 11
    seen.clear()
    set_packed_rows(monkeypatch, range(IDS.numel()))  # of 33: too many
    _hidden(model)
    assert len(seen) == (12 if preferred else 0)


def _load(model: Any) -> None:
    model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})


def _replace(model: Any) -> None:
    layer = model.transformer.ffns[1].lin1
    layer.weight = torch.nn.Parameter(2 * layer.weight.detach())


def _step(model: Any) -> None:
    model(IDS, labels=IDS).loss.backward()
    torch.optim.SGD(model.parameters(), 0.5).step()


CHANGES: dict[str, Callable[[Any], Any]] = {
    "through data": lambda m: m.transformer.ffns[0].lin2.weight.data.mul_(2),
    "in place": lambda m: m.transformer.attentions[0].q_lin.weight.detach().mul_(2),
    "loaded": _load,
    "replaced": _replace,
    "a step": _step,
    "there and back": lambda m: m.double().float(),
    "pruned": lambda m: m.prune_heads({0: [1]}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_never_stale(model: Any, change: str) -> None:
    pack_weights(model)
    before = _hidden(model)
    CHANGES[change](model)
    actual = _hidden(model)
    unpack_weights(model)
    assert_close_to_largest(actual, _hidden(model), 1e-6)
    if change != "there and back":
        assert not torch.equal(actual, before)


def test_what_counts_no_changes_is_not_packed(model: Any) -> None:
    with torch.inference_mode():
        other = copy.deepcopy(model)
        assert other.transformer.ffns[0].lin1.weight.is_inference()
        assert pack_weights(other) == 0


def test_neither_copied_nor_saved(model: Any) -> None:
    names, expected = list(model.state_dict()), _hidden(model)
    pack_weights(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert list(model.state_dict()) == names
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    ):
        assert not any(layer in packed_layers() for layer in other.modules())
        assert_equal(_hidden(other), expected)


def test_forgotten_with_the_model(model: Any) -> None:
    other = copy.deepcopy(model)
    pack_weights(other)
    assert len(packed_layers()) == 13
    del other
    assert not packed_layers()


def test_nothing_to_pack(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    has_onednn(monkeypatch, False)
    assert pack_weights(model) == 0
    has_onednn(monkeypatch, True)
    assert pack_weights(model.double()) == 0


def test_bfloat16(model: Any) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    model.bfloat16()
    with formulas_only():
        expected = _hidden(model)
    actual = _hidden(model)
    assert actual.dtype == torch.bfloat16
    assert_close_to_largest(actual.float(), expected.float(), 0.03)
    assert pack_weights(model) > 0
    assert_equal(_hidden(model), actual)
    model.train()
    model(IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
