"""What a model may be called with: one set of rules and texts for both frameworks.

Shapes, dtypes and combinations are checked on every call, traced ones included; a dimension that
is unknown while tracing is None and fits everything. Ranges of values are checked with the
smallest and largest value, which the families compute when running eagerly on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError

Shape = tuple[int | None, ...]
DtypeKind = Literal["bool", "integer", "float", "complex"]


@dataclass(frozen=True)
class TensorInfo:
    """What can be known of a tensor without looking at its values."""

    shape: Shape
    kind: DtypeKind


# Name of each dimension, for messages.
BATCH_SEQUENCE = "(batch, sequence)"


def _fits(found: Shape, expected: Shape) -> bool:
    return len(found) == len(expected) and all(
        e is None or f is None or f == e for f, e in zip(found, expected, strict=True)
    )


def _text(shape: Shape) -> str:
    sizes = ["?" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def check_tensor(
    name: str,
    info: TensorInfo,
    expected: Shape,
    axes: str,
    kinds: tuple[DtypeKind, ...] = ("integer",),
) -> None:
    """Raise `InputError` unless the tensor has this shape and one of these kinds of dtype."""
    if not _fits(info.shape, expected):
        raise InputError(
            f"{name} has shape {_text(info.shape)}: expected {axes} = {_text(expected)}."
        )
    if info.kind not in kinds:
        article = "an" if info.kind == "integer" else "a"
        raise InputError(f"{name} has {article} {info.kind} dtype: expected {' or '.join(kinds)}.")


def check_call(
    config: XLMConfig, tensors: Mapping[str, TensorInfo], cached: int | None = None
) -> tuple[int | None, int | None]:
    """Check the arguments of `XLMModel` that are tensors.

    Args:
        config: The model's.
        tensors: Argument name -> its info, for the arguments that are not None.
        cached: Number of positions that the cache holds, or None without a cache.

    Returns:
        (batch, sequence), None where unknown.

    Raises:
        InputError: Saying what was found and what was expected.
    """
    given = [name for name in ("input_ids", "inputs_embeds") if name in tensors]
    if len(given) != 1:
        raise InputError(
            f"{'both' if given else 'neither'} of input_ids and inputs_embeds "
            f"{'were' if given else 'was'} given: give exactly one of them."
        )
    if "input_ids" in tensors:
        check_tensor("input_ids", tensors["input_ids"], (None, None), BATCH_SEQUENCE)
    else:
        check_tensor(
            "inputs_embeds",
            tensors["inputs_embeds"],
            (None, None, config.emb_dim),
            "(batch, sequence, emb_dim)",
            ("float",),
        )
    batch, sequence = tensors[given[0]].shape[:2]
    if batch == 0 or sequence == 0:
        raise InputError(
            f"{given[0]} has shape {_text(tensors[given[0]].shape)}: it must not be empty."
        )
    limit = config.max_position_embeddings
    if "position_ids" not in tensors and sequence is not None and sequence > limit:
        raise InputError(
            f"the sequence has {sequence} positions, but the model has {limit} "
            "(max_position_embeddings): shorten it, or give position_ids inside that range."
        )
    for name in ("attention_mask", "langs", "token_type_ids", "position_ids"):
        if name in tensors:
            kinds: tuple[DtypeKind, ...] = (
                ("bool", "integer", "float") if name == "attention_mask" else ("integer",)
            )
            check_tensor(name, tensors[name], (batch, sequence), BATCH_SEQUENCE, kinds)
    if "lengths" in tensors:
        check_tensor("lengths", tensors["lengths"], (batch,), "(batch,)")
    if cached is not None:
        if not config.causal:
            raise InputError(
                "a cache was given to a bidirectional model: earlier positions would have to see "
                "later ones. Use it with causal=True only."
            )
        if sequence is not None and sequence <= cached:
            raise InputError(
                f"the cache holds {cached} positions and the call {sequence}: give the whole "
                "sequence each time, the cached part included, and at least one new position."
            )
    if "head_mask" in tensors:
        check_head_mask(config, tensors["head_mask"], batch, sequence, cached)
    return batch, sequence


def check_source(
    config: XLMConfig,
    hidden: TensorInfo | None,
    mask: TensorInfo | None,
    batch: int | None = None,
) -> None:
    """Check what a decoder attends to.

    Args:
        config: The decoder's.
        hidden, mask: Of encoder_hidden_states and encoder_attention_mask; None: not given.
        batch: Number of targets.

    Raises:
        InputError: If there is no source, or it does not fit.
    """
    if hidden is None:
        raise InputError(
            "encoder_hidden_states was not given: a decoder attends to what an encoder returned."
        )
    axes = "(batch, source, hidden)"
    expected = (batch, None, config.emb_dim)
    check_tensor("encoder_hidden_states", hidden, expected, axes, ("float",))
    if mask is not None:
        shape = hidden.shape[:2]
        kinds: tuple[DtypeKind, ...] = ("bool", "integer", "float")
        check_tensor("encoder_attention_mask", mask, shape, "(batch, source)", kinds)


def refuse_empty_source(row: int) -> NoReturn:
    """Raise `InputError` for a source without any token."""
    raise InputError(
        f"source {row} of the batch has no token that is not padding: a decoder has nothing to "
        "attend to. An empty sentence is framed as well: </s> </s>."
    )


def check_head_mask(
    config: XLMConfig,
    info: TensorInfo,
    batch: int | None = None,
    sequence: int | None = None,
    cached: int | None = None,
) -> None:
    """Raise `InputError` unless head_mask has a shape that can apply to every layer."""
    layers, heads, shape = config.n_layers, config.n_heads, info.shape
    kept = {len(config.heads_of(layer)) for layer in range(layers)}
    new = None if sequence is None else sequence - (cached or 0)
    allowed: tuple[set[int | None], ...] = (
        {layers},
        {1, batch},
        {1, heads, *(kept if len(kept) == 1 else ())},
        {1, new},
        {1, sequence},
    )
    full = len(shape) == 5 and all(
        size is None or None in sizes or size in sizes
        for size, sizes in zip(shape, allowed, strict=True)
    )
    if not (_fits(shape, (heads,)) or _fits(shape, (layers, heads)) or full):
        raise InputError(
            f"head_mask has shape {_text(shape)}: expected (heads,) = ({heads},), "
            f"(layers, heads) = ({layers}, {heads}), or (layers, batch, heads, query, key) = "
            f"{_text((layers, batch, heads, new, sequence))}, where all but layers may be 1."
        )
    check_tensor("head_mask", info, shape, "", ("bool", "integer", "float"))


def check_cache(cache: object) -> None:
    """Raise `InputError` unless `cache` has the two methods of a cache."""
    missing = [m for m in ("update", "get_seq_length") if not callable(getattr(cache, m, None))]
    if missing:
        raise InputError(
            f"cache is a {type(cache).__name__} without {' and '.join(missing)}: expected an "
            "object with update(key, value, layer) and get_seq_length(), such as KeyValueCache."
        )


def check_cache_batch(cached: int | None, batch: int | None) -> None:
    """Raise `InputError` if a cache of `cached` sentences is used for another number of them."""
    if cached is not None and batch is not None and cached != batch:
        raise InputError(
            f"the cache holds {cached} sentences and the call {batch}: a cache goes with one "
            "batch; make a new one, or give its rows the new order and number first."
        )


def check_cache_length(limit: int, positions: int) -> None:
    """Raise `InputError` if a cache is to hold more positions than it may."""
    if positions > limit:
        raise InputError(
            f"the cache holds up to {limit} positions, and these make {positions}: make it with a "
            "larger max_length."
        )


def check_output_positions(positions: object, info: TensorInfo | None, new: int | None) -> None:
    """Check which positions a head looks at.

    Args:
        positions: The index of one position, or a mask.
        info: Of the mask; None: `positions` is no tensor.
        new: Positions of the call that are not cached, where known.

    Raises:
        InputError: Unless it is a bool mask or an index among the new positions.
    """
    expected = "expected a bool mask of shape (batch, new), or the index of one position"
    if info is not None:
        if info.kind != "bool":
            raise InputError(f"output_positions holds {info.kind}s: {expected}.")
    elif type(positions) is not int:
        raise InputError(f"output_positions is a {type(positions).__name__}: {expected}.")
    elif new is not None and not -new <= positions < new:
        raise InputError(f"output_positions is {positions}: {expected} among the {new} new ones.")


def check_range(name: str, smallest: float, largest: float, limit: int, rule: str) -> None:
    """Raise `InputError` unless all values lie in [0, limit - 1]; NaN does not."""
    if not (smallest >= 0 and largest <= limit - 1):
        found = largest if smallest >= 0 else smallest
        raise InputError(f"{name} holds {found}: expected values in [0, {limit}), {rule}.")


def value_limits(config: XLMConfig, sequence: int) -> dict[str, tuple[int, str]]:
    """For each argument with values in [0, limit): its limit, and the rule in words."""
    vocabulary = (config.vocab_size, "the vocabulary (is the tokenizer this model's?)")
    limits = {
        "input_ids": vocabulary,
        "token_type_ids": vocabulary,
        "position_ids": (config.max_position_embeddings, "the rows of the position table"),
        "lengths": (sequence + 1, "at most the length of the sequence"),
    }
    if config.has_lang_embeddings:
        limits["langs"] = (config.n_langs, "the languages of the model (n_langs)")
    return limits


LANGS_MISSING = (
    "the model has language embeddings, but langs was not given: they are left out, and the "
    "results are not those the model was trained for. Give langs, one language id per token."
)

# Tokenizers of mode "v4" give no others; whoever gives more means words of the vocabulary.
LARGEST_TOKEN_TYPE = 1
TYPES_GIVEN = (
    "token_type_ids of 0 and 1 were given, as a tokenizer of mode 'v4' returns them: as in "
    "transformers, they are looked up among the word embeddings, and that of <s> is added "
    "everywhere. A model that was fine-tuned so wants them; for any other, a pretrained one too, "
    "leave them out: tokenizer(..., return_token_type_ids=False)."
)


def refuse_fractions(name: str) -> NoReturn:
    """Raise `InputError` for a mask that holds something else than 0 and 1."""
    raise InputError(f"{name} holds a value that is neither 0 nor 1: expected one of the two.")
