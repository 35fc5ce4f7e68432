"""Vectors of texts, of their tokens or of their words: what `encode` does around a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlm_core.errors import (
    InputError,
    UnknownArgumentError,
    nearest,
    refuse_unknown_arguments,
)
from xlm_core.texts.forward import Array, Batch, Forward
from xlm_core.texts.preparing import (
    Language,
    Languages,
    Preparation,
    Row,
    batches_by_length,
    in_languages,
    windows,
    words_of,
)
from xlm_core.tokenization.calls.arguments import check_natural
from xlm_core.tokenization.tokenizer import XLMTokenizer

SENTENCE_POOLINGS = ("mean", "max", "first", "last")
POOLINGS = (*SENTENCE_POOLINGS, "tokens", "words")
DTYPES = ("float32", "float16", "float64")

# Texts that are sorted by length together are this many batches.
_BATCHES_OF_A_WINDOW = 64


@dataclass(frozen=True)
class EncodeOptions:
    """What is made of the hidden states of a text.

    Attributes:
        pooling: One of `POOLINGS`.
        layer: 0 for the embeddings, 1 for the first layer's output, ..., -1 for the last's.
        include_frame: Whether the frame counts in mean and max, and stands among the tokens; None:
            in mean and max, not among tokens.
        normalize_embeddings: Whether vectors get length 1.
        dtype: Of the vectors; None: float32, or float64 of a float64 model.
        batch_size: Texts that go through the model together.
    """

    pooling: str = "mean"
    layer: int = -1
    include_frame: bool | None = None
    normalize_embeddings: bool = False
    dtype: str | None = None
    batch_size: int = 32

    def check(self, layers: int) -> None:
        """Refuse what makes no sense.

        Args:
            layers: How many the model has.

        Raises:
            InputError: Saying what was found and what was expected.
        """
        if self.pooling not in POOLINGS:
            raise InputError(
                f"pooling is {self.pooling!r}: expected one of {', '.join(POOLINGS)}."
                f"{nearest(self.pooling, POOLINGS)}"
            )
        if type(self.layer) is not int or not -layers - 1 <= self.layer <= layers:
            raise InputError(
                f"layer is {self.layer!r}: expected 0 (the embeddings) to {layers}, or -1 (the "
                f"last) to {-layers - 1}."
            )
        if self.include_frame is not None and self.pooling in ("first", "last", "words"):
            raise InputError(
                f"include_frame is {self.include_frame}, but pooling={self.pooling!r} "
                + ("leaves the frame out." if self.pooling == "words" else "takes the frame.")
            )
        if self.dtype not in (None, *DTYPES):
            raise InputError(f"dtype is {self.dtype!r}: expected one of {', '.join(DTYPES)}.")
        if self.batch_size is None:
            raise InputError("batch_size is None: expected an integer of at least 1.")
        check_natural("batch_size", self.batch_size, 1)

    def layer_of(self, layers: int) -> int:
        """The layer, counted from the embeddings."""
        return self.layer % (layers + 1)

    @property
    def window(self) -> int:
        """How many texts are sorted by length together."""
        return _BATCHES_OF_A_WINDOW * self.batch_size


class Encoder:
    """Encodes texts, window by window.

    Args:
        forward: The model.
        preparation: How its texts become ids.
        options: What becomes of its hidden states.

    Raises:
        InputError: For options that make no sense.
    """

    def __init__(self, forward: Forward, preparation: Preparation, options: EncodeOptions) -> None:
        layers = forward.layers
        options.check(layers)
        self._forward, self._preparation, self.options = forward, preparation, options
        self._layer = options.layer_of(layers)
        self._pool = _POOL[options.pooling]

    def encode(self, texts: Iterable[tuple[str, Language]]) -> Iterator[list[Array]]:
        """The vectors of each text, in lists of one window.

        Texts are sorted by length within a window, and come out in their order.

        Args:
            texts: Texts, each with its language.
        """
        for window in windows(texts, self.options.window):
            yield self._encode(window)
        self._preparation.warn_of_cut()

    def _encode(self, window: list[tuple[str, Language]]) -> list[Array]:
        rows = self._preparation.rows(window)
        found: dict[int, Array] = {}
        for indices in batches_by_length([len(row.ids) for row in rows], self.options.batch_size):
            chosen = [rows[index] for index in indices]
            for index, vectors in zip(indices, self.of_rows(chosen), strict=True):
                found[index] = vectors
        return [found[index] for index in range(len(rows))]

    def of_rows(self, rows: Sequence[Row]) -> Iterator[Array]:
        """The vectors of each text that `Preparation.rows` made a row of, as one batch."""
        padding = self._forward.config.pad_index
        batch = Batch.of([row.ids for row in rows], [row.lang for row in rows], padding)
        hidden = self._forward.hidden_states(
            batch, layer=self._layer, positions=self._positions(rows, batch)
        )
        for row, states in zip(rows, hidden, strict=True):
            vectors = self._pool(self, row, states[: len(row.ids)])
            if self.options.normalize_embeddings:
                vectors = normalized(vectors)
            # A copy, so that no batch is kept by what is looked at of it.
            yield np.array(vectors, dtype=self.options.dtype)

    def _positions(self, rows: Sequence[Row], batch: Batch) -> Array | int | None:
        """Where the last layer is looked at."""
        if self.options.pooling == "first":
            return 0
        if self.options.pooling == "last":
            lengths = np.array([len(row.ids) for row in rows])
            last: Array = np.arange(batch.input_ids.shape[1]) == lengths[:, None] - 1
            return last
        return None

    # -- what becomes of the states of one row, float, shape (tokens, hidden) ------------------

    def _states(self, states: Array, *, by_default: bool) -> Array:
        include = self.options.include_frame
        return states if (by_default if include is None else include) else states[1:-1]

    def _mean(self, row: Row, states: Array) -> Array:
        states = self._states(states, by_default=True)
        return _zeros(states) if not len(states) else states.mean(axis=0)

    def _max(self, row: Row, states: Array) -> Array:
        states = self._states(states, by_default=True)
        return _zeros(states) if not len(states) else states.max(axis=0)

    def _first(self, row: Row, states: Array) -> Array:
        first: Array = states[0]
        return first

    def _last(self, row: Row, states: Array) -> Array:
        last: Array = states[-1]
        return last

    def _tokens(self, row: Row, states: Array) -> Array:
        return self._states(states, by_default=False)

    def _words(self, row: Row, states: Array) -> Array:
        words, indices = words_of(self._preparation.tokenizer, row)
        sums = np.zeros((len(words), states.shape[1]), dtype=states.dtype)
        np.add.at(sums, indices, states[1:-1])
        counts = np.bincount(indices, minlength=len(words)).astype(states.dtype)
        means: Array = sums / np.maximum(counts, 1)[:, None]
        return means


_POOL: dict[str, Callable[[Encoder, Row, Array], Array]] = {
    "mean": Encoder._mean,
    "max": Encoder._max,
    "first": Encoder._first,
    "last": Encoder._last,
    "tokens": Encoder._tokens,
    "words": Encoder._words,
}


def _zeros(states: Array) -> Array:
    return np.zeros(states.shape[-1], dtype=states.dtype)


def normalized(vectors: Array) -> Array:
    """Vectors of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Array = vectors / np.where(lengths == 0, 1, lengths)
    return result


