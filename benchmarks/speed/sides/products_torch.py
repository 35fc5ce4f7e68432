"""The products a task consists of, by every way that PyTorch has: what limits all models."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.speed.protocol import Absent, Prepared, Side
from benchmarks.speed.tasks import Task, by_size, narrow, products_of
from xlm_torch.fast.integers import available, chosen_product, is_exact_and_fast, round_rows
from xlm_torch.fast.linear import feed_forward, linears
from xlm_torch.quantization import QuantizedLinear

TRIES = 3
FEW_ROWS = (1, 2, 4, 8, 16, 64, 256, 512, 1024)
READ_BYTES = 2**28


class ProductsSide(Side):
    """Options: dtype. A run gives `measured`, `streaming`, `parts`, `of_few_rows` or `rounding`."""

    def version(self) -> str:
        """PyTorch's."""
        return f"torch {torch.__version__}"

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        dtype = getattr(torch, options.get("dtype", "float32"))
        if dtype == torch.int8:
            integers = [integers_of(m, k, n) for m, k, n in products_of(task)]
            return Prepared(lambda: {"products": of_integers(integers)})
        if dtype not in (torch.float32, torch.bfloat16):
            raise Absent(f"no products in {dtype}")
        if task.kind == "one row":
            return Prepared(lambda: streaming(task, dtype))
        if task.kind == "generate":
            return Prepared(lambda: {"products": of_a_step(task)})
        if task.kind == "parts":
            return Prepared(lambda: {"figures": parts(task)})
        if task.kind == "few rows":
            return Prepared(lambda: {"figures": of_few_rows(task, dtype)})
        if task.kind == "rounding":
            return Prepared(lambda: {"figures": rounding(task, dtype)})
        cases = [(torch.randn(m, k), torch.randn(n, k) * 0.03) for m, k, n in products_of(task)]
        if task.kind == "pretrain":
            vectors = [torch.ones(READ_BYTES // 4) for _ in range(2)]
            return Prepared(
                lambda: {
                    "products": measured(cases, dtype),
                    "figures": {"seconds a byte": seconds_a_byte(*vectors)},
                }
            )
        return Prepared(lambda: {"products": measured(cases, dtype)})


def seconds_a_byte(changed: torch.Tensor, added: torch.Tensor) -> float:
    """What a sum in place of two large vectors takes: reading two, writing one."""
    seconds = min(timed(lambda: changed.add_(added)) for _ in range(TRIES))
    return seconds / (3 * changed.nbytes)


def ways() -> dict[str, Callable[..., torch.Tensor]]:
    """Name -> function of x and weight."""
    found: dict[str, Callable[..., torch.Tensor]] = {"F.linear": F.linear}
    pointwise = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available() and pointwise is not None:
        found["oneDNN"] = lambda x, weight: pointwise(x, weight, None, "none", [], "")
    return found


@torch.inference_mode()
def measured(cases: list[tuple[torch.Tensor, ...]], dtype: torch.dtype) -> list[list[Any]]:
    """[[name, rows, inputs, outputs, seconds], ...]: the least of a few tries."""
    found = []
    for x, weight in cases:
        x, weight = x.to(dtype), weight.to(dtype)
        for name, way in ways().items():
            seconds = min(timed(way, x, weight) for _ in range(TRIES))
            found.append([name, len(x), x.shape[1], len(weight), seconds])
    return found


def integers_of(rows: int, inputs: int, outputs: int) -> tuple[torch.Tensor, ...]:
    """Random int8: rows and a matrix."""
    sizes = ((rows, inputs), (outputs, inputs))
    x, weight = (torch.randint(-127, 128, size, dtype=torch.int8) for size in sizes)
    return x, weight


@torch.inference_mode()
def of_integers(cases: list[tuple[torch.Tensor, ...]]) -> list[list[Any]]:
    """As `measured`, by every product of integers that is exact and not slow here."""
    found = []
    for product in filter(is_exact_and_fast, available()):
        for x, weight in cases:
            rows = (x.short() + product.zero_point).to(product.dtype)
            matrix = weight if product.order is None else product.order(weight)
            scales = torch.ones(len(weight))
            seconds = min(timed(product.multiply, rows, matrix, scales) for _ in range(TRIES))
            found.append([f"int8, {product.name}", len(x), x.shape[1], len(weight), seconds])
    return found


def timed(way: Callable[..., Any], *given: torch.Tensor) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    way(*given)
    return time.perf_counter() - start


@torch.inference_mode()
def streaming(task: Task, dtype: torch.dtype) -> dict[str, Any]:
    """GB/s of weights at one row, through all layers in turn, so that no cache holds them.

    Beside them, how fast memory is read at all: the sum of a large vector.
    """
    weights = all_weights(task, dtype)
    size = sum(weight.nbytes for weight in weights)
    rates = {name: size / seconds / 1e9 for name, seconds in in_turn(weights, 1).items()}
    seconds = of_one_row(task)
    rates["int8, of float32's bytes"] = size / seconds["layers"] / 1e9
    rates["int8, products alone"] = size / seconds["products"] / 1e9
    vector = torch.ones(READ_BYTES // 4)
    reading = min(timed(torch.sum, vector) for _ in range(TRIES))
    return {"figures": rates | {"reading memory": vector.nbytes / reading / 1e9}}


@torch.inference_mode()
def of_a_step(task: Task) -> list[list[Any]]:
    """Of a decoder's step: all its matrices in turn, and as fast as memory is read at all."""
    weights = all_weights(task, torch.float32)
    vector = torch.ones(READ_BYTES // 4)
    reading = min(timed(torch.sum, vector) for _ in range(TRIES)) / vector.nbytes
    times = in_turn(weights, task.batch)
    times["reading memory"] = reading * sum(weight.nbytes for weight in weights)
    return [each for name, seconds in times.items() for each in by_size(task, name, seconds)]


@torch.inference_mode()
def of_few_rows(task: Task, dtype: torch.dtype) -> dict[str, float]:
    """F.linear's time over oneDNN's by the number of rows, through all layers in turn.

    Where it is above 1 belongs to `xlm_torch.fast.onednn.PREFER_ONEDNN`.
    """
    if "oneDNN" not in ways():
        raise Absent("no oneDNN to ask by name")
    weights, ratios = all_weights(task, dtype), {}
    for rows in FEW_ROWS:
        seconds = in_turn(weights, rows)
        ratios[f"{rows} rows"] = seconds["F.linear"] / seconds["oneDNN"]
    return ratios


def all_weights(task: Task, dtype: torch.dtype) -> list[torch.Tensor]:
    """Every matrix of all layers, each of its own memory."""
    return [
        torch.randn(n, k, dtype=dtype)
        for (_, k, n), count in products_of(task).items()
        for _ in range(count)
    ]


def in_turn(weights: list[torch.Tensor], rows: int) -> dict[str, float]:
    """Name -> seconds of one product with each matrix: the least of a few tries."""
    inputs = {w.shape[1]: torch.randn(rows, w.shape[1], dtype=w.dtype) for w in weights}
    seconds: dict[str, float] = dict.fromkeys(ways(), float("inf"))
    for _ in range(TRIES):
        for name, way in ways().items():
            once = sum(timed(way, inputs[weight.shape[1]], weight) for weight in weights)
            seconds[name] = min(seconds[name], once)
    return seconds


def of_one_row(task: Task) -> dict[str, float]:
    """Name -> seconds of all layers' products of int8 at one row: the least of a few tries.

    As the encoder calls them: queries, keys and values are one product. Beside them, these products
    alone, of rows that are integers already, which limits that.
    """
    product, encoder = chosen_product(), [int8_layer(task) for _ in range(task.shape.n_layers)]
    x = torch.randn(1, task.shape.emb_dim)

    def layers() -> None:
        for *query_key_value, out, first, second in encoder:
            linears(query_key_value, x)
            linears([out], x)
            feed_forward(first, second, x, "relu")

    cases = []
    for *query_key_value, out, first, second in encoder:
        for group in (query_key_value, [out], [first], [second]):
            matrix = torch.cat([each.weight for each in group])
            rows = torch.ones(1, matrix.shape[1], dtype=product.dtype)
            matrix = product.order(matrix) if product.order else matrix
            cases.append((rows, matrix, torch.cat([each.scale for each in group])))

    def products() -> None:
        for case in cases:
            product.multiply(*case)

    layers()
    return {each.__name__: min(timed(each) for _ in range(TRIES)) for each in (layers, products)}


@torch.inference_mode()
def parts(task: Task) -> dict[str, float]:
    """Milliseconds of what all layers compute, each part by itself: int8 and bfloat16.

    So this is what the two could take, if nothing else were done.
    """
    found = {"int8, trial, once a process": 1e3 * timed(chosen_product.__wrapped__)}
    for dtype in (torch.float32, torch.bfloat16):
        layer = int8_parts(task) if dtype == torch.float32 else bfloat16_parts(task)
        name = "int8" if dtype == torch.float32 else "bfloat16"
        parts = {
            f"{name}, {part}": way for part, way in (layer | shared_parts(task, dtype)).items()
        }
        for part, way in parts.items():
            way()
            seconds = min(timed(way) for _ in range(TRIES)) * task.shape.n_layers
            found[part] = 1e3 * seconds
        found[f"{name}, together"] = sum(found[part] for part in parts)
    return found


def int8_parts(task: Task) -> dict[str, Callable[[], Any]]:
    """Products, rounding of what goes into them, and scales and biases of what comes out."""
    product, width = chosen_product(), task.shape.emb_dim
    rows = next(iter(products_of(task)))[0]
    cases = []
    for inputs, outputs in (
        (width, 3 * width),
        (width, width),
        (width, 4 * width),
        (4 * width, width),
    ):
        integers, matrix = integers_of(rows, inputs, outputs)
        matrix = matrix if product.order is None else product.order(matrix)
        cases.append((integers.to(product.dtype), matrix, torch.ones(outputs)))
    narrow_rows, wide_rows = torch.randn(rows, width), torch.randn(rows, 4 * width)
    scale, bias = torch.ones(rows, 1), torch.ones(4 * width)

    def products() -> None:
        for case in cases:
            product.multiply(*case)

    def rounding() -> None:
        for _ in range(3):
            round_rows(narrow_rows, product)
        round_rows(wide_rows, product, may_overwrite=True)

    def scales() -> None:
        for _ in range(5):
            torch.addcmul(bias[:width], narrow_rows, scale, out=narrow_rows)
        torch.addcmul(bias, wide_rows, scale, out=wide_rows)

    def activation() -> None:
        torch.ops.aten.gelu_.default(wide_rows)

    ways = {"products": products, "rounding rows": rounding, "scales and biases": scales}
    return ways | {"GELU": activation}


def bfloat16_parts(task: Task) -> dict[str, Callable[[], Any]]:
    """Products, which add biases and apply GELU while they are at it."""
    width, way = task.shape.emb_dim, list(ways().values())[-1]
    rows = next(iter(products_of(task)))[0]
    sizes = [*[(width, width)] * 4, (width, 4 * width), (4 * width, width)]
    cases = [(torch.randn(rows, k).bfloat16(), torch.randn(n, k).bfloat16()) for k, n in sizes]

    def products() -> None:
        for case in cases:
            way(*case)

    return {"products": products}


def shared_parts(task: Task, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    """Attention, residuals and norms, in this dtype."""
    width, heads = task.shape.emb_dim, task.shape.n_heads
    rows = next(iter(products_of(task)))[0]
    sentences = max(rows // task.length, 1)
    query = torch.randn(sentences, heads, task.length, width // heads, dtype=dtype)
    hidden, ones = torch.randn(rows, width, dtype=dtype), torch.ones(width, dtype=dtype)

    def attention() -> None:
        F.scaled_dot_product_attention(query, query, query)

    def norms() -> None:
        for _ in range(2):
            F.layer_norm(hidden.add_(ones), (width,), ones, ones)

    return {"attention": attention, "residuals and norms": norms}


def int8_layer(task: Task) -> list[QuantizedLinear]:
    """Queries, keys, values, output, and the two of the feed-forward layer, of random weights."""
    width = task.shape.emb_dim
    sizes = [*[(width, width)] * 4, (width, 4 * width), (4 * width, width)]
    return [QuantizedLinear(torch.nn.Linear(*size).requires_grad_(False)) for size in sizes]


@torch.inference_mode()
def rounding(task: Task, dtype: torch.dtype) -> dict[str, float]:
    """Difference from float64, relative to the product's size: root mean squares."""
    found = {}
    for m, k, n in narrow(products_of(task)):
        x, weight = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
        exact = F.linear(x.double(), weight.double())
        for name, way in ways().items():
            difference = way(x, weight).double() - exact
            found[f"{name}, {k} inputs"] = float(difference.norm() / exact.norm())
    return found


SIDE = ProductsSide
