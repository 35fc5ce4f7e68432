"""Fast linear layers and attention compute what the plain formulas do, derivatives included."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.torch_fast_paths import (
    Taken,
    needs_onednn,
    take_fast_paths,
)
from tests.support.torch_internals import (
    FlashAttention,
    OneDNNLinear,
    formulas_only,
    fused_attention,
    linear,
    prefer_onednn,
    product,
    replace_onednn,
)

ACTIVATIONS = {"none": lambda x: x, "gelu": F.gelu, "relu": torch.relu}
FLOAT32 = 2e-6


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


# -- linear ----------------------------------------------------------------------------------------


def _linear_case(
    bias: bool, residual: bool, shape: tuple[int, ...]
) -> tuple[nn.Linear, Tensor, Tensor | None]:
    torch.manual_seed(0)
    layer = nn.Linear(24, 31, bias=bias)
    other = torch.randn(*shape, 31) if residual else None
    return layer, torch.randn(*shape, 24), other


@needs_onednn
@pytest.mark.parametrize("shape", [(), (7,), (0,), (1, 5), (3, 2, 5)])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear(
    taken: Taken, activation: str, bias: bool, residual: bool, shape: tuple[int, ...]
) -> None:
    layer, x, other = _linear_case(bias, residual, shape)
    inputs = [x, *layer.parameters(), *([] if other is None else [other])]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    expected = ACTIVATIONS[activation](F.linear(exact[0], exact[1], exact[2] if bias else None))
    if residual:
        expected = expected + exact[-1]
    with torch.no_grad():
        inferred = linear(layer, x, activation, other)
    assert len(taken.products) == 1
    for tensor in inputs:
        tensor.requires_grad_()
    trained = linear(layer, x, activation, other)
    assert len(taken.products) == 2
    assert inferred.shape == trained.shape == expected.shape
    if not x.numel():
        return
    assert_close_to_largest(inferred, expected, FLOAT32)
    assert_close_to_largest(trained, expected, FLOAT32)
    weights = torch.sin(torch.arange(expected.numel()) + 1.0).view_as(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), exact)
    found = torch.autograd.grad((trained * weights).sum(), inputs)
    for one, other_one in zip(found, wanted, strict=True):
        assert_close_to_largest(one, other_one, FLOAT32)
    assert len(taken.products) == 4  # for x and for the weight


class _Same(nn.Linear):
    """Returns what somebody else holds too."""

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x if not hasattr(self, "kept") else self.kept
        return self.kept


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_without_onednn_overwrites_its_own_memory_only(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefer_onednn(monkeypatch, {})
    layer, x, residual = _linear_case(True, True, (3, 5))
    assert residual is not None
    expected = residual + ACTIVATIONS[activation](layer(x))
    kept = []
    with torch.no_grad():
        before = x.clone(), residual.clone()
        assert_close_to_largest(linear(layer, x, activation, residual), expected, 1e-6)
        assert torch.equal(x, before[0])
        assert torch.equal(residual, before[1])
        # A hook keeps the layer's output; broadcast and other dtypes do not fit into it.
        layer.register_forward_hook(lambda _, __, y: kept.append(y))
        linear(layer, x, activation, residual)
        assert_equal(kept[0], layer(x))
        layer._forward_hooks.clear()
        wider = linear(layer, x, activation, residual[None])
        assert wider.shape == (1, 3, 5, 31)
        assert linear(layer, x, activation, residual.double()).dtype == torch.float64
        same = _Same(24, 24)
        same(x)
        linear(same, x, activation, x)
        assert torch.equal(x, before[0])
    for tensor in (residual, x):  # with gradients
        tensor.requires_grad_()
        y = linear(layer, x, activation, residual)
        assert y.requires_grad
        y.sum().backward()
        assert tensor.grad is not None


def test_a_mode_may_hold_what_functions_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    prefer_onednn(monkeypatch, {})
    layer, x, residual = _linear_case(True, True, (5,))
    held = []

    class Recorder(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            if function is F.linear:
                held.append((result, result.clone()))
            return result

    with torch.no_grad(), Recorder():
        linear(layer, x, "gelu", residual)
    assert torch.equal(*held[0])


@needs_onednn
def test_classes_are_patched_too(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, _ = _linear_case(True, False, (5,))
    seen, forward = [], nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: seen.append(self) or forward(self, x))
    linear(layer, x)
    assert seen == [layer]
    assert taken.nothing


@needs_onednn
def test_the_rule_by_rows(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    prefer_onednn(monkeypatch, {torch.float32: range(2, 5)})
    layer = nn.Linear(24, 31)
    for rows in range(7):
        for shape in ((rows, 24), (1, rows, 24)):
            taken.clear()
            x = torch.randn(shape)
            assert linear(layer, x).shape == (*shape[:-1], 31)
            assert len(taken.products) == int(rows in (2, 3, 4))
    taken.clear()
    x = torch.randn(3, 24)
    assert_close_to_largest(product(x, layer.weight), F.linear(x, layer.weight), FLOAT32)
    assert len(taken.products) == 1
    product(torch.randn(3, 31), layer.weight.t())  # in another order
    product(torch.randn(5, 24), layer.weight)  # too many
    layer(x)
    assert len(taken.products) == 1


@needs_onednn
def test_linear_takes_any_strides(taken: Taken) -> None:
    layer = nn.Linear(24, 31)
    wide = torch.randn(5, 7, 48)
    for x in (wide[..., ::2], wide[..., :24].transpose(0, 1), torch.randn(24, 7).t(),
              torch.randn(1, 24).expand(9, 24)):  # fmt: skip
        assert not x.is_contiguous()
        assert_close_to_largest(linear(layer, x), F.linear(x.double(), *_doubled(layer)), FLOAT32)
    assert len(taken.products) == 4
    # For such a matrix oneDNN takes a slow way.
    layer.weight = nn.Parameter(torch.randn(24, 31).t())
    assert_close_to_largest(
        linear(layer, wide[..., :24]), F.linear(wide[..., :24].double(), *_doubled(layer)), FLOAT32
    )
    assert len(taken.products) == 4


def _doubled(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().double(), layer.bias.detach().double()


@needs_onednn
@pytest.mark.parametrize("frozen", ["x", "weight", "bias", "x weight", "weight bias", "x bias"])
def test_linear_where_some_gradients_are_not_asked_for(taken: Taken, frozen: str) -> None:
    layer, x, _ = _linear_case(True, False, (5,))
    inputs = {"x": x, "weight": layer.weight, "bias": layer.bias}
    for name, tensor in inputs.items():
        tensor.requires_grad_(name not in frozen.split())
    linear(layer, x).square().sum().backward()
    found = {name: tensor.grad for name, tensor in inputs.items()}
    assert taken.products
    exact = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    F.linear(exact["x"], exact["weight"], exact["bias"]).square().sum().backward()
    for name, gradient in found.items():
        assert (gradient is None) == (name in frozen.split())
        if gradient is not None:
            assert_close_to_largest(gradient, exact[name].grad, FLOAT32)


@needs_onednn
def test_linear_where_only_the_residual_has_a_gradient(taken: Taken) -> None:
    layer, x, residual = _linear_case(True, True, (5,))
    layer.requires_grad_(False)
    assert residual is not None
    y = linear(layer, x, residual=residual.requires_grad_())
    y.square().sum().backward()
    assert_close_to_largest(residual.grad, 2 * y, 1e-6)
    assert taken.products


@needs_onednn
def test_linear_twice_backward(taken: Taken) -> None:
    layer, x, _ = _linear_case(True, False, (5,))
    inputs = [x.requires_grad_(), *layer.parameters()]
    exact = [t.detach().double().requires_grad_() for t in inputs]

    def penalty(y: Tensor, of: list[Tensor]) -> list[Tensor]:
        gradients = torch.autograd.grad(y.tanh().sum(), of, create_graph=True)
        return [*gradients, *torch.autograd.grad(sum(g.square().sum() for g in gradients), of)]

    found = penalty(linear(layer, x), inputs)
    # Forward, and the last backward pass through it; what that one differentiates is plain.
    assert len(taken.products) == 3
    for one, other in zip(found, penalty(F.linear(*exact), exact), strict=True):
        assert_close_to_largest(one, other, FLOAT32)


def test_derivatives_of_the_linear_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """By finite differences; oneDNN has no float64, so its product is the plain one here."""
    replace_onednn(monkeypatch, lambda x, w, b, *_: F.linear(x, w, b))
    inputs = [torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)]
    inputs = [t.double().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(OneDNNLinear.apply, inputs)
    assert torch.autograd.gradgradcheck(OneDNNLinear.apply, inputs)
    assert torch.autograd.gradcheck(OneDNNLinear.apply, (*inputs[:2], None))


@needs_onednn
def test_product(taken: Taken) -> None:
    x, weight, bias = torch.randn(3, 7), torch.randn(5, 7), torch.randn(5)
    expected = F.linear(x.double(), weight.double(), bias.double())
    assert_close_to_largest(product(x, weight, bias), expected, FLOAT32)
    assert_close_to_largest(product(x, weight.t().contiguous().t(), bias), expected, FLOAT32)
    assert taken.products == [(3, 5)] * 2
    assert_equal(product(x.double(), weight.double(), bias.double()), expected)
    assert product(x[:0], weight).shape == (0, 5)
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        product(x, weight)
    with formulas_only():
        product(x, weight)
    assert len(taken.products) == 2


# -- attention -------------------------------------------------------------------------------------


def _formula(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, causal: bool
) -> Tensor:
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
    if causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores.softmax(-1) @ value


VISIBLE = {
    "all": (None, False),
    "causal": (None, True),
    "some keys": (torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1]]).bool()[:, None, None, :], False),
    "some for each query": (torch.ones(1, 1, 4, 4).tril().bool().flip(3).flip(2), False),
}


@pytest.mark.parametrize("kind", VISIBLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention(taken: Taken, dtype: torch.dtype, kind: str) -> None:
    visible, causal = VISIBLE[kind]
    torch.manual_seed(0)
    exact = [torch.randn(2, 3, 4, 5, dtype=torch.double).requires_grad_() for _ in range(3)]
    given = [t.detach().to(dtype).requires_grad_() for t in exact]
    bound = 1e-14 if dtype == torch.float64 else FLOAT32
    expected = _formula(*exact, visible, causal)
    with torch.no_grad():
        assert_close_to_largest(fused_attention(*given, visible, causal=causal), expected, bound)
    assert taken.attentions == 0
    found = fused_attention(*given, visible, causal=causal)
    assert taken.attentions == 1
    assert_close_to_largest(found, expected, bound)
    for create_graph in (False, True):
        pairs = [
            torch.autograd.grad(y.tanh().square().sum(), of, create_graph=create_graph,
                                retain_graph=True)
            for y, of in ((found, given), (expected, exact))
        ]  # fmt: skip
        for one, other in zip(*pairs, strict=True):
            assert_close_to_largest(one, other, 10 * bound)


@pytest.mark.parametrize("kind", VISIBLE)
def test_derivatives_of_attention(kind: str) -> None:
    visible, causal = VISIBLE[kind]
    torch.manual_seed(0)
    tensors = [torch.randn(2, 1, 4, 2, dtype=torch.double).requires_grad_() for _ in range(3)]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended: Tensor = FlashAttention.apply(query, key, value, visible, causal)
        return attended

    assert torch.autograd.gradcheck(attend, tensors)
    assert torch.autograd.gradgradcheck(attend, tensors)


def test_attention_of_a_tensor_to_itself_and_to_what_comes_of_it(taken: Taken) -> None:
    x = torch.randn(1, 2, 4, 3, dtype=torch.double, requires_grad=True)
    for key in (x, x.tanh()):
        for value in (x, key.sin()):
            first = [
                torch.autograd.grad(y.square().sum(), x, create_graph=True)[0]
                for y in (fused_attention(x, key, value), _formula(x, key, value, None, False))
            ]
            assert_close_to_largest(first[0], first[1], 1e-13)
            second = [torch.autograd.grad(g.sin().sum(), x, retain_graph=True)[0] for g in first]
            assert_close_to_largest(second[0], second[1], 1e-13)
    assert taken.attentions == 4
