"""Where the tokens of a batch came from, computed when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from xlm_core.errors import InputError
from xlm_core.tokenization.calls.called_tokenizer import CalledTokenizer
from xlm_core.tokenization.calls.truncation import Span
from xlm_core.tokenization.text_encoder import Origin, TextOptions


@dataclass(frozen=True, slots=True)
class Texts:
    """The first or the second texts of a batch, and how they were tokenized.

    Attributes:
        items: One text, or list of words, a sample.
        langs: The language of each.
        options: How they were tokenized.
    """

    items: Sequence[Any]
    langs: Sequence[str | None]
    options: TextOptions


@dataclass(frozen=True, slots=True)
class Row:
    """Which tokens of which sample a row holds, and what stands around them.

    Attributes:
        sample: Index of its sample.
        first: The span of the sample's first sequence that it holds.
        second: The span of its second sequence; None for a single sequence.
        left: Number of padding tokens on the left.
        right: Number of padding tokens on the right.
        frame: How many special tokens stand before the first sequence, and after each.
    """

    sample: int
    first: Span
    second: Span | None
    left: int
    right: int
    frame: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RowAlignment:
    """Where the tokens of one row came from; all lists are as long as the row.

    Attributes:
        tokens: The token strings.
        offsets: Their characters; (0, 0) for special tokens and padding.
        words: The index of their word; None for special tokens and padding.
        sequences: 0 or 1, the sequence; None for special tokens and padding.
        n_sequences: 1, or 2 for a pair.
    """

    tokens: list[str]
    offsets: list[Span]
    words: list[int | None]
    sequences: list[int | None]
    n_sequences: int


class LazyAlignment(Sequence[RowAlignment]):
    """The alignment of each row, computed when somebody asks for it.

    Pickling computes it all, which takes longer than tokenizing: the tokenizer does not travel
    with every batch. Send `dict(encoding)` where nobody will ask.

    Args:
        tokenizer: Aligns the texts, and gives the token of each id.
        texts: The first, and for pairs the second, texts.
        rows: How each row is laid out, as columns, so that a batch which nobody asks pays little:
            the sample, the span of the first and of the second sequence, the padding.
        ids: The ids of each row.
        frame: How many special tokens stand before the first sequence of a row, and after each.
        side: Where the padding is.
    """

    def __init__(
        self,
        tokenizer: CalledTokenizer,
        texts: tuple[Texts, ...],
        rows: tuple[Sequence[int], Sequence[Span], Sequence[Span] | None, Sequence[int] | None],
        ids: Sequence[list[int]],
        frame: tuple[int, int],
        side: str,
    ) -> None:
        self._tokenizer, self._texts, self._rows, self._ids = tokenizer, texts, rows, ids
        self._frame, self._side = frame, side
        self._text_encoder = tokenizer._text_encoder
        self._samples: dict[tuple[int, int], list[Origin]] = {}
        self._known: dict[int, RowAlignment] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> RowAlignment: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RowAlignment]: ...
    def __getitem__(self, index: int | slice) -> RowAlignment | Sequence[RowAlignment]:
        if isinstance(index, slice):
            samples, first, second, pads = self._rows
            rows = (
                samples[index],
                first[index],
                None if second is None else second[index],
                None if pads is None else pads[index],
            )
            texts, ids = self._texts, self._ids[index]
            chosen = LazyAlignment(self._tokenizer, texts, rows, ids, self._frame, self._side)
            # As of the call, not of now: a change in between is seen in the rows taken as well.
            chosen._text_encoder = self._text_encoder
            return chosen
        index = range(len(self))[index]
        if index not in self._known:
            self._known[index] = self._compute(self.row(index), self._ids[index])
        return self._known[index]

    def row(self, index: int) -> Row:
        """Which tokens the row at `index` holds."""
        samples, first, second, pads = self._rows
        pad = 0 if pads is None else pads[index]
        left, right = (pad, 0) if self._side == "left" else (0, pad)
        other = None if second is None else second[index]
        return Row(samples[index], first[index], other, left, right, self._frame)

    def _compute(self, row: Row, ids: list[int]) -> RowAlignment:
        nowhere: Origin = (0, 0, None)
        before, after = ([nowhere] * count for count in row.frame)
        spans = [row.first] if row.second is None else [row.first, row.second]
        aligned = [nowhere] * row.left + before
        sequences: list[int | None] = [None] * len(aligned)
        for number, (start, stop) in enumerate(spans):
            aligned += self._sample(row.sample, number)[start:stop] + after
            sequences += [number] * (stop - start) + [None] * len(after)
        aligned += [nowhere] * row.right
        sequences += [None] * row.right
        if len(aligned) != len(ids):
            raise InputError(
                f"A row of this batch has {len(ids)} ids and had {len(aligned)} when the tokenizer "
                "gave it: where its tokens came from can no longer be told. Change a copy of its "
                "input_ids, or ask before."
            )
        return RowAlignment(
            self._tokenizer.convert_ids_to_tokens(ids),
            [(start, end) for start, end, _ in aligned],
            [word for _, _, word in aligned],
            sequences,
            len(spans),
        )

    def _sample(self, sample: int, number: int) -> list[Origin]:
        # Windows share samples.
        key = sample, number
        if key not in self._samples:
            # A change makes the tokenizer's text encoder anew.
            if self._tokenizer._text_encoder is not self._text_encoder:
                raise InputError(
                    "The tokenizer was changed after it made this batch, so where its tokens came "
                    "from can no longer be told. Tokenize the texts again, or ask for offsets "
                    "before changing it."
                )
            texts = self._texts[number]
            self._samples[key] = self._tokenizer._align_text(
                texts.items[sample], texts.langs[sample], texts.options
            )
        return self._samples[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyAlignment:
        return self
