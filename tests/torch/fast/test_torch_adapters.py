"""Adapters, quantization, other types and precisions: what stands in a layer's place is called."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.parity import assert_all_close, assert_equal, assert_same_results
from tests.support.torch_fast_paths import Taken, results, small_batch, small_model, take_fast_paths
from tests.support.torch_internals import formulas_only, set_sentence_cost

BATCH = small_batch(labels=True)
UNTIED = {"tie_word_embeddings": False}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("target", ["q_lin", "lin2", "proj", "embeddings"])
def test_lora(taken: Taken, target: str, dtype: torch.dtype) -> None:
    peft = pytest.importorskip("peft")
    model = small_model(**UNTIED).to(dtype)
    base = results(model, BATCH, plain=True)
    options = peft.LoraConfig(r=2, target_modules=[target], init_lora_weights=False)
    adapted = peft.inject_adapter_in_model(options, copy.deepcopy(model)).to(dtype)
    expected = results(adapted, BATCH, plain=True)
    assert taken.nothing
    found = results(adapted, BATCH)
    assert_same_results(found, expected, 1e-12 if dtype == torch.float64 else 5e-6)
    assert float((found["loss"] - base["loss"]).abs()) > 1e-3
    trained = [name for name in found if "gradient of" in name]
    assert trained
    assert all("lora_" in name for name in trained)
    steps = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.02)
    losses = [float(found["loss"])]
    for _ in range(3):
        steps.step()
        losses.append(float(results(adapted, BATCH)["loss"]))
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_dynamic_quantization(taken: Taken) -> None:
    from torch.ao.quantization import quantize_dynamic

    model = small_model(**UNTIED).eval()
    quantized = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with torch.no_grad():
        with formulas_only():
            expected, base = quantized(**BATCH), model(**BATCH)
        found = quantized(**BATCH)
    assert_all_close(dict(found), dict(expected), 0.0)
    assert not torch.allclose(found.logits, base.logits)
    assert not taken.products
    assert not taken.unpaddings


def test_autocast(taken: Taken) -> None:
    model = small_model()
    with torch.autocast("cpu", torch.bfloat16):
        found = results(model, BATCH)
        expected = results(model, BATCH, plain=True)
    assert found["logits"].dtype == torch.bfloat16
    assert_same_results(found, expected, 0.05)
    assert not taken.products
    assert taken.losses == 1
    with torch.autocast("cpu", enabled=False):
        results(model, BATCH)
    assert taken.losses == 2


class _Doubling(Tensor):
    """A weight of which products come out doubled."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_function__(function, types, args, kwargs)
        return 2 * result.as_subclass(Tensor) if function is F.linear else result


@pytest.mark.parametrize("path", ["transformer.attentions.0.q_lin", "pred_layer.proj"])
def test_weights_of_another_type(taken: Taken, path: str) -> None:
    model = small_model(**UNTIED).requires_grad_(False)
    base = model(**BATCH).loss
    layer = model.get_submodule(path)
    layer.weight = nn.Parameter(layer.weight.as_subclass(_Doubling), requires_grad=False)
    assert type(layer.weight) is _Doubling
    found = model(**BATCH).loss
    with formulas_only():
        assert float((found - model(**BATCH).loss).abs()) < 2e-6
    assert float((found - base).abs()) > 1e-4


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_default_device_is_no_business_of_a_model(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, causal: bool, packed: bool
) -> None:
    if not packed:
        set_sentence_cost(monkeypatch, 2**60)
    model = small_model(causal=causal)
    expected = results(model, BATCH)
    with torch.device("meta"):
        loss = model(**BATCH).loss
        weight = model.transformer.attentions[0].k_lin.weight
        (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        first.square().sum().backward()
    assert_equal(loss, expected["loss"])
    name = "transformer.attentions.0.k_lin.weight"
    assert_all_close({name: first}, {name: expected[f"gradient of {name}"]}, 5e-6)
    assert taken.unpadded == 2 * packed


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # PyTorch's own
@pytest.mark.parametrize(
    "path", ["transformer.attentions.0", "transformer.ffns.2", "pred_layer", "pred_layer.proj"]
)
def test_compiled_modules(taken: Taken, path: str) -> None:
    """By `module.compile()`: what was compiled is what runs."""
    model, graphs = small_model(), []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    expected = results(model, BATCH, plain=True)
    model.get_submodule(path).compile(backend=backend)
    assert_same_results(results(model, BATCH), expected, 5e-6)
    assert bool(graphs) is (path != "pred_layer.proj")  # PyTorch compiles none of its own layers
    assert not (taken.unpadded and taken.losses)
