"""Whatever stands in a submodule's way is met: only untouched modules are stood in for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.nn.utils import parametrize, prune

from tests.support.parity import assert_all_close, assert_same_results
from tests.support.torch_fast_paths import (
    MASK,
    Taken,
    results,
    small_batch,
    small_model,
    take_fast_paths,
)
from tests.support.torch_internals import MultiHeadAttention, TransformerFFN
from xlm_torch import XLMModel
from xlm_torch.language_model import XLMPredLayer

PATHS = (
    "transformer.embeddings",
    "transformer.position_embeddings",
    "transformer.lang_embeddings",
    "transformer.layer_norm_emb",
    "transformer.attentions.0",
    "transformer.attentions.1.q_lin",
    "transformer.attentions.2.out_lin",
    "transformer.layer_norm1.2",
    "transformer.ffns.0",
    "transformer.ffns.1.lin1",
    "transformer.ffns.2.lin2",
    "pred_layer",
    "pred_layer.proj",
)
BATCH = {**small_batch(labels=True), "position_ids": torch.arange(6).expand(5, 6) + 2}
UNTIED = {"tie_word_embeddings": False}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


def _changed(value: Any) -> Any:
    if isinstance(value, tuple):
        return (_changed(value[0]), *value[1:])
    return 1.5 * value + value.abs() if value.is_floating_point() else (value + 1) % 5


class _Louder(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 1.5 * weight


def _own_forward(module: nn.Module) -> None:
    forward = module.forward
    module.forward = lambda *a, **o: _changed(forward(*a, **o))


def _subclass(module: nn.Module) -> None:
    kind = type(module)
    forward = lambda self, *a, **o: _changed(kind.forward(self, *a, **o))  # noqa: E731
    module.__class__ = type("Louder", (kind,), {"forward": forward})


TOUCHES: dict[str, Callable[[Any], Any]] = {
    "forward hook": lambda m: m.register_forward_hook(lambda _, __, y: _changed(y)),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(
        lambda _, x: (_changed(x[0]), *x[1:])
    ),
    "backward hook": lambda m: m.register_full_backward_hook(
        lambda _, of_x, __: (None if of_x[0] is None else 1.5 * of_x[0], *of_x[1:])
    ),
    "backward pre-hook": lambda m: m.register_full_backward_pre_hook(
        lambda _, of_y: _changed(of_y)
    ),
    "own forward": _own_forward,
    "subclass": _subclass,
    "parametrization": lambda m: parametrize.register_parametrization(m, "weight", _Louder()),
    "pruned": lambda m: prune.l1_unstructured(m, "weight", amount=0.5),
}


# So PyTorch says of embeddings, whose input has no gradient.
EMBEDDINGS = pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")


@EMBEDDINGS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("touch", TOUCHES)
def test_a_touched_module_is_called(
    taken: Taken, touch: str, path: str, dtype: torch.dtype
) -> None:
    model = small_model(**UNTIED).to(dtype)
    module = model.get_submodule(path)
    if touch in ("parametrization", "pruned") and not hasattr(module, "weight"):
        return
    if touch == "backward hook" and isinstance(module, nn.Embedding):
        return  # its input has no gradient
    base = results(model, BATCH, plain=True)
    TOUCHES[touch](module)
    expected = results(model, BATCH, plain=True)
    assert taken.nothing
    assert _differ(expected, base)
    found = results(model, BATCH)
    assert_same_results(found, expected, 1e-12 if dtype == torch.float64 else 5e-6)
    assert bool(taken.unpadded) is path.startswith("pred_layer")
    assert bool(taken.losses) is not path.startswith("pred_layer")


@pytest.mark.parametrize(
    "kind", [MultiHeadAttention, TransformerFFN, XLMPredLayer, nn.LayerNorm, nn.Linear]
)
def test_a_patched_class_is_called(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module]
) -> None:
    """Also one that was patched before any model was called."""
    model, forward = small_model(**UNTIED), kind.forward
    with monkeypatch.context() as patched:
        patched.setattr(kind, "forward", lambda self, *a, **o: _changed(forward(self, *a, **o)))
        found = results(model, BATCH)
        assert_same_results(found, results(model, BATCH, plain=True), 5e-6)
        assert bool(taken.unpadded) is (kind is XLMPredLayer)
        assert bool(taken.losses) is (kind in (MultiHeadAttention, TransformerFFN, nn.LayerNorm))
        assert bool(taken.products) is (kind is not nn.Linear)
    taken.clear()
    assert _differ(results(model, BATCH), found)
    assert taken.unpadded == taken.losses == 1


def _louder(method: Any) -> Any:
    """The method, but for what it returns."""
    return lambda *a, **o: _changed(method(*a, **o))


@pytest.mark.parametrize("where", ["class", "instance"])
@pytest.mark.parametrize("method", ["attend", "split_heads", "_chunk", "_layer"])
def test_any_patched_method_is_called(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, method: str, where: str
) -> None:
    """Not `forward` alone; a layer of the encoder's own too."""
    model = small_model(**UNTIED)
    base = results(model, BATCH)
    assert taken.unpadded == 1
    encoder = model.transformer
    owner = {"_chunk": encoder.ffns[0], "_layer": encoder}.get(method, encoder.attentions[0])
    taken.clear()
    with monkeypatch.context() as patched:
        of = type(owner) if where == "class" else owner
        patched.setattr(of, method, _louder(getattr(of, method)))
        found = results(model, BATCH)
        assert_same_results(found, results(model, BATCH, plain=True), 5e-6)
    assert not taken.unpadded
    assert _differ(found, base)
    taken.clear()
    assert_all_close(results(model, BATCH), base, 0.0)
    assert taken.unpadded == 1


