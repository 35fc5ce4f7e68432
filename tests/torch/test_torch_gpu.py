"""What runs on GPUs only: by shape and by a stand-in on a CPU, and on a GPU where there is one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.parity import assert_close_to_largest, assert_equal, assert_same_results
from tests.support.torch_fast_paths import (
    MASK,
    Taken,
    results,
    small_batch,
    small_model,
    take_fast_paths,
)
from tests.support.torch_internals import (
    attend,
    formulas_only,
    has_varlen,
    have_varlen,
    make_unpadding,
)
from tests.support.torch_reference import flatten
from tests.support.training_runs import small_run, write_corpora
from xlm_core.weights import ARCHITECTURES
from xlm_torch import MODEL_CLASSES, XLMModel
from xlm_torch.fast.embedding import EmbeddingRows, share
from xlm_torch.training import accelerator_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
varlen = pytest.importorskip("torch.nn.attention.varlen")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return take_fast_paths(monkeypatch)


# -- attention over sentences of any lengths -------------------------------------------------------


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    longest_query: int,
    longest_key: int,
    *,
    window_size: tuple[int, int],
) -> Tensor:
    """What the documentation of PyTorch's `varlen_attn` says, sentence by sentence."""
    assert query.dim() == 3
    assert query.shape == key.shape == value.shape
    assert query_bounds.dtype == key_bounds.dtype == torch.int32
    ends = query_bounds.tolist()
    assert ends == key_bounds.tolist()
    assert ends[0] == 0
    assert ends[-1] == len(query)
    assert longest_query == longest_key == max(b - a for a, b in pairwise(ends))
    causal = {(-1, -1): False, (-1, 0): True}[window_size]
    parts = []
    for first, last in pairwise(ends):
        q, k, v = (x[first:last].transpose(0, 1) for x in (query, key, value))
        parts.append(F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_is_left_out_by_varlen(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, causal: bool
) -> None:
    calls = []
    have_varlen(monkeypatch)
    monkeypatch.setattr(
        varlen, "varlen_attn", lambda *a, **o: calls.append(len(a[0])) or _varlen(*a, **o)
    )
    model, batch = small_model(causal=causal).double(), small_batch(labels=True)
    expected = results(model, batch, plain=True)
    assert not calls
    assert_same_results(results(model, batch), expected, 1e-12)
    assert calls == [int(MASK.sum())] * model.config.n_layers
    assert taken.unpadded == 1


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_operation_takes_what_it_is_given(causal: bool, device: str) -> None:
    """PyTorch's own, on tensors that have a shape, a dtype and a device, and no values."""
    with FakeTensorMode():
        query, key, value = (
            torch.empty(11, 4, 16, device=device, dtype=torch.bfloat16) for _ in range(3)
        )
        query.requires_grad_(device == "cpu")  # no graph of derivatives on a GPU that is not there
        bounds = torch.empty(4, device=device, dtype=torch.int32)
        positions = torch.empty(11, device=device, dtype=torch.int64)
        unpadding = make_unpadding(
            (4, 6), causal, positions=positions, lengths=(6, 3, 2), bounds=bounds
        )
        attended = attend(unpadding, query, key, value)
        assert (attended.shape, attended.dtype) == ((11, 64), torch.bfloat16)
        assert attended.device.type == device
        if query.requires_grad:
            attended.sum().backward()
            assert query.grad is not None
            assert query.grad.shape == query.shape


@pytest.mark.parametrize(
    ("changed", "able"),
    [
        ({}, True),
        ({"dtype": torch.float16}, True),
        ({"dtype": torch.float32}, False),
        ({"head_dim": 12}, False),
        ({"head_dim": 264}, False),
        ({"dropout": 0.1}, False),
        ({"capability": (7, 5)}, False),
        ({"recording": True}, False),
        ({"device": "cpu"}, False),
    ],
)
def test_who_has_varlen(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], able: bool
) -> None:
    values = {"dtype": torch.bfloat16, "head_dim": 64, "dropout": 0.0, "device": "cuda"}
    values |= {"capability": (9, 0), "recording": False, **changed}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: values["capability"])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: values["recording"])
    with FakeTensorMode():
        weight = torch.empty(2, device=values["device"], dtype=values["dtype"])
    assert has_varlen(weight, values["head_dim"], values["dropout"]) is able


# -- whole models ----------------------------------------------------------------------------------


