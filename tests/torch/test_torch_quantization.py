"""int8: the formula by hand, the fast product, and what a quantized model refuses."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.parity import assert_all_close, assert_close_to_largest, assert_equal
from tests.support.torch_fast_paths import MASK, small_batch, small_model
from tests.support.torch_internals import (
    MULTIPLIES_INTEGERS,
    QuantizedLinear,
    formulas_only,
    packed_layers,
    rounded,
)
from xlm_core.errors import CheckpointError, ConfigError, InputError
from xlm_core.weights import ARCHITECTURES
from xlm_torch import MODEL_CLASSES, XLMModel, XLMWithLMHeadModel, quantize

needs_integers = pytest.mark.skipif(
    not MULTIPLIES_INTEGERS, reason="this processor has no exact products of int8"
)


def _rounded(x: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    scale = np.abs(x).max(-1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.rint(x / scale), scale


def _case(dtype: torch.dtype = torch.float64, rows: int = 7) -> tuple[nn.Linear, Tensor]:
    torch.manual_seed(0)
    layer = nn.Linear(24, 31).to(dtype)
    with torch.no_grad():
        layer.weight[3] = 0
        layer.weight[4, 0] = 50.0
    x = torch.randn(rows, 24, dtype=dtype)
    x[-1] = 0
    x[1, 2] = -30.0
    return layer.requires_grad_(False), x


# -- the layer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("activations", [True, False])
def test_by_hand(activations: bool) -> None:
    layer, x = _case()
    matrix, scale = _rounded(layer.weight.numpy())
    rows, of_rows = _rounded(x.numpy()) if activations else (x.numpy(), 1.0)
    expected = (rows @ matrix.T) * of_rows * scale.T + layer.bias.numpy()
    ours = QuantizedLinear(layer, activations=activations)
    assert ours.weight.dtype == torch.int8
    assert_equal(ours.weight, matrix)
    assert int(ours.weight.min()) >= -127
    assert_close_to_largest(ours(x), expected, 1e-14)
    assert_close_to_largest(ours(x[None, :, None]), expected[None, :, None], 1e-14)


def test_ties_go_to_even() -> None:
    x = torch.tensor([[127.0, 0.5, 1.5, -0.5, -2.5, -127.0]])
    integers, scale = rounded(x)
    assert integers.tolist() == [[127, 0, 2, 0, -2, -127]]
    assert scale.item() == 1


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e30, 3e38])
def test_sizes_at_the_ends_of_float32(size: float) -> None:
    x = torch.linspace(-1, 1, 50)[None] * size
    integers, scale = rounded(x)
    assert int(integers.abs().max()) <= 127
    assert float((integers * scale - x).abs().max()) <= max(float(x.abs().max()) / 250, 2e-36)


@needs_integers
@pytest.mark.parametrize("shape", [(7,), (0,), (2, 3), (1, 4, 5), ()])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inputs", [1, 13, 24, 4096])
def test_the_fast_product(inputs: int, bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = QuantizedLinear(nn.Linear(inputs, 31, bias=bias).requires_grad_(False))
    x = torch.randn(*shape, inputs)
    actual = ours(x)
    assert ours in packed_layers()
    with formulas_only():
        plain = ours(x)
    integers, scale = rounded(x)
    exact = integers.double() @ ours.weight.double().t() * scale * ours.scale.double()
    exact = exact + (ours.bias.double() if bias else 0)
    assert actual.shape == plain.shape == exact.shape
    if x.numel():
        assert_close_to_largest(plain, exact, 2e-6)
        assert_close_to_largest(actual, exact, 2e-7)


@needs_integers
def test_the_largest_sums_are_exact() -> None:
    layer = nn.Linear(4096, 3, bias=False).requires_grad_(False)
    layer.weight.fill_(-1)
    assert_close_to_largest(
        QuantizedLinear(layer)(torch.ones(2, 4096)), -4096 * torch.ones(2, 3), 1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activations", [True, False])
def test_dtypes(dtype: torch.dtype, activations: bool) -> None:
    layer, x = _case()
    expected = QuantizedLinear(layer, activations=activations)(x.to(dtype).double())
    ours = QuantizedLinear(layer.to(dtype), activations=activations)
    assert ours.scale.dtype == torch.float32
    for way in (formulas_only, lambda: torch.no_grad()):
        with way():
            y = ours(x.to(dtype))
        assert y.dtype == dtype
        assert_close_to_largest(y.double(), expected, 1e-6 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    layer, x = _case(torch.float32)
    x[2, 5] = bad
    for activations in (True, False):
        y = QuantizedLinear(layer, activations=activations)(x)
        assert not bool(y[2, [0, 1, 2, 5]].isfinite().any())
        assert bool(y[[0, 1, 3, 4, 5, 6]].isfinite().all())


def test_gradients_are_refused_or_right() -> None:
    layer, x = _case()
    x.requires_grad_()
    with pytest.raises(InputError, match="activations=False"):
        QuantizedLinear(layer)(x)
    with torch.no_grad():
        QuantizedLinear(layer)(x)
    ours = QuantizedLinear(layer, activations=False)
    ours(x).square().sum().backward()
    matrix = ours.weight * ours.scale[:, None]
    assert_close_to_largest(x.grad, 2 * (x @ matrix.t() + ours.bias) @ matrix, 1e-12)


def test_scales_keep_their_dtype() -> None:
    layer, x = _case(torch.float32)
    ours = QuantizedLinear(layer)
    scale, expected = ours.scale.clone(), ours(x)
    for change in (ours.half, ours.bfloat16, lambda: ours.to(torch.float16)):
        change()
        assert_equal(ours.scale, scale)
        assert ours.scale.dtype == torch.float32
        assert ours.weight.dtype == torch.int8
    assert_close_to_largest(ours.float()(x), expected, 0.01)  # the bias was rounded
    assert ours.double().scale.dtype == torch.float64


def test_state_dict() -> None:
    layer, x = _case(torch.float32)
    ours, other = QuantizedLinear(layer), QuantizedLinear(nn.Linear(24, 31).requires_grad_(False))
    other(x)  # packed for the old values
    other.load_state_dict(ours.state_dict())
    assert_equal(other(x), ours(x))
    for strict in (True, False):
        with pytest.raises(RuntimeError, match="loaded before"):
            other.load_state_dict(layer.state_dict(), strict=strict)
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_equal(copied(x), ours(x))


# -- models ----------------------------------------------------------------------------------------

BATCH = small_batch(MASK)


def _outputs(model: Any, **batch: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            name: value for name, value in model(**(batch or BATCH)).items() if value is not None
        }


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads(architecture: str, activations: bool) -> None:
    """float64, so that the layers' formula is what is computed; compared: layer by layer."""
    batch = dict(BATCH)
    if architecture == "XLMForMultipleChoice":
        batch = {name: value[None] for name, value in batch.items()}
    model = small_model(MODEL_CLASSES[architecture]).double().eval()
    dense = _outputs(model, **batch)
    assert quantize(model, activations=activations) is model
    layers = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert len(layers) == 6 * model.config.n_layers
    assert not any(p.requires_grad for p in model.parameters())
    outputs = _outputs(model, **batch)
    with formulas_only():
        for name, value in _outputs(model, **batch).items():
            assert_close_to_largest(outputs[name], value, 1e-12, name)
    for name, value in dense.items():
        if "index" not in name:
            norm = float((outputs[name].float() - value.float()).norm() / value.float().norm())
            assert 1e-5 < norm < 0.2, name


