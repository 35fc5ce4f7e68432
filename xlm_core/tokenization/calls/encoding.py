"""What a call returns: a dictionary of ids and masks that knows where each token came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from xlm_core.errors import InputError, warn
from xlm_core.tokenization.calls.alignment import RowAlignment
from xlm_core.tokenization.calls.frameworks import tensor_converter


class CharSpan(NamedTuple):
    """Characters [start, end) of a text, or of a word where texts were given as words."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens [start, end) of a row."""

    start: int
    end: int


class BatchEncoding(dict[str, Any]):
    """What a tokenizer returns: key -> lists or tensors, with alignment.

    A dictionary, so that Keras, collators and `model(**encoding)` take it; the keys are attributes
    as well (`encoding.input_ids`). The methods on alignment are those of the fast encodings of
    transformers: with a batch index first, or without one for the first row. In transformers this
    class is no dict, and slow tokenizers have no alignment.

    Args:
        data: A mapping, or (key, value) pairs.
        alignment: Of each row; None where there is none.
        tensor_type: "np", "pt" or "tf" to convert the values.
        prepend_batch_axis: Give the tensors an axis of one row.
        n_sequences: 1, or 2 for pairs, where there is no alignment that says so.
    """

    _alignment: Sequence[RowAlignment] | None = None
    _n_sequences: int | None = None

    def __init__(
        self,
        data: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
        alignment: Sequence[RowAlignment] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
    ) -> None:
        super().__init__(() if data is None else data)
        self._alignment, self._n_sequences = alignment, n_sequences
        if tensor_type is not None:
            self.convert_to_tensors(tensor_type, prepend_batch_axis)

    @property
    def data(self) -> dict[str, Any]:
        """The dictionary itself."""
        return self

    @property
    def is_fast(self) -> bool:
        """False: this tokenizer is not one of the Rust ones that transformers calls fast."""
        return False

    @property
    def encodings(self) -> None:
        """None: there are no objects of the Rust library behind this encoding."""
        return None

    @property
    def n_sequences(self) -> int | None:
        """1, or 2 for pairs; None where unknown."""
        if self._n_sequences is None and self._alignment:
            return self._alignment[0].n_sequences
        return self._n_sequences

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"BatchEncoding has no attribute and no key {name!r}; its keys are {list(self)}"
            ) from None

    def __getitem__(self, key: str | int | slice) -> Any:
        """The value of a key; with an int or a slice one row or some rows of every key."""
        if isinstance(key, str):
            return super().__getitem__(key)
        ids = self.get("input_ids", ())
        if not len(ids) or not hasattr(ids[0], "__len__") or getattr(ids, "ndim", 2) < 2:
            raise KeyError(f"{key}: rows are taken from a batch, and this encoding is none")
        alignment = self._alignment
        if alignment is not None:
            # Pickled ones are lists; a slice of the lazy one stays lazy.
            rows = range(len(alignment))[key]
            chosen = slice(rows, rows + 1) if isinstance(rows, int) else key
            assert isinstance(chosen, slice)
            alignment = alignment[chosen]
        data = {name: value[key] for name, value in self.items()}
        return BatchEncoding(data, alignment, n_sequences=self._n_sequences)

    def copy(self) -> BatchEncoding:
        """A shallow copy, alignment included."""
        return BatchEncoding(self, self._alignment, n_sequences=self._n_sequences)

    __copy__ = copy

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchEncoding, (dict(self), self._alignment, None, False, self._n_sequences)

    def convert_to_tensors(
        self, tensor_type: str | None = None, prepend_batch_axis: bool = False
    ) -> BatchEncoding:
        """Convert every value, in place.

        Args:
            tensor_type: "np" (int64), "pt" (int64) or "tf" (int32); None leaves all as it is.
            prepend_batch_axis: Give the tensors an axis of one row.

        Returns:
            This encoding.

        Raises:
            InputError: For another type, rows of different lengths, or values that are no numbers.
            MissingPackageError: If the framework is not installed.
        """
        if tensor_type is not None:
            convert = tensor_converter(tensor_type)
            # First all, so that an error leaves nothing half done.
            self.update(
                {
                    key: convert(key, [value] if prepend_batch_axis else value)
                    for key, value in self.items()
                }
            )
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> BatchEncoding:
        """Move every PyTorch tensor to a device, in place.

        Args:
            device: A torch.device, its name or its number. Anything else, a dtype for instance,
                changes nothing and warns: ids stay integers.
            non_blocking: Copy asynchronously where possible.

        Returns:
            This encoding.
        """
        if isinstance(device, (str, int)) or type(device).__name__ == "device":
            for key, value in self.items():
                if hasattr(value, "to"):
                    self[key] = value.to(device=device, non_blocking=non_blocking)
        else:
            warn(f"BatchEncoding.to({device!r}) does nothing: expected a device, such as 'cuda'.")
        return self

    def _row(self, index: int, method: str) -> RowAlignment:
        if self._alignment is None:
            raise InputError(
                f"{method}: this encoding does not know its texts, being made from ids or tokens, "
                "by pad or from a dictionary. Ask the encoding that the tokenizer gave for texts."
            )
        if not -len(self._alignment) <= index < len(self._alignment):
            raise InputError(
                f"{method}: there is no row {index}, this encoding has {len(self._alignment)}."
            )
        return self._alignment[index]

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The token strings of a row, special tokens and padding included."""
        return list(self._row(batch_index, "tokens").tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The index of the word of each token of a row; None for special tokens and padding."""
        return list(self._row(batch_index, "word_ids").words)

    def words(self, batch_index: int = 0) -> list[int | None]:
        """`word_ids`, by its former name."""
        return self.word_ids(batch_index)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """The sequence, 0 or 1, of each token of a row; None for special tokens and padding."""
        return list(self._row(batch_index, "sequence_ids").sequences)

    def token_to_sequence(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """0 or 1, the sequence of a token; None for a special token, padding or no token."""
        row, index = self._at(batch_or_token_index, token_index, "token_to_sequence")
        return _entry(row.sequences, index)

    def token_to_word(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """The index of a token's word; None for a special token, padding or no token."""
        row, index = self._at(batch_or_token_index, token_index, "token_to_word")
        return _entry(row.words, index)

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> CharSpan | None:
        """The characters of a token; None for a special token, padding or no token."""
        row, index = self._at(batch_or_token_index, token_index, "token_to_chars")
        if _entry(row.sequences, index) is None:
            return None
        return CharSpan(*row.offsets[index])

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The first token that covers a character of a sequence; None if none does."""
        row, char = self._at(batch_or_char_index, char_index, "char_to_token")
        return next(
            (
                token
                for token, (start, end) in enumerate(row.offsets)
                if start <= char < end and row.sequences[token] == sequence_index
            ),
            None,
        )

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word of the first token that covers a character of a sequence; None if none does."""
        row, _ = self._at(batch_or_char_index, char_index, "char_to_word")
        token = self.char_to_token(batch_or_char_index, char_index, sequence_index)
        return None if token is None else row.words[token]

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word of a sequence; None if the row has none."""
        row, word = self._at(batch_or_word_index, word_index, "word_to_tokens")
        found = [
            token
            for token, index in enumerate(row.words)
            if index == word and row.sequences[token] == sequence_index
        ]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word, as far as the row has its tokens; None if it has none."""
        row, _ = self._at(batch_or_word_index, word_index, "word_to_chars")
        span = self.word_to_tokens(batch_or_word_index, word_index, sequence_index)
        if span is None:
            return None
        return CharSpan(row.offsets[span.start][0], row.offsets[span.end - 1][1])

    def _at(self, first: int, second: int | None, method: str) -> tuple[RowAlignment, int]:
        """The row and the index within it, of (batch index, index) or (index)."""
        if second is None:
            first, second = 0, first
        row = self._row(first, method)
        # Negative indices count tokens from the end.
        from_end = second < 0 and method.startswith("token_to")
        return row, second + len(row.tokens) if from_end else second


def _entry(values: list[int | None], index: int) -> int | None:
    return values[index] if 0 <= index < len(values) else None