class _OneDevice(TorchDispatchMode):
    """Fails where an operation takes tensors of two devices; scalars may be anywhere."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
        devices = {x.device.type for x in tensors}
        assert len(devices) < 2, f"{function} takes tensors of {devices}"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_is_on_the_device(
    architecture: str, dtype: torch.dtype, training: bool
) -> None:
    """On the device that computes shapes only."""
    names = ("input_ids", "attention_mask", "langs")
    shape = (2, 3, 7) if architecture == "XLMForMultipleChoice" else (2, 7)
    ids = torch.ones(shape, dtype=torch.int64)
    batch = {name: ids.to("meta") for name in names}
    model = small_model(MODEL_CLASSES[architecture], dropout=0.1).to("meta", dtype).train(training)
    with _OneDevice():
        for options in ({}, {"output_hidden_states": True, "output_attentions": True}):
            tensors = flatten(dict(model(**batch, **options))).values()
            assert len(tensors) > (1 if options else 0)
            assert {x.device.type for x in tensors} == {"meta"}
        with pytest.raises(AssertionError, match="tensors of"):
            model(**{**batch, "langs": ids})


# -- on a GPU --------------------------------------------------------------------------------------


@pytest.fixture
def _as_it_was() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    torch._dynamo.reset()


def _on_gpu(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cuda() for name, value in batch.items()}


@needs_gpu
@pytest.mark.usefixtures("_as_it_was")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_numbers_of_a_cpu(dtype: torch.dtype) -> None:
    model, batch = small_model().to(dtype), small_batch(labels=True)
    expected = results(model.double(), batch, plain=True)
    found = results(model.to("cuda", dtype), _on_gpu(batch))
    bound = 1e-12 if dtype == torch.float64 else 5e-6
    assert_same_results({k: v.cpu().double() for k, v in found.items()}, expected, bound)


@needs_gpu
@pytest.mark.usefixtures("_as_it_was")
@pytest.mark.parametrize("causal", [False, True])
def test_varlen_beside_the_formula(taken: Taken, causal: bool) -> None:
    model = small_model(XLMModel, emb_dim=64, n_heads=4, causal=causal).eval()
    exact = copy.deepcopy(model).double()
    model.to("cuda", torch.bfloat16)
    batch = small_batch()
    with torch.no_grad():
        expected = exact(**batch).last_hidden_state
        found = model(**_on_gpu(batch)).last_hidden_state
        assert taken.unpadded == 1
        with formulas_only():
            plain = model(**_on_gpu(batch)).last_hidden_state
    bound = 2 * float((plain.cpu().double() - expected).abs().max() / expected.abs().max())
    assert_close_to_largest(found.cpu().double(), expected, max(bound, 1e-2))
    assert_equal(found.cpu()[MASK == 0], torch.zeros_like(found.cpu()[MASK == 0]))


@needs_gpu
@pytest.mark.usefixtures("_as_it_was")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_are_recorded(dtype: torch.dtype) -> None:
    model = small_model(XLMModel, emb_dim=64, n_heads=4).eval().to("cuda", dtype)
    batch = _on_gpu(small_batch())
    with torch.no_grad():
        for _ in range(2):  # makes what libraries make at first
            expected = model(**batch).last_hidden_state
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = model(**batch).last_hidden_state
        batch["input_ids"].copy_(batch["input_ids"].flip(0))
        batch["attention_mask"].copy_(batch["attention_mask"].flip(0))
        batch["langs"].copy_(batch["langs"].flip(0))
        graph.replay()
        bound = 1e-6 if dtype == torch.float32 else 3e-2
        assert_close_to_largest(found.flip(0).float(), expected.float(), bound)
        compiled = torch.compile(model, mode="reduce-overhead")
        for _ in range(3):
            again = compiled(**batch).last_hidden_state.clone()
        assert_close_to_largest(again.float(), found.float(), bound)


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_of_many_tokens_are_summed_in_float32(dtype: torch.dtype) -> None:
    """In half types a sum of ones ends at 256 or 2048; on CPUs PyTorch sums in float32 itself."""
    weight = torch.zeros(40, 16, dtype=dtype, device="cuda", requires_grad=True)
    output, matrix = share(weight)
    rows = EmbeddingRows.apply(matrix, torch.full((8192,), 14, device="cuda"), None)
    (output.float().sum() + rows.float().sum()).backward()
    assert weight.grad is not None
    assert (weight.grad[14] >= 8192).all()


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_run_trains_and_goes_on(tmp_path: Path, precision: str) -> None:
    from accelerate.state import AcceleratorState

    write_corpora(tmp_path)

    def made() -> Any:
        AcceleratorState._reset_state()
        run = small_run(
            tmp_path,
            config={"dropout": 0.1},
            dtype=torch.float32,
            accelerator=accelerator_of(precision),
        )
        assert next(run.model.parameters()).is_cuda
        return run

    whole = made()
    list(whole.updates(2))
    whole.save(tmp_path / "saved")
    expected = list(whole.updates(5))
    assert whole.evaluate(whole.batches.global_batch(9)).predicted > 0
    resumed = made()
    resumed.resume(tmp_path / "saved")
    for found, known in zip(resumed.updates(5), expected, strict=True):
        # Sums of gradients have no fixed order on a GPU.
        assert found.losses == pytest.approx(known.losses, rel=1e-3)
        assert found.tokens == known.tokens
    AcceleratorState._reset_state()