def test_padding_is_left_out_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.torch_fast_paths import take_fast_paths

    taken = take_fast_paths(monkeypatch)
    model = quantize(small_model(XLMModel).double().eval())
    fast = _outputs(model)
    assert taken.unpadded == 1
    with formulas_only():
        assert_close_to_largest(
            fast["last_hidden_state"], _outputs(model)["last_hidden_state"], 1e-12
        )


@needs_integers
def test_the_fast_way_is_as_near_to_the_truth() -> None:
    """Rounding to integers jumps, so two float32 ways part; their errors are of one size."""
    model = small_model(XLMModel, emb_dim=64).eval()
    exact = _outputs(copy.deepcopy(model).double())["last_hidden_state"]
    quantize(model)
    fast = _outputs(model)["last_hidden_state"]
    with formulas_only():
        plain = _outputs(model)["last_hidden_state"]
    errors = [float((y - exact).norm() / exact.norm()) for y in (fast, plain)]
    assert 0.5 < errors[0] / errors[1] < 2
    assert errors[0] < 0.1


def test_compiled_and_exported() -> None:
    model = quantize(small_model(XLMModel).double().eval())
    expected = _outputs(model)["last_hidden_state"]
    exported = torch.export.export(model, (), BATCH).module()
    with torch.no_grad():
        assert_close_to_largest(exported(**BATCH).last_hidden_state, expected, 1e-12)


def test_a_state_dict_of_int8_is_loaded_by_an_int8_model() -> None:
    one, other = (quantize(small_model(XLMModel, init_std=0.1 * i).eval()) for i in (1, 2))
    other.load_state_dict(one.state_dict())
    assert_equal(_outputs(other)["last_hidden_state"], _outputs(one)["last_hidden_state"])
    with pytest.raises(RuntimeError, match="int8 here"):
        other.load_state_dict(small_model(XLMModel).state_dict())


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("architecture", ["XLMModel", "XLMWithLMHeadModel"])
def test_a_float_model_refuses_it(architecture: str, strict: bool) -> None:
    made = MODEL_CLASSES[architecture]
    model = small_model(made)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = quantize(small_model(made).eval()).state_dict()
    for holder, prefix in ((model, ""), (nn.ModuleDict({"inner": model}), "inner.")):
        given = {prefix + name: value for name, value in state.items()}
        with pytest.raises(CheckpointError, match=r"q_lin.weight is int8.*quantize"):
            holder.load_state_dict(given, strict=strict)
    assert_all_close(model.state_dict(), before, 0.0)