def test_a_subclass_with_a_layer_of_its_own_is_called(taken: Taken) -> None:
    class Louder(XLMModel):
        def _layer(self, *arguments: Any) -> Any:
            return _changed(super()._layer(*arguments))

    model = small_model(**UNTIED)
    base = results(model, BATCH)
    model.transformer.__class__ = Louder
    taken.clear()
    found = results(model, BATCH)
    assert _differ(found, base)
    assert_same_results(found, results(model, BATCH, plain=True), 5e-6)
    assert not taken.unpadded


def _differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.allclose(one[name], other[name]) for name in one.keys() & other.keys())


def test_without_its_hook_the_fast_path_is_back(taken: Taken) -> None:
    model = small_model()
    base = results(model, BATCH)
    for path in PATHS:
        handle = model.get_submodule(path).register_forward_hook(lambda *_: None)
        taken.clear()
        results(model, BATCH)
        assert not (taken.unpadded and taken.losses)
        handle.remove()
        taken.clear()
        assert_all_close(results(model, BATCH), base, 0.0)
        assert taken.unpadded == taken.losses == 1


GLOBAL = {
    "forward pre": nn_module.register_module_forward_pre_hook,
    "forward": nn_module.register_module_forward_hook,
    "backward pre": nn_module.register_module_full_backward_pre_hook,
    "backward": nn_module.register_module_full_backward_hook,
}


@EMBEDDINGS
@pytest.mark.filterwarnings("ignore:For backward hooks to be called:UserWarning")
@pytest.mark.parametrize("which", GLOBAL)
def test_hooks_of_all_modules(taken: Taken, which: str) -> None:
    model, called = small_model(), []
    handle = GLOBAL[which](lambda module, *_: called.append(type(module).__name__) and None)
    try:
        results(model, BATCH, plain=True)
        expected = list(called)
        called.clear()
        results(model, BATCH)
    finally:
        handle.remove()
    assert called == expected
    assert {"Linear", "Embedding", "LayerNorm", "MultiHeadAttention"} <= set(called)
    assert not taken.unpadded
    assert not taken.losses
    assert not taken.products


def test_hooks_on_the_model_see_the_whole_batch(taken: Taken) -> None:
    model, seen = small_model(), []
    for part in (model, model.transformer):
        part.register_forward_pre_hook(
            lambda _, __, given: seen.append(given["input_ids"].shape), with_kwargs=True
        )
        part.register_forward_hook(lambda _, __, output: seen.append(output[-1][0].shape))
    model(**BATCH, output_hidden_states=True)
    assert seen == [MASK.shape] * 2 + [(*MASK.shape, 12)] * 2
    assert taken.unpadded == 1
