"""What is computed: the shape of a model, a batch from a seed, and the products in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

IGNORED = -100
FIRST_WORD = 6  # ids below are special
# Sentences do not see each other: where float64 is the judge, the first ones are compared.
COMPARED_SENTENCES = 2
# AdamW of every library; their defaults differ.
LEARNING_RATE, BETAS, EPSILON, DECAY = 1e-5, (0.9, 0.999), 1e-8, 0.01
# For so long a run of a task "update" makes updates: one alone may take less than a clock tells.
SECONDS_OF_UPDATES = 0.2
# Largest norm of all gradients together, where they are clipped.
CLIP = 5.0

# (rows, inputs, outputs) of a product, and how often a task computes it.
Products = dict[tuple[int, int, int], int]


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, under the names of config.json."""

    vocab_size: int = 64_699
    emb_dim: int = 1024
    n_layers: int = 6
    n_heads: int = 8
    max_position_embeddings: int = 512

    def config(self) -> dict[str, Any]:
        """Arguments of every library's XLMConfig; dropout is the published 0.1."""
        return asdict(self) | {"n_langs": 2, "use_lang_emb": False}


@dataclass(frozen=True)
class Task:
    """A computation that every contender of a row does.

    Attributes:
        kind: "encode", "loss" (language model, forward), "train" (one step of AdamW), "pretrain"
            (such a step with the reading and masking of its batch), "update" (of all parameters
            of the language model, alone), "memory" (of a step), "one row" (the products of a
            decoder's step), "parts" (what a layer of int8 consists of), "few rows" (products of a
            growing number of rows), "rounding" (of the products of a layer), or "generate" (a token
            after prompts that fill the batch).
        batch, length: Of the padded batch.
        filled: Share of the batch that is no padding.
        labelled: Share of the tokens that have a label.
        shape: Of the model.
        new: Tokens that are generated.
    """

    kind: str
    batch: int
    length: int
    filled: float = 1.0
    labelled: float = 0.15
    shape: Shape = field(default_factory=Shape)
    new: int = 48

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Task:
        """The reverse of `dataclasses.asdict`."""
        return cls(**{**values, "shape": Shape(**values["shape"])})

    def first(self, sentences: int) -> Batch:
        """The batch cut to its first sentences."""
        whole = batch_of(self)
        return Batch(whole.ids[:sentences], whole.mask[:sentences], whole.labels[:sentences])


@dataclass(frozen=True)
class Batch:
    """Arrays, int64, shape (batch, length): ids, 1 for tokens and 0 for padding, labels."""

    ids: np.ndarray
    mask: np.ndarray
    labels: np.ndarray


def lengths_of(task: Task) -> np.ndarray:
    """Lengths of the sentences: the first fills its row, the others are drawn to fit `filled`."""
    total = round(task.batch * task.length * task.filled)
    lengths = np.full(task.batch, task.length)
    if task.filled == 1:
        return lengths
    share = total / (task.batch * task.length)
    rng = np.random.default_rng(1)
    drawn = rng.uniform(0.3 * share, min(1.7 * share, 1), task.batch - 1) * task.length
    lengths[1:] = np.clip(drawn.round(), 1, task.length)
    place = 0
    while (missing := total - lengths.sum()) != 0:
        place = place % (task.batch - 1) + 1
        lengths[place] = np.clip(lengths[place] + np.sign(missing), 1, task.length)
    return lengths


def batch_of(task: Task, pad: int = 2) -> Batch:
    """The same batch in every process."""
    rng = np.random.default_rng(0)
    size = (task.batch, task.length)
    ids = rng.integers(FIRST_WORD, task.shape.vocab_size, size)
    chosen = rng.random(size)
    mask = np.arange(task.length) < lengths_of(task)[:, None]
    count = round(mask.sum() * task.labelled)
    limit = np.sort(chosen[mask])[count - 1] if count else -1.0
    labels = np.where(mask & (chosen <= limit), ids, IGNORED)
    return Batch(np.where(mask, ids, pad), mask.astype(np.int64), labels)


