"""Padding: the rows of each key of a batch become equally long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add
from typing import Any

from xlm_core.errors import InputError
from xlm_core.tokenization.calls.arguments import Plan
from xlm_core.tokenization.calls.called_tokenizer import CalledTokenizer
from xlm_core.tokenization.calls.frameworks import kind_of, plain


def pad_rows(rows: Sequence[list[Any]], counts: Sequence[int], value: Any, side: str) -> Any:
    """Pad each row with its count of `value`.

    Args:
        rows: One list a sample.
        counts: How much each row lacks; below 1 for nothing.
        value: The padding; None repeats the row's own end, 0 where the row is empty.
        side: "right" or "left".

    Returns:
        A list of new lists.
    """
    if value is None:
        edge = -1 if side == "right" else 0
        tails = [[row[edge] if row else 0] * count for row, count in zip(rows, counts, strict=True)]
    else:
        # Adding lists copies them, so rows that lack as much may share what is added.
        by_count = {count: [value] * count for count in set(counts)}
        tails = list(map(by_count.__getitem__, counts))
    return list(map(add, tails, rows) if side == "left" else map(add, rows, tails))


def padding_values(tokenizer: CalledTokenizer) -> dict[str, int | None]:
    """What each key is padded with; None repeats the row's own end."""
    pad = tokenizer.pad_token_id
    return {
        "input_ids": -1 if pad is None else pad,
        "token_type_ids": tokenizer.pad_token_type_id,
        "special_tokens_mask": 1,
        "attention_mask": 0,
        "langs": None,
    }


def pad_keys(
    data: dict[str, Any],
    lengths: Sequence[int],
    plan: Plan,
    values: Mapping[str, int | None],
) -> list[int] | None:
    """Pad the rows of each key of a batch; `data` holds the new rows afterwards.

    Args:
        data: Key -> rows.
        lengths: The lengths of the rows.
        plan: To what length, and where.
        values: The padding of each key that is padded; None repeats the row's own end.

    Returns:
        How much each row got, or None where nothing is padded.
    """
    width = plan.width(lengths)
    if width is None or min(lengths) >= width:
        return None
    counts = [width - length for length in lengths]
    for key, value in values.items():
        if key in data:
            data[key] = pad_rows(data[key], counts, value, plan.side)
    return counts


def features_of(encoded: Any, main: str) -> tuple[dict[str, Any], bool, str | None]:
    """The features that `pad` was given, as lists.

    Args:
        encoded: A mapping of one sample or of a batch, or a list of mappings of one sample each;
            their values lists, arrays or tensors.
        main: The key that says how long the rows are.

    Returns:
        Key -> values; whether it is one sample; the kind of tensor that the ids were, or None.

    Raises:
        InputError: For anything else, without that key, or with keys of different lengths.
    """
    if isinstance(encoded, (list, tuple)):
        if not all(isinstance(sample, Mapping) for sample in encoded):
            raise InputError(
                f"pad got a list that holds {_types(encoded)}: expected a mapping with {main!r}, "
                "or a list of such mappings."
            )
        keys = list(encoded[0]) if encoded else [main]
        missing = [key for key in keys if any(key not in sample for sample in encoded)]
        if missing:
            raise InputError(
                f"pad got samples of which some lack {', '.join(map(repr, missing))}: expected "
                "the same keys in all. Drop them or give them to every sample."
            )
        encoded = {key: [sample[key] for sample in encoded] for key in keys}
    if not isinstance(encoded, Mapping) or main not in encoded:
        found = list(encoded) if isinstance(encoded, Mapping) else type(encoded).__name__
        raise InputError(
            f"pad got {found}: expected a mapping with {main!r}, or a list of such mappings."
        )
    data, rows = dict(encoded), encoded[main]
    if rows is None or not len(rows):
        return {**data, main: []}, True, None
    kind = (
        kind_of(rows) or kind_of(rows[0]) or next((kind_of(r[0]) for r in rows if _full(r)), None)
    )
    data = {key: plain(value) for key, value in data.items()}
    single = not isinstance(data[main][0], (list, tuple))
    if single:
        return data, True, kind
    count = len(data[main])
    for key, value in data.items():
        if not isinstance(value, (list, tuple)) or len(value) != count:
            sized = isinstance(value, (list, tuple))
            found = str(len(value)) if sized else type(value).__name__
            raise InputError(
                f"pad got {count} rows of {main!r}, but {found} of {key!r}: expected as many of "
                "every key."
            )
    data[main] = [list(row) for row in data[main]]
    if any(row and isinstance(row[0], (list, tuple)) for row in data[main]):
        raise InputError(
            f"pad got rows of {main!r} that hold lists: expected numbers. For multiple choice, pad "
            "the choices of all questions as one flat list, and fold the rows: of each value "
            "`value.reshape(questions, -1, value.shape[-1])`."
        )
    return data, False, kind


def _full(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and len(row) > 0


def _types(values: Sequence[Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in values}))