def test_resized() -> None:
    model = quantize(small_model(XLMWithLMHeadModel).eval())
    model.resize_token_embeddings(60)
    assert _outputs(model)["logits"].shape[-1] == 60


def test_shared_layers_stay_shared() -> None:
    model, plain = small_model(XLMModel).double().eval(), small_model(XLMModel).double().eval()
    for m in (model, plain):
        m.ffns[1] = m.ffns[0]
        m.attentions[1].q_lin = m.attentions[0].q_lin
    quantize(model)
    assert model.ffns[1].lin1 is model.ffns[0].lin1
    assert model.attentions[1].q_lin is model.attentions[0].q_lin
    exact, found = (_outputs(m)["last_hidden_state"] for m in (plain, model))
    assert float((found - exact).norm() / exact.norm()) < 0.1


def test_other_dtypes_and_places() -> None:
    model = quantize(small_model(XLMModel).eval())
    expected = _outputs(model)["last_hidden_state"]
    model.type(torch.float64)
    assert model.ffns[0].lin1.weight.dtype == torch.int8
    assert_close_to_largest(_outputs(model.type(torch.float32))["last_hidden_state"], expected, 0.0)
    state = {n: v.half() if n.endswith("scale") else v for n, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="float16 in the state_dict"):
        model.load_state_dict(state, assign=True)
    with pytest.raises(ConfigError, match="initialise before"):
        model.init_weights()
    with pytest.raises(RuntimeError):
        model.ffns[0].lin1(torch.ones(2, 5))
    with torch.device("meta"):
        empty = XLMModel(model.config)
    with pytest.raises(ConfigError, match="meta"):
        quantize(empty)


def test_integers_changed_in_inference_mode_are_noticed() -> None:
    with torch.inference_mode():
        model = quantize(small_model(XLMModel).eval())
        before = _outputs(model)["last_hidden_state"]
        model.ffns[0].lin1.weight[1] = 0
        after = _outputs(model)["last_hidden_state"]
    assert not torch.equal(before, after)


def _hook(model: Any) -> None:
    model.transformer.ffns[1].lin2.register_forward_hook(lambda *_: None)


def _subclass(model: Any) -> None:
    class Scaled(nn.Linear):
        pass

    model.transformer.attentions[0].k_lin.__class__ = Scaled


def _not_finite(model: Any) -> None:
    with torch.no_grad():
        model.transformer.attentions[1].out_lin.weight[0, 0] = math.nan


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "twice": (quantize, "attentions.0.q_lin is int8 already"),
    "hooks": (_hook, "ffns.1.lin2"),
    "another class": (_subclass, "attentions.0.k_lin is a Scaled"),
    "not finite": (_not_finite, "attentions.1.out_lin.weight holds NaN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_changed(name: str) -> None:
    model = small_model(XLMWithLMHeadModel)
    change, message = REFUSED[name]
    change(model)
    before = [type(module) for module in model.modules()]
    with pytest.raises((ConfigError, InputError), match=message):
        quantize(model)
    assert [type(module) for module in model.modules()] == before


def test_no_model_of_ours() -> None:
    with pytest.raises(ConfigError, match="no model of this library"):
        quantize(nn.Linear(3, 3))


def test_what_int8_cannot(tmp_path: Path) -> None:
    model = quantize(small_model(XLMWithLMHeadModel))
    with pytest.raises(CheckpointError, match="before quantize"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match="before quantize"):
        model.prune_heads({0: [1]})
    # Training it is an error, not a model that stays as it is.
    with pytest.raises(ConfigError, match=r"int8.*train it before quantize"):
        model(**small_batch(labels=True)).loss.backward()
    with torch.no_grad():
        assert not model(**small_batch(labels=True)).loss.requires_grad
    bias = model.pred_layer.proj.bias.requires_grad_(True)  # of what is left in floats, any may be
    model(**small_batch(labels=True)).loss.backward()
    assert bias.grad is not None


def test_memory() -> None:
    model = small_model(XLMModel, emb_dim=64, n_layers=3).eval()
    matrices = sum(m.weight.nbytes for m in model.modules() if type(m) is nn.Linear)
    quantize(model)
    left = sum(m.weight.nbytes for m in model.modules() if isinstance(m, QuantizedLinear))
    assert left * 4 == matrices
    assert not any(type(m) is nn.Linear for m in model.modules())