def products_of(task: Task) -> Products:
    """Every product with a matrix of weights, forward; padding and unlabelled rows left out.

    Of "pretrain" also those of the last layer for what nothing is predicted of.
    """
    width, layers = task.shape.emb_dim, task.shape.n_layers
    rows = {"one row": 1, "generate": task.batch}.get(task.kind)
    rows = rows or round(task.batch * task.length * task.filled)
    products = {
        (rows, width, width): 4 * layers,
        (rows, width, 4 * width): layers,
        (rows, 4 * width, width): layers,
    }
    if task.kind == "pretrain":
        return _products_of_labelled(task, rows)
    if task.kind in ("loss", "train"):
        products[round(rows * task.labelled), width, task.shape.vocab_size] = 1
    if task.kind == "generate":
        products[rows, width, task.shape.vocab_size] = 1
    return products


def _products_of_labelled(task: Task, rows: int) -> Products:
    """In the last layer, only keys and values are needed of all rows."""
    width, layers = task.shape.emb_dim, task.shape.n_layers
    labelled, products = round(rows * task.labelled), Counter[tuple[int, int, int]]()
    products[rows, width, width] += 4 * layers - 2
    products[labelled, width, width] += 2
    for each, count in ((rows, layers - 1), (labelled, 1)):
        products[each, width, 4 * width] += count
        products[each, 4 * width, width] += count
    products[labelled, width, task.shape.vocab_size] += 1
    return dict(+products)


def sizes_of(task: Task) -> list[tuple[int, ...]]:
    """Shapes of what an update of the language model changes, in PyTorch's orientation."""
    from xlm_core import XLMConfig
    from xlm_core.weights import tensors_of

    specs = tensors_of(XLMConfig(**task.shape.config()), "XLMWithLMHeadModel")
    return [spec.shape for spec in specs if spec.trainable and spec.tied_to is None]


def gradients_of(task: Task) -> Iterator[np.ndarray]:
    """float32, one for each of `sizes_of`."""
    drawn = np.random.default_rng(0).standard_normal(2**20, dtype=np.float32)
    for size in sizes_of(task):
        yield np.resize(drawn, size)


def seconds_of(update: Callable[[], object]) -> float:
    """The time of one update, of several one after the other."""
    start, made = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < SECONDS_OF_UPDATES or not made:
        update()
        made += 1
    return passed / made


def bytes_of_update(task: Task) -> int:
    """What an update by Adam reads and writes: weight, gradient and two moments; all but one."""
    if task.kind != "pretrain":
        return 0
    width, shape = task.shape.emb_dim, task.shape
    layer = 12 * width**2 + 13 * width
    positions = shape.max_position_embeddings * width
    return 7 * 4 * (shape.vocab_size * (width + 1) + shape.n_layers * layer + positions)


def by_size(task: Task, name: str, seconds: float) -> list[list[Any]]:
    """The seconds of all products in turn, shared among their shapes: as a run of them says.

    Of a matrix that is multiplied again and again, a cache would give more than memory does.
    """
    sizes = {shape: shape[1] * shape[2] for shape in products_of(task)}
    whole = sum(count * sizes[shape] for shape, count in products_of(task).items())
    return [[name, *shape, seconds * size / whole] for shape, size in sizes.items()]


def narrow(products: Products) -> Products:
    """Those that have no more outputs than inputs: one for each number of inputs."""
    return {shape: count for shape, count in products.items() if shape[2] <= shape[1]}


def attention_operations(task: Task) -> int:
    """Floating-point operations of attention itself, forward; next to none in a decoder's step."""
    if task.kind == "generate":
        return 0
    squares = int((lengths_of(task) ** 2).sum())
    layers: float = task.shape.n_layers
    if task.kind == "pretrain":  # in the last, only labelled positions query
        layers += task.labelled - 1
    return round(4 * squares * task.shape.emb_dim * layers)


def passes(task: Task) -> int:
    """How often a task does the work of a forward pass: in training, three products for one."""
    return 3 if task.kind in ("train", "pretrain") else 1


def growing(task: Task) -> Iterator[tuple[str, int, Task]]:
    """What grows, its size, and the task of that size; everything else stays as in `task`."""
    for batch in (1, 8, 32):
        yield "batch", batch, replace(task, batch=batch)
    for length in (32, 128, 512):
        yield "length", length, replace(task, length=length, batch=4)
    for layers in (3, 6, 12):
        yield "layers", layers, replace(task, shape=replace(task.shape, n_layers=layers))
    for words in (task.shape.vocab_size // 2, task.shape.vocab_size, 3 * task.shape.vocab_size):
        shape = replace(task.shape, vocab_size=words)
        yield "vocabulary", words, replace(task, kind="loss", shape=shape)