# What callers of sentence-transformers give to its `encode`, and what to do here instead.
_INSTEAD = {
    "convert_to_tensor": "make a tensor of the array that is returned",
    "device": "move the model before the call",
    "output_value": 'pooling="tokens" gives the vectors of tokens',
    "precision": "give dtype",
    "prompt": "write it before the texts",
    "prompt_name": "write the prompt before the texts",
    "truncate_dim": "cut the vectors that are returned",
}
_HARMLESS = {"convert_to_numpy": True, "convert_to_tensor": False, "precision": "float32"}
_HARMLESS |= dict.fromkeys(("device", "prompt", "prompt_name", "truncate_dim"))
_HARMLESS["output_value"] = "sentence_embedding"
_ARGUMENTS = (
    *("lang", "pooling", "layer", "include_frame", "normalize_embeddings", "frame", "truncation"),
    *("max_length", "batch_size", "dtype"),
)


def settle_more(more: Mapping[str, Any]) -> None:
    """Check keyword arguments of `encode` that it does not name.

    Those of sentence-transformers that change nothing here are accepted: nothing shows a progress
    bar, and arrays are what is returned.

    Raises:
        UnknownArgumentError: For any other.
    """
    left = {name: value for name, value in more.items() if name != "show_progress_bar"}
    for name in [*left]:
        if name in _HARMLESS and left[name] == _HARMLESS[name]:
            del left[name]
        elif name in _INSTEAD:
            raise UnknownArgumentError(
                f"encode got {name}={left[name]!r}, which is not supported: {_INSTEAD[name]}."
            )
    refuse_unknown_arguments("encode", left, _ARGUMENTS)


def encoder_of(
    forward: Forward,
    tokenizer: XLMTokenizer,
    *,
    frame: str,
    truncation: bool,
    max_length: int | None,
    more: Mapping[str, Any],
    **options: Any,
) -> Encoder:
    """An `Encoder` out of the arguments of `encode`; `more` are those that it does not name."""
    settle_more(more)
    preparation = Preparation(
        forward.config, tokenizer, frame=frame, truncation=truncation, max_length=max_length
    )
    return Encoder(forward, preparation, EncodeOptions(**options))


def encode(encoder: Encoder, texts: str | Iterable[str], lang: Languages) -> Array | list[Array]:
    """The vectors of texts; see the families' `encode`."""
    single = isinstance(texts, str)
    parts: list[Array] = []
    of_sentences = encoder.options.pooling in SENTENCE_POOLINGS
    found: list[Array] = []
    for window in encoder.encode(in_languages([texts] if single else texts, lang)):  # type: ignore[list-item]
        if of_sentences:
            parts.append(np.stack(window))
        else:
            found += window
    if single:
        return parts[0][0] if of_sentences else found[0]
    if not of_sentences:
        return found
    if not parts:
        width = encoder._forward.config.emb_dim
        return np.zeros((0, width), dtype=encoder.options.dtype or "float32")
    return np.concatenate(parts)


def encode_each(encoder: Encoder, texts: Iterable[str], lang: Languages) -> Iterator[Array]:
    """The vectors of one text after another; see the families' `encode_each`."""
    for window in encoder.encode(in_languages(texts, lang)):
        yield from window
