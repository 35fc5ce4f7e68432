"""Nothing is stale: every call works on the parameters as they are, and leaves all else alone."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.parity import assert_all_close, assert_equal, assert_same_results
from tests.support.torch_fast_paths import (
    ONEDNN,
    Taken,
    results,
    small_batch,
    small_model,
    take_fast_paths,
)
from tests.support.torch_internals import formulas_only, linear
from xlm_torch import MODEL_CLASSES, XLMModel

BATCH = small_batch(labels=True)
FLOAT32 = 5e-6


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


def _by_data(model: Any) -> Any:
    """Without a trace: `.data` does not bump the version of a parameter."""
    versions = [parameter._version for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.data.mul_(1.25)
    assert [parameter._version for parameter in model.parameters()] == versions
    return model


def _loaded(model: Any) -> Any:
    model.load_state_dict({name: 0.8 * value for name, value in model.state_dict().items()})
    return model


def _assigned(model: Any) -> Any:
    state = {name: 0.8 * value for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    return model


def _stepped(model: Any) -> Any:
    results(model, BATCH)
    torch.optim.AdamW(model.parameters(), lr=0.05).step()
    return model


def _replaced(model: Any) -> Any:
    for path in ("transformer.ffns.0.lin1", "transformer.attentions.1.k_lin"):
        layer = model.get_submodule(path)
        layer.weight = nn.Parameter(1.5 * layer.weight.detach().t().contiguous().t())
        layer.bias = nn.Parameter(layer.bias.detach() + 1)
    return model


def _in_place(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    return model


def _pickled(model: Any) -> Any:
    return _by_data(pickle.loads(pickle.dumps(model)))


def _saved(model: Any) -> Any:
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    return _by_data(torch.load(stored, weights_only=False))


def _pruned(model: Any) -> Any:
    model.prune_heads({0: [1, 2], 2: [3]})
    return model


def _resized(model: Any) -> Any:
    model.resize_token_embeddings(61)
    return model


def _untied(model: Any) -> Any:
    model.pred_layer.proj.weight = nn.Parameter(model.pred_layer.proj.weight.detach() * 0.5)
    return model


CHANGES: dict[str, Callable[[Any], Any]] = {
    "written to through data": _by_data,
    "written to in place": _in_place,
    "load_state_dict": _loaded,
    "load_state_dict by assignment": _assigned,
    "a step of an optimizer": _stepped,
    "replaced parameters": _replaced,
    "to float64 and back": lambda model: _by_data(model.double()).float(),
    "copied": lambda model: _by_data(copy.deepcopy(model)),
    "pickled": _pickled,
    "saved": _saved,
    "heads pruned": _pruned,
    "vocabulary resized": _resized,
    "untied": _untied,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model(taken: Taken, change: str) -> None:
    model = small_model()
    before = results(model, BATCH)
    changed = CHANGES[change](model)
    taken.clear()
    expected = results(changed, BATCH, plain=True)
    assert taken.nothing
    assert_same_results(results(changed, BATCH), expected, FLOAT32)
    assert float((expected["loss"] - before["loss"]).abs()) > 1e-4
    assert taken.unpadded == taken.losses == 1
    assert bool(taken.look_ups) is (change != "untied")
    assert bool(taken.products) is (ONEDNN is not None)
    if changed is not model:  # a copy shares nothing
        assert_all_close(results(model, BATCH), before, 0.0)


@pytest.mark.parametrize("architecture", ["XLMModel", "XLMForTokenClassification"])
def test_evaluation_between_steps(taken: Taken, architecture: str) -> None:
    model, batch = small_model(MODEL_CLASSES[architecture]), small_batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    outputs: list[Tensor] = []
    for _ in range(3):
        results(model, batch)
        optimizer.step()
        with torch.inference_mode():
            outputs.append(model.eval()(**batch)[0])
            with formulas_only():
                expected = model(**batch)[0]
        assert float((outputs[-1] - expected).abs().max()) < 1e-5
        model.train()
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])
    assert taken.unpadded == 6


def test_requires_grad_is_read_at_each_call(taken: Taken) -> None:
    model = small_model()
    whole = results(model, BATCH)
    for frozen in ("attentions", "ffns.1.lin1", "embeddings", "bias", ""):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not (frozen and frozen in name))
        expected = results(model, BATCH, plain=True)
        found = results(model, BATCH)
        assert_same_results(found, expected, FLOAT32)
        assert (found.keys() == whole.keys()) is (frozen == "")
    assert taken.unpadded == 6
    model.requires_grad_(False)
    assert not model(**BATCH).loss.requires_grad
    model.transformer.layer_norm_emb.bias.requires_grad_()
    expected = results(model, BATCH, plain=True)
    assert [name for name in expected if "gradient of" in name] == [
        "gradient of transformer.layer_norm_emb.bias"
    ]
    assert_same_results(results(model, BATCH), expected, FLOAT32)


def test_the_state_of_a_model_is_its_parameters(taken: Taken) -> None:
    """Nothing is kept on modules, and no input is written to."""
    model = small_model()
    names = {id(module): set(module.__dict__) for module in model.modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    batch = {name: value.clone() for name, value in BATCH.items()}
    results(model, batch)
    assert taken.unpadded == 1
    assert {id(module): set(module.__dict__) for module in model.modules()} == names
    assert_all_close(model.state_dict(), state, 0.0)
    for name, value in batch.items():
        assert_equal(value, BATCH[name])


def test_inputs_and_residuals_are_not_written_to(taken: Taken) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    x, residual = torch.randn(3, 8), torch.randn(3, 8)
    kept = x.clone(), residual.clone()
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            for activation in ("none", "gelu", "relu"):
                linear(layer, x, activation, residual)
    assert_equal(x, kept[0])
    assert_equal(residual, kept[1])
    assert bool(taken.products) is (ONEDNN is not None)


def test_threads_and_switches_are_the_users(taken: Taken) -> None:
    def switches() -> tuple[Any, ...]:
        return (
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.get_float32_matmul_precision(),
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.matmul.allow_tf32,
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
        )

    threads = torch.get_num_threads()
    try:
        for number in (2, 1):
            torch.set_num_threads(number)
            before = switches()
            results(small_model(), BATCH)
            assert switches() == before
            assert before[0] == number
    finally:
        torch.set_num_threads(threads)
    assert taken.unpadded == 2


def test_formulas_only_ends_with_its_block(taken: Taken) -> None:
    model = small_model(XLMModel)

    def fail() -> None:
        with formulas_only():
            with formulas_only():
                model(**small_batch())
            model(**small_batch())
            assert taken.nothing
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    model(**small_batch())
    assert taken.unpadded == 1
