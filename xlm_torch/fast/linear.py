"""The seam for speed: what layers compute, by the fastest means at hand.

Each function says first what it computes, in terms of the module's own call; that is what it does
wherever the fast way does not apply. `plain_kernels()` turns every fast way off.

A fast way stands in for a module only where calling the module would run the code of its class
and nothing else (`are_plain`): hooks, parametrizations, adapters and whatever else was put there
are called. It works on the parameters as they are at that moment, so nothing can be stale; packed
matrices, which are kept, are compared with them.
"""

from __future__ import annotations

import platform
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

from xlm_torch.activations import gelu, relu

# A smaller matrix gains less than the longer way to its product costs (measured: 256 x 256 is
# even, 512 x 512 ahead).
SMALLEST_MATRIX = 2**18

_PLAIN: ContextVar[bool] = ContextVar("plain_kernels", default=False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Under it, models run by their formulas alone: to compare, and to look for errors."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


# -- where the fast ways apply ---------------------------------------------------------------------


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(errors="replace")[:4096]
    except OSError:
        return "Intel" in platform.processor()


def _has_onednn() -> bool:
    """Whether oneDNN can be asked by name; on other processors PyTorch takes it by itself."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _served_by_onednn() -> dict[torch.dtype, range]:
    """For each dtype, the numbers of rows whose products are oneDNN's business on this machine.

    MKL, which `F.linear` uses for float32 on x86, is tuned for Intel's processors: there oneDNN is
    ahead for few rows only, by 1.1 to 1.9 times (measured). On AMD's it reaches 1.1 to 2.5 times
    MKL's rate (docs/performance.md). `F.linear` in bfloat16 is oneDNN's already, only without what
    can be fused into it.
    """
    if not HAS_ONEDNN:
        return {}
    if torch.backends.mkl.is_available() and _is_intel():
        return {torch.float32: range(8, 257), torch.bfloat16: ANY_ROWS}
    return {torch.float32: ANY_ROWS, torch.bfloat16: ANY_ROWS}


ANY_ROWS = range(sys.maxsize)
# Of packed matrices where MKL is tuned: oneDNN is 2 % ahead at 512, 2 % behind at 1024 (measured).
FEWER_ROWS = range(700)
HAS_ONEDNN = _has_onednn()
PREFER_ONEDNN = _served_by_onednn()


def are_traced(*tensors: Tensor) -> bool:
    """Whether this call is looked at by something that must see plain operations.

    Compilers, exporters, function transforms, forward-mode derivatives, and modes that count or
    fake operations are such.
    """
    if torch.compiler.is_compiling():  # first: the compiler then leaves the rest out
        return True
    return (
        torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._ops._len_torch_dispatch_stack_pre_dispatch() > 0
        or _are_transformed()
        or any(type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta for tensor in tensors)
    )


def _are_transformed() -> bool:
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


Kinds = dict[type[nn.Module], Any]


def as_written(*kinds: type[nn.Module]) -> Kinds:
    """Classes with their code as it is now, by which `are_plain` tells patched ones."""
    return {kind: kind.forward for kind in kinds}


def are_plain(modules: Iterable[nn.Module], kinds: Kinds) -> bool:
    """Whether calling each of `modules` would run the code of one of `kinds`, and nothing else.

    Never under `plain_kernels()`, nor under function transforms and forward-mode derivatives: fused
    operations lack their rules.
    """
    if not torch.compiler.is_compiling() and (_PLAIN.get() or _are_transformed()):
        return False
    return not _has_global_hooks() and all(
        type(module) in kinds
        and (torch.compiler.is_compiling() or kinds[type(module)] is type(module).forward)
        and "forward" not in module.__dict__
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not module._backward_hooks
        and not module._backward_pre_hooks
        and module._compiled_call_impl is None
        for module in modules
    )


def _has_global_hooks() -> bool:
    return bool(
        nn_module._global_forward_hooks
        or nn_module._global_forward_pre_hooks
        or nn_module._global_backward_hooks
        or nn_module._global_backward_pre_hooks
    )


# -- linear layers ---------------------------------------------------------------------------------


def linear(
    layer: nn.Module, x: Tensor, activation: str = "none", residual: Tensor | None = None
) -> Tensor:
    """activation(layer(x)) + residual.

    Args:
        layer: A linear layer, or whatever was put in its place.
        x: float, shape (..., inputs).
        activation: "none", "gelu" (by its exact formula) or "relu".
        residual: float, shape (..., outputs).

    Returns:
        float, shape (..., outputs).
    """
    packed = _packed_for(layer, x, residual) if _PACKED else None
    if packed is None and not _by_onednn(layer, x):
        y = layer(x)
        if _may_overwrite(layer, y, residual):
            y = _ACTIVATIONS_IN_PLACE[activation](y)
            return y if residual is None else y.add_(residual)
        y = _ACTIVATIONS[activation](y)
        return y if residual is None else residual + y
    x, weight, bias = x.contiguous(), layer.weight, layer.bias
    if needs_gradient(x, weight, bias, residual):
        y = _ACTIVATIONS[activation](OneDNNLinear.apply(x, weight, bias))
        return y if residual is None else residual + y
    weight = weight if packed is None else packed
    if residual is not None and activation == "none" and residual.dtype == x.dtype:
        return _product.binary(x, residual, weight, bias, "add")
    y = _product(x, weight, bias, activation, [], "none" if activation == "gelu" else "")
    return y if residual is None else residual + y


def _may_overwrite(layer: nn.Module, y: Tensor, residual: Tensor | None) -> bool:
    """Whether `y`, just computed by `layer`, is memory that nobody else sees or asks for later."""
    return (
        not y.requires_grad
        and not needs_gradient(residual)
        and torch._C._len_torch_function_stack() == 0  # a mode may hold what functions returned
        and (residual is None or (residual.dtype == y.dtype and residual.shape == y.shape))
        and are_plain((layer,), OWN_LINEAR)
        and not are_traced(y)
    )


LINEAR = as_written(nn.Linear)
# Layers whose results nobody else holds; quantization adds its own.
OWN_LINEAR = dict(LINEAR)


_ACTIVATIONS = {"none": lambda x: x, "gelu": gelu, "relu": relu}
_ACTIVATIONS_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": torch.ops.aten.gelu_.default,
    "relu": torch.relu_,
}
_product: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _by_onednn(layer: nn.Module, x: Tensor) -> bool:
    """The rule: what oneDNN serves better on this CPU, a large matrix, an untouched layer."""
    # Sizes last: while tracing they may be symbols.
    return (
        x.dtype in PREFER_ONEDNN
        and _fits_onednn(layer, x)
        and _rows_of(x) in PREFER_ONEDNN[x.dtype]
    )


def _rows_of(x: Tensor) -> int:
    return x.numel() // x.shape[-1] if x.dim() and x.shape[-1] else 0


def _fits_onednn(layer: nn.Module, x: Tensor) -> bool:
    """Whether oneDNN can stand in for a layer: in float32; without gradients, in bfloat16."""
    if are_traced(x) or not are_plain((layer,), LINEAR):
        return False
    weight, bias = layer.weight, layer.bias
    return (
        weight.numel() >= SMALLEST_MATRIX
        and x.dtype == weight.dtype
        and (x.dtype == torch.float32 or _is_bfloat16_without_gradient(x, weight, bias))
        and _is_on_cpu(x)
        and _is_on_cpu(weight)
        and weight.is_contiguous()
        and (bias is None or (_is_on_cpu(bias) and bias.dtype == x.dtype))
        and not are_traced(weight)
        and x.shape[-1] == weight.shape[1]
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )


def _is_on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.layout == torch.strided


def _is_bfloat16_without_gradient(*tensors: Tensor | None) -> bool:
    first = tensors[0]
    return (
        first is not None
        and first.dtype == torch.bfloat16
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and not needs_gradient(*tensors)
    )


def gradients_of(
    formula: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    gradient: Tensor,
) -> Iterator[Tensor | None]:
    """Gradients of formula(*inputs), which have derivatives themselves; None where not needed.

    Args:
        formula: Of plain operations.
        inputs: Its arguments.
        needed: Which of them want a gradient.
        gradient: Of what it returns.
    """
    # Views: the gradient of one holds no path through another that it was computed from.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [view for view, is_needed in zip(views, needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(formula(*views), wanted, gradient, create_graph=True))
    return (next(found) if is_needed else None for is_needed in needed)


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether what is computed of these now is to have derivatives."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """`F.linear`, x weight^T + bias, outside of any graph of derivatives.

    Args:
        x: float, shape (..., inputs).
        weight: float, shape (outputs, inputs); of any strides.
        bias: float, shape (outputs,); None with `out`.
        out: float, shape (rows, outputs), contiguous: where to write the product of `x`, which then
            has the shape (rows, inputs).
    """
    served = PREFER_ONEDNN.get(torch.float32, range(0))
    by_onednn = (
        _rows_of(x) in served
        # Where MKL is tuned too, it is ahead for other orders.
        and (served == ANY_ROWS or weight.is_contiguous())
        and torch.backends.mkldnn.enabled
        and x.numel() > 0
        and x.dtype == weight.dtype == torch.float32
        and _is_on_cpu(x)
        and _is_on_cpu(weight)
        and not _PLAIN.get()
    )
    if not by_onednn:
        return F.linear(x, weight, bias) if out is None else torch.mm(x, weight.t(), out=out)
    weight = _dense(weight)
    if out is None:
        return _product(_dense(x), weight, bias, "none", [], "")
    # oneDNN writes to memory of its own only.
    rows = max(COPIED_AT_A_TIME // (out.shape[1] * out.element_size()), 1)
    for part, written in zip(x.split(rows), out.split(rows), strict=True):
        written.copy_(_product(_dense(part), weight, None, "none", [], ""))
    return out


# Bytes: what the caches hold, and the C library keeps for the next one.
COPIED_AT_A_TIME = 2**22


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps between its rows or columns: for others oneDNN takes a slow way."""
    if matrix.is_contiguous() or (matrix.dim() == 2 and matrix.t().is_contiguous()):
        return matrix
    return matrix.contiguous()


# -- packed weights --------------------------------------------------------------------------------


class _Packed:
    """A matrix in the order of oneDNN's products, and how to tell that it is still the layer's.

    What writes to it counts a version. Writing through `.data` does not, so some of the values are
    compared at each use; a few changed in that way are not seen.
    """

    def __init__(self, weight: Tensor, order: Callable[[Tensor], Tensor]) -> None:
        self.matrix = order(weight.detach())
        self._version, self._place = self._version_of(weight), weight.data_ptr()
        self._some = self._sample(weight).clone()

    @staticmethod
    def _sample(weight: Tensor) -> Tensor:
        return weight.detach().flatten()[:: max(weight.numel() // 61, 1)]

    @staticmethod
    def _version_of(weight: Tensor) -> int:
        # Tensors made in inference mode count no changes.
        return -1 if weight.is_inference() else weight._version

    def holds(self, weight: Tensor) -> bool:
        """Whether it is made of `weight` as it is now."""
        return (
            self._version_of(weight) == self._version
            and weight.data_ptr() == self._place
            and torch.equal(self._sample(weight), self._some)
        )


# By layer, aside of it: neither copied nor saved with a model.
_PACKED: weakref.WeakKeyDictionary[nn.Module, _Packed] = weakref.WeakKeyDictionary()


def _packed_for(layer: nn.Module, x: Tensor, residual: Tensor | None) -> Tensor | None:
    """The layer's packed matrix, if it has one that may be used here."""
    packed = _PACKED.get(layer)
    if packed is None or not _fits_onednn(layer, x):
        return None
    if PREFER_ONEDNN.get(x.dtype) != ANY_ROWS and _rows_of(x) not in FEWER_ROWS:
        return None
    if needs_gradient(x, layer.weight, layer.bias, residual) or not packed.holds(layer.weight):
        return None
    return packed.matrix


@torch.no_grad()
def pack_weights(model: nn.Module) -> int:
    """Keep a second copy of the linear layers' matrices, ordered for oneDNN, for inference.

    It saves ordering them at each call (2 to 5 % of encoding, more for few rows), and doubles their
    memory. On Intel's processors products of less than 700 rows are then oneDNN's. Training uses
    the plain matrices, and so does a layer whose matrix was changed after it was packed. Does
    nothing where there is no oneDNN. `unpack_weights` takes it back.

    Args:
        model: Any model of this library.

    Returns:
        Bytes that the copies take.

    Changes that leave no trace are not noticed: a few values written through `.data`. Matrices made
    in inference mode, whose changes never leave one, are not packed.
    """
    unpack_weights(model)
    size = 0
    for layer in model.modules():
        plain = HAS_ONEDNN and type(layer) is nn.Linear and _fits_onednn(layer, layer.weight[:0])
        if plain and not layer.weight.is_inference():  # which count no changes
            _PACKED[layer] = _Packed(layer.weight, torch.ops.mkldnn._reorder_linear_weight)
            size += layer.weight.nbytes
    return size


def unpack_weights(model: nn.Module) -> None:
    """Undo `pack_weights`."""
    for layer in model.modules():
        _PACKED.pop(layer, None)


class OneDNNLinear(torch.autograd.Function):
    """`F.linear` with its three products, one forward and two backward, through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As `F.linear`."""
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, where they are asked for."""
        x, weight = ctx.saved_tensors
        # Where derivatives of derivatives are asked for, these are plain operations.
        multiply = F.linear if torch.is_grad_enabled() else product
        rows, of_rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            multiply(gradient, weight.t()) if for_x else None,
            multiply(of_rows.t(), rows.t()) if for_weight else None,
            of_rows.sum(0) if for_bias else None,
        )


# -- memory of gradients ---------------------------------------------------------------------------


class Recycled:
    """Memory for a result that each step of training makes, used again once nobody holds it.

    Of large blocks, the system hands out fresh memory each time, page by page and zeroed, which
    took up to a third of a step (measured). At most one block is kept while nobody uses it.
    """

    def __init__(self) -> None:
        self._spare: list[Tensor] = []

    def empty_like(self, like: Tensor) -> Tensor:
        """As `torch.empty_like`; contiguous."""
        if (
            like.numel() * like.element_size() < SMALLEST_RECYCLED
            or like.device.type != "cpu"
            or like.dtype not in (torch.float32, torch.float64)
        ):
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        block = torch.empty(0)
        with suppress(IndexError):  # of another thread, that was faster
            block = self._spare.pop()
        if block.shape != like.shape or block.dtype != like.dtype:
            block = torch.empty(like.shape, dtype=like.dtype, device="cpu")
        # Whatever is made of the tensor that is lent keeps this array, and nothing else does.
        array = block.numpy()
        weakref.finalize(array, self._take_back, weakref.ref(self), block).atexit = False
        return torch.from_numpy(array)

    @staticmethod
    def _take_back(owner: weakref.ref[Recycled], block: Tensor) -> None:
        recycled = owner()
        if recycled is not None and not recycled._spare:
            recycled._spare.append(block)


# Bytes. The C library keeps smaller blocks for the next one by itself.
SMALLEST_RECYCLED = 2**25
# By layer, aside of it: neither copied nor saved with a model.
_RECYCLED: weakref.WeakKeyDictionary[nn.Module, Recycled] = weakref.WeakKeyDictionary()


def recycled(layer: nn.Module) -> Recycled:
    """The memory of `layer`, which is kept as long as it."""
    return _RECYCLED.setdefault(layer, Recycled())


# -- products of integers --------------------------------------------------------------------------


def integer_product(
    layer: nn.Module, integers: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor | None:
    """(integers * scale) (layer.weight * layer.scale)^T + layer.bias, where int8 is fast.

    The sums are exact, so that only the scales round. Packs the layer's matrix at its first use,
    beside the matrix.

    Args:
        layer: A `QuantizedLinear`.
        integers: int8, shape (..., inputs).
        scale: float, shape (..., 1).
        dtype: Of what is returned.

    Returns:
        float, shape (..., outputs); None where there is no such product.
    """
    weight, bias = layer.weight, layer.bias
    able = (
        MULTIPLIES_INTEGERS
        and dtype in (torch.float32, torch.bfloat16, torch.float16)
        and integers.shape[-1] == weight.shape[1]
        and weight.shape[1] * 127**2 < 2**31
        and _is_on_cpu(integers)
        and _is_on_cpu(weight)
        and not are_traced(integers, weight)
        and torch.backends.mkldnn.enabled
        and not _PLAIN.get()
    )
    if not able:
        return None
    packed = _PACKED.get(layer)
    if packed is None or not packed.holds(weight):
        packed = _PACKED[layer] = _Packed(weight, _order_integers)
    product = torch.ops.onednn.qlinear_pointwise
    zero_points = torch.zeros(len(weight), dtype=torch.int64)
    # Integers as they are (scale 1, zero point 0), then the matrix with its scales and zero points;
    # no bias, no rescaling of what comes out, nothing fused.
    of_matrix = (packed.matrix, layer.scale.float(), zero_points)
    y = product(integers, 1.0, 0, *of_matrix, None, 1.0, 0, torch.float32, "none", [], "")
    y = y.mul_(scale) if bias is None else torch.addcmul(bias.float(), y, scale)
    return y.to(dtype)


def _order_integers(weight: Tensor) -> Tensor:
    ordered: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return ordered


def _multiplies_integers() -> bool:
    """Whether this processor sums products of int8 exactly, and oneDNN can be asked to."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return HAS_ONEDNN and hasattr(torch.ops.onednn, "qlinear_pointwise") and bool(supported())


MULTIPLIES_INTEGERS = _multiplies_integers()

# -- the matrix that is both the word embeddings and the output ------------------------------------


@contextmanager
def shared_matrix(weight: Tensor) -> Iterator[Tensor]:
    """Under it, `embedding` and the yielded tensor share one gradient of `weight`.

    A vocabulary's gradient is as large as the embeddings. By itself, PyTorch makes one for the
    look-up and one for the output, both dense, and adds them; here the few rows that were looked up
    are added to the output's.
    """
    output, rows = SharedMatrix.apply(weight)
    token = _SHARED.set((weight, rows))
    try:
        yield output
    finally:
        _SHARED.reset(token)


_SHARED: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("shared_matrix", default=None)


def embedding(layer: nn.Module, ids: Tensor) -> Tensor:
    """layer(ids).

    Args:
        layer: An embedding, or whatever was put in its place.
        ids: integer, shape (...).

    Returns:
        float, shape (..., width).
    """
    if not torch.compiler.is_compiling():
        shared = _SHARED.get()
        if shared is not None and only_looks_up(layer) and layer.weight is shared[0]:
            rows: Tensor = EmbeddingRows.apply(shared[1], ids, layer.padding_idx)
            return rows
    looked_up: Tensor = layer(ids)
    return looked_up


_EMBEDDING = as_written(nn.Embedding)


def only_looks_up(layer: nn.Module) -> bool:
    """Whether `layer` is a plain embedding that neither changes its rows nor their gradients."""
    return (
        are_plain((layer,), _EMBEDDING) and layer.max_norm is None and not layer.scale_grad_by_freq
    )


class SharedMatrix(torch.autograd.Function):
    """A matrix as two; the gradient of the second may be sparse."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        """`weight`, twice."""
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor | None, of_rows: Tensor | None) -> Tensor | None:
        """Their sum, dense; `of_output` is `VocabularyLoss`'s own and may be written to."""
        if of_rows is None:
            return of_output
        if of_output is None:
            return of_rows.to_dense()
        if torch.is_grad_enabled():
            return of_output + of_rows.to_dense()
        return of_output.index_add_(0, of_rows._indices()[0], of_rows._values())


class EmbeddingRows(torch.autograd.Function):
    """`F.embedding` with a sparse gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_idx: int | None) -> Tensor:
        """As `F.embedding`."""
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding_idx = weight.shape, padding_idx
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `weight`: one row for each id, none of them for padding."""
        ids = ctx.saved_tensors[0].flatten().long()
        values = gradient.reshape(-1, gradient.shape[-1])
        if ctx.padding_idx is not None:
            values = values.masked_fill((ids == ctx.padding_idx)[:, None], 0)
        rows = torch.sparse_coo_tensor(ids[None], values, ctx.shape, check_invariants=False)
        return rows, None, None


# -- attention -------------------------------------------------------------------------------------


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(query key^T / sqrt(head_dim), where visible) value, without keeping the weights.

    Args:
        query: float, shape (batch, heads, query, head_dim).
        key, value: float, shape (batch, heads, key, head_dim).
        visible: bool, broadcastable to (batch, heads, query, key); each query sees some key.
        causal: Without `visible`: each query sees the keys up to its own place.
        dropout: Rate at which weights are dropped.

    Returns:
        float, shape (batch, heads, query, head_dim).
    """
    by_flash = (
        query.device.type == "cpu"
        and query.dtype in (torch.float32, torch.float64)
        and dropout == 0
        and needs_gradient(query, key, value)
        and not are_traced(query, key, value)
        and query.numel() > 0
    )
    if by_flash:
        attended: Tensor = FlashAttention.apply(query, key, value, visible, causal)
        return attended
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, dropout_p=dropout, is_causal=causal
    )


class FlashAttention(torch.autograd.Function):
    """PyTorch's fused attention for CPUs, which by itself has no derivatives of derivatives."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, causal: bool
    ) -> Tensor:
        """As `attention`."""
        mask = None
        if visible is not None:
            mask = query.new_zeros(visible.shape).masked_fill_(~visible, -torch.inf)
        ctx.options = (0.0, causal)  # no dropout
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        attended, log_sums = flash(query, key, value, *ctx.options, attn_mask=mask)
        ctx.save_for_backward(query, key, value, attended, log_sums, mask)
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value, attended, log_sums, mask = ctx.saved_tensors
        if torch.is_grad_enabled():  # by the formula, whose derivatives have derivatives

            def formula(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
                if mask is not None:
                    scores = scores + mask
                elif ctx.options[1]:
                    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
                    scores = scores.masked_fill(later, -torch.inf)
                return F.softmax(scores, dim=-1) @ value

            inputs, needed = (query, key, value), ctx.needs_input_grad[:3]
            return (*gradients_of(formula, inputs, needed, gradient), None, None)
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        gradients = backward(
            gradient, query, key, value, attended, log_sums, *ctx.options, attn_mask=mask
        )
        return (*gradients, None, None)
