"""What traces a call or transforms it sees plain operations, and gets plain results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.support.torch_fast_paths import MASK, Taken, small_batch, small_model, take_fast_paths
from tests.support.torch_internals import formulas_only
from xlm_torch import XLMModel

BATCH = small_batch(labels=True)
FULL = small_batch(torch.ones_like(MASK), labels=True)
PADDED = small_batch(MASK.flip(0), labels=True)
KINDS = pytest.mark.parametrize("values", [{}, {"tie_word_embeddings": False}, {"causal": True}])


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def _assert_not_taken(taken: Taken) -> None:
    """Neither an operator without derivatives, nor a decision by the values of a mask."""
    assert not taken.products
    assert not taken.attentions
    assert not taken.losses
    assert not taken.look_ups
    assert not taken.unpadded


def _loss(model: Any, parameters: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
    loss: Tensor = functional_call(model, parameters, (), {**batch, "return_dict": False})[0]
    return loss


def _plain_gradients(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    with formulas_only():
        model(**batch).loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


# -- compilers and exporters -----------------------------------------------------------------------


class _Module(torch.nn.Module):
    """From ids and a mask to a tensor."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.model = small_model(XLMModel, causal=causal, n_layers=1).eval().requires_grad_(False)
        self.model.check_values = False

    def forward(self, ids: Tensor, mask: Tensor, langs: Tensor) -> Tensor:
        state: Tensor = self.model(
            input_ids=ids, attention_mask=mask, langs=langs, return_dict=False
        )[0]
        return state


