"""Products of int8: the same bits by every way, and which way a processor is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.torch_fast_paths import small_batch, small_model
from tests.support.torch_internals import (
    FLOATS,
    QuantizedLinear,
    formulas_only,
    integer_feed_forward,
    integer_linears,
    integer_products,
    is_exact_and_fast,
    round_in_blocks,
    round_rows,
    rounded,
    use_integer_product,
)
from xlm_torch import KeyValueCache, XLMModel, quantize

PRODUCTS = {each.name: each for each in integer_products()}
SIZES = [(1, 1, 1), (7, 13, 5), (3, 1040, 8), (3, 1041, 8), (5, 4096, 31), (64, 256, 96)]


def _integers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    found = torch.randint(-127, 128, shape, generator=generator)
    found[0] = 127
    return found


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_sums_are_exact(name: str, sizes: tuple[int, int, int]) -> None:
    product, (rows, inputs, outputs) = PRODUCTS[name], sizes
    x, weight = _integers(rows, inputs), _integers(outputs, inputs)
    scales = torch.rand(outputs, generator=torch.Generator().manual_seed(0))
    matrix = weight.to(torch.int8)
    matrix = matrix if product.order is None else product.order(matrix)
    found = product.multiply((x + product.zero_point).to(product.dtype), matrix, scales)
    # Sums above 2**24 are rounded, once.
    assert_equal(found, (x @ weight.t()).float() * scales)


@pytest.mark.parametrize("rows", [slice(None), slice(1), slice(1, 2), slice(2, 3), slice(3, 4)])
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_that_of_the_formula(
    name: str, dtype: torch.dtype, rows: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows, in blocks, and single ones."""
    round_in_blocks(monkeypatch, 9)
    product = PRODUCTS[name]
    x = torch.randn(23, 40, generator=torch.Generator().manual_seed(0))
    x[0] = 0
    x[1] = torch.arange(40) + 0.5  # ties, once the largest is 127
    x[1, 3] = -127
    x[2] *= 1e-7 if dtype == torch.float16 else 1e-38
    x[3] *= 1e4
    x = x.to(dtype)[rows]
    before = x.clone()
    integers, scale = rounded(x)
    found, of_found = round_rows(x, product)
    assert_equal(x, before)
    assert found.dtype == product.dtype
    assert_equal(found.int() - product.zero_point, integers.int())
    assert_equal(of_found, scale)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layers_are_the_same_by_every_product(
    dtype: torch.dtype, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layers = [QuantizedLinear(nn.Linear(1100, n, bias=bias).to(dtype)) for n in (24, 37)]
    x = torch.randn(2, 9, 1100, dtype=dtype)
    found = []
    with torch.no_grad():
        for product in PRODUCTS.values():
            use_integer_product(monkeypatch, product)
            together = integer_linears(layers, x)
            assert together is not None
            found.append(together)
            for layer, y in zip(layers, together, strict=True):
                assert y.dtype == dtype
                assert_equal(layer(x), y)
    for other in found[1:]:
        assert_equal(other[0], found[0][0])
        assert_equal(other[1], found[0][1])


@pytest.mark.parametrize("rows", [0, 1, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PRODUCTS)
def test_feed_forward_layers_are_one_linear_layer_after_the_other(
    name: str, dtype: torch.dtype, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    use_integer_product(monkeypatch, PRODUCTS[name])
    first, second = (
        QuantizedLinear(nn.Linear(*sizes).to(dtype).requires_grad_(False))
        for sizes in ((20, 36), (36, 12))
    )
    x = torch.randn(1, rows, 20, dtype=dtype)
    expected = second(nn.functional.gelu(first(x)))
    round_in_blocks(monkeypatch, 4)
    found = integer_feed_forward(first, second, x, torch.ops.aten.gelu_.default)
    assert found is not None
    assert_equal(found, expected)


def _changed_in_place(layer: Any) -> None:
    layer.weight.neg_()


def _changed_through_data(layer: Any) -> None:
    layer.weight.data = -layer.weight


def _other_scales(layer: Any) -> None:
    layer.scale.mul_(3)


def _loaded(layer: Any) -> None:
    layer.load_state_dict({name: -value for name, value in layer.state_dict().items()})


@pytest.mark.parametrize(
    "change", [_changed_in_place, _changed_through_data, _other_scales, _loaded]
)
def test_layers_that_are_packed_together_follow_their_matrices(change: Any) -> None:
    torch.manual_seed(0)
    layers = [QuantizedLinear(nn.Linear(24, 16).requires_grad_(False)) for _ in range(3)]
    x = torch.randn(5, 24)
    before = integer_linears(layers, x)
    change(layers[1])
    after = integer_linears(layers, x)
    assert before is not None
    assert after is not None
    assert not torch.equal(after[1], before[1])
    for layer, y in zip(layers, after, strict=True):
        assert_equal(y, layer(x))


def test_the_formula_serves_where_it_is_asked_for() -> None:
    layer, x = QuantizedLinear(nn.Linear(8, 8).requires_grad_(False)), torch.randn(3, 8)
    with formulas_only():
        assert integer_linears([layer], x) is None
    assert integer_linears([layer], x.double()) is None


# -- models ----------------------------------------------------------------------------------------


def _quantized(dtype: torch.dtype = torch.float32) -> Any:
    return quantize(small_model(XLMModel, causal=True).to(dtype).eval())


@pytest.mark.parametrize("name", ["lin1", "lin2"])
def test_a_hook_in_a_feed_forward_layer_sees_its_call(name: str) -> None:
    model, batch = _quantized(), small_batch()
    expected = model(**batch).last_hidden_state
    seen: list[Tensor] = []
    getattr(model.ffns[1], name).register_forward_hook(lambda _, given, y: seen.append(y))
    assert_close_to_largest(model(**batch).last_hidden_state, expected, 1e-2)
    assert len(seen) == 1


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cached_steps(dtype: torch.dtype, step: int) -> None:
    """Rows are rounded by themselves, so that it does not matter which others come with them."""
    model, cache = _quantized(dtype), KeyValueCache()
    batch = small_batch(torch.ones(2, 8, dtype=torch.long))
    whole = model(**batch).last_hidden_state
    steps = []
    for end in range(step, 9, step):
        given = {name: value[:, :end] for name, value in batch.items()}
        steps.append(model(**given, cache=cache)[0])
    # In float32, one integer in a thousand may be rounded to its neighbour.
    bound = 1e-12 if dtype == torch.float64 else 1e-2
    assert_close_to_largest(torch.cat(steps, 1), whole, bound)


# -- the choice ------------------------------------------------------------------------------------


def _slow(*given: Tensor) -> Tensor:
    time.sleep(0.01)
    return FLOATS.multiply(*given)


def _cut_off(rows: Tensor, matrix: Tensor, scales: Tensor) -> Tensor:
    """Pairs of products in 16 bits, as processors without VNNI add unsigned to signed ones."""
    pairs = rows.float()[:, None] * matrix.float()
    return pairs.unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1).sum(-1) * scales


def _failing(*_: Any) -> Tensor:
    raise RuntimeError("could not create a primitive")


def test_floats_are_exact_and_fast() -> None:
    assert is_exact_and_fast(FLOATS)


@pytest.mark.parametrize("multiply", [_slow, _cut_off, _failing])
def test_refused_on_trial(multiply: Any) -> None:
    unsigned = replace(FLOATS, zero_point=128, multiply=multiply)
    signed = replace(FLOATS, multiply=multiply)
    start = time.perf_counter()
    assert not is_exact_and_fast(unsigned if multiply is _cut_off else signed)
    assert time.perf_counter() - start < 1


# On each: the product that is chosen, and what a layer gives.
ON_A_PROCESSOR = """
import hashlib, json, torch
from torch import nn
from tests.support.torch_internals import QuantizedLinear, chosen_integer_product
torch.manual_seed(0)
layer = QuantizedLinear(nn.Linear(1536, 96).requires_grad_(False))
y = layer(torch.randn(33, 1536))
print(json.dumps([chosen_integer_product().name, hashlib.sha256(y.numpy().tobytes()).hexdigest()]))
"""


def _on_processor(instructions: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", ON_A_PROCESSOR],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=True,
    )
    name, digest = json.loads(done.stdout.splitlines()[-1])
    return name, digest


@pytest.mark.skipif(len(PRODUCTS) < 2, reason="this PyTorch has no exact products of integers")
def test_every_processor_gives_the_same_bits() -> None:
    """oneDNN can be told to act as on a processor without AMX, without AVX-512, without VNNI."""
    kinds = ("DEFAULT", "AVX512_CORE_VNNI", "AVX2_VNNI", "AVX512_CORE")
    found = {kind: _on_processor(kind) for kind in kinds}
    assert len({digest for _, digest in found.values()}) == 1
    # Without VNNI, unsigned sums are cut off, and signed ones a reference kernel's.
    assert found["AVX512_CORE"][0] == "floats"
    # On processors with VNNI and without AMX, signed rows are the reference kernel's.
    assert found["AVX512_CORE_VNNI"][0] != "signed"