def _arguments(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return batch["input_ids"], batch["attention_mask"], batch["langs"]


TRACERS = {
    "jit.trace": lambda module, given: torch.jit.trace(module, given, check_trace=False),
    "make_fx": lambda module, given: make_fx(module)(*given),
    "make_fx before dispatch": lambda module, given: make_fx(module, pre_dispatch=True)(*given),
    "make_fx with fakes": lambda module, given: make_fx(
        module, tracing_mode="fake", _allow_non_fake_inputs=True
    )(*given),
    "export": lambda module, given: torch.export.export(module, given).module(),
    "compile": lambda module, _: torch.compile(module, fullgraph=True, backend="aot_eager"),
}


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tracer", TRACERS)
def test_tracing(taken: Taken, tracer: str, causal: bool) -> None:
    """What was traced with full sentences serves padded ones, and the other way round."""
    module = _Module(causal=causal)
    expected = {}
    with formulas_only():
        for name, batch in (("full", FULL), ("padded", BATCH), ("other", PADDED)):
            expected[name] = module(*_arguments(batch))
    for first in (FULL, BATCH):
        traced = TRACERS[tracer](module, _arguments(first))
        found = {
            name: traced(*_arguments(batch))
            for name, batch in (("full", FULL), ("padded", BATCH), ("other", PADDED))
        }
        assert_all_close(found, expected, 5e-6)
        _assert_not_taken(taken)
    module(*_arguments(BATCH))
    assert taken.unpadded == 1


@pytest.mark.usefixtures("_fresh_compiler")
def test_compiled_training(taken: Taken) -> None:
    model = small_model(n_layers=1)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for batch in (FULL, BATCH):
        expected = _plain_gradients(model, batch)
        compiled(**batch).loss.backward()
        found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        assert_all_close(found, expected, 5e-6, one_scale=True)
        model.zero_grad()
    _assert_not_taken(taken)


# -- modes -----------------------------------------------------------------------------------------


class _Noted(TorchDispatchMode):
    """Notes the operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


@KINDS
def test_modes_see_plain_operators(taken: Taken, values: dict[str, Any]) -> None:
    model = small_model(**values)
    expected = _plain_gradients(model, BATCH)
    with _Noted() as noted:
        model(**BATCH).loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert_all_close(found, expected, 5e-6, one_scale=True)
    _assert_not_taken(taken)
    assert {"aten.addmm.default", "aten.embedding.default"} <= noted.names
    assert not [name for name in noted.names if "mkldnn" in name or "nonzero" in name]


def test_counted_operations(taken: Taken) -> None:
    """Products of linear layers, all rows of them, as the formula has them."""
    model, counts = small_model(), []
    for block in (contextlib.nullcontext(), formulas_only()):
        with block, FlopCounterMode(display=False) as counter:
            model(**BATCH).loss.backward()
        counted = counter.get_flop_counts()["Global"].items()
        counts.append({op: n for op, n in counted if str(op) in ("aten.mm", "aten.addmm")})
    assert counts[0] == counts[1]
    forward = MASK.numel() * (3 * 12 * 12 * 12 + 12 * 53) * 2
    assert sum(counts[0].values()) == 3 * forward  # two backward products for each
    _assert_not_taken(taken)


@pytest.mark.parametrize("where", ["fake", "meta"])
def test_tensors_without_values(taken: Taken, where: str) -> None:
    mode = FakeTensorMode() if where == "fake" else torch.device("meta")
    with mode:
        model = small_model()
        shapes = {n: torch.empty(t.shape, dtype=t.dtype) for n, t in BATCH.items()}
        output = model(**shapes)
    assert output.logits.shape == (*MASK.shape, 53)
    assert output.loss.shape == ()
    output.loss.backward()
    assert all(p.grad.shape == p.shape for p in model.parameters() if p.grad is not None)
    _assert_not_taken(taken)


# -- transforms of functions -----------------------------------------------------------------------


@KINDS
def test_functional_call(taken: Taken, values: dict[str, Any]) -> None:
    """With other parameters; this one is no transform, and may be fast."""
    model = small_model(**values)
    others = {name: 0.7 * p.detach() for name, p in model.named_parameters()}
    with formulas_only():
        expected, base = _loss(model, others, BATCH), model(**BATCH).loss.detach()
    assert_close_to_largest(_loss(model, others, BATCH), expected, 5e-6)
    assert abs(float(expected.detach() - base)) > 1e-3
    assert taken.unpadded == taken.losses == 1


@KINDS
def test_grad(taken: Taken, values: dict[str, Any]) -> None:
    model = small_model(**values)
    expected = _plain_gradients(model, BATCH)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    assert_all_close(grad(lambda p: _loss(model, p, BATCH))(parameters), expected, 5e-6,
                     one_scale=True)  # fmt: skip
    for name in ("pred_layer.proj.bias", "transformer.layer_norm2.2.weight"):  # all else unwrapped
        found = grad(lambda p, name=name: _loss(model, {name: p}, BATCH))(parameters[name])
        assert_close_to_largest(found, expected[name], 5e-6)
        found = jacrev(lambda p, name=name: _loss(model, {name: p}, BATCH))(parameters[name])
        assert_close_to_largest(found, expected[name], 5e-6)
    _assert_not_taken(taken)


@KINDS
def test_gradients_of_each_sentence(taken: Taken, values: dict[str, Any]) -> None:
    model = small_model(**values)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    rows = [{name: value[row : row + 1] for name, value in BATCH.items()} for row in range(4)]
    batched = {name: value[:4, None] for name, value in BATCH.items()}
    expected = [_plain_gradients(model, row) for row in rows]
    found = vmap(grad(lambda p, b: _loss(model, p, b)), in_dims=(None, 0))(parameters, batched)
    for row in range(4):
        assert_all_close({n: g[row] for n, g in found.items()}, expected[row], 5e-6, one_scale=True)
    losses = vmap(lambda b: model(**b, return_dict=False)[0])(batched)
    with formulas_only():
        alone = torch.stack([model(**row).loss for row in rows])
    assert_close_to_largest(losses, alone, 5e-6)
    _assert_not_taken(taken)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own, of jvp
@pytest.mark.parametrize("path", ["transformer.attentions.0.q_lin.weight", "pred_layer.proj.bias"])
def test_forward_derivatives(taken: Taken, path: str) -> None:
    model = small_model(tie_word_embeddings=False).double()
    parameter = model.get_parameter(path).detach()
    direction = torch.sin(torch.arange(parameter.numel()) + 1.0).view_as(parameter).double()
    expected = (_plain_gradients(model, BATCH)[path] * direction).sum()
    _, found = jvp(lambda p: _loss(model, {path: p}, BATCH), (parameter,), (direction,))
    assert_close_to_largest(found, expected, 1e-12)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(parameter, direction)
        found = forward_ad.unpack_dual(_loss(model, {path: dual}, BATCH)).tangent
    assert_close_to_largest(found, expected, 1e-12)
    _assert_not_taken(taken)
