"""The arguments of a call to the tokenizer, and what padding and truncation follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from xlm_core.errors import InputError, refuse_unknown_arguments, warn

PADDING = ("longest", "max_length", "do_not_pad")
TRUNCATION = ("longest_first", "only_first", "only_second", "do_not_truncate")
SIDES = ("right", "left")
# Above this a model_max_length means that the model has none.
UNLIMITED = int(1e20)


@dataclass(slots=True)
class Arguments:
    """The arguments of a call besides its texts; `XLMTokenizer.__call__` documents each."""

    add_special_tokens: bool = True
    padding: bool | str = False
    truncation: bool | str | None = None
    max_length: int | None = None
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    padding_side: str | None = None
    return_tensors: str | None = None
    return_token_type_ids: bool | None = None
    return_attention_mask: bool | None = None
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_length: bool = False
    verbose: bool = True
    lang: str | Sequence[str] | None = None
    lang_pair: str | Sequence[str] | None = None
    lang_target: str | Sequence[str] | None = None
    return_langs: bool = False
    bypass_tokenizer: bool = False
    split_special_tokens: bool | None = None
    workers: int = 1
    return_windows: bool = False
    framing: str | None = None

    @classmethod
    def of(cls, function: str, **values: Any) -> Arguments:
        """Make them from keyword arguments.

        Args:
            function: Name of what is called, for the error.
            **values: The arguments.

        Raises:
            UnknownArgumentError: For a name that is none of these.
        """
        known = _NAMES
        if not values.keys() <= known.keys():
            refuse_unknown_arguments(function, values.keys() - known.keys(), known)
        return cls(**values)


_NAMES = dict.fromkeys(field.name for field in fields(Arguments))


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of a call are padded and truncated.

    Attributes:
        padding: "longest", "max_length" or None.
        truncation: "longest_first", "only_first", "only_second" or None.
        max_length: The length that either uses; None where nothing says one.
        multiple: Padded lengths are multiples of it; None for any length.
        side: "right" or "left": where padding goes.
    """

    padding: str | None
    truncation: str | None
    max_length: int | None
    multiple: int | None
    side: str

    def width(self, lengths: Sequence[int]) -> int | None:
        """The length that rows of these lengths are padded to; None if they are not."""
        if self.padding is None or not lengths:
            return None
        width = max(lengths) if self.padding == "longest" else self.max_length
        assert width is not None
        multiple = self.multiple or 1
        return -(-width // multiple) * multiple


def make_plan(
    *,
    padding: bool | str,
    truncation: bool | str | None,
    max_length: int | None,
    multiple: int | None,
    side: str,
    model_max_length: int,
    pad_token_id: int | None,
    verbose: bool,
) -> Plan:
    """Resolve the arguments for padding and truncation as transformers does.

    A `max_length` alone truncates, with a warning. A strategy that needs a length takes the
    model's; where that is unknown there is no padding or truncation, with a warning.

    Raises:
        InputError: For an unknown strategy or side, a length or multiple that is no natural
            number, padding without a pad token, or a length that is no multiple of `multiple`.
    """
    pad = _strategy("padding", padding, PADDING)
    cut = truncation_name(truncation)
    check_natural("max_length", max_length, 0)
    check_natural("pad_to_multiple_of", multiple, 1)
    if side not in SIDES:
        raise InputError(f"padding_side={side!r} is not known: expected 'right' or 'left'.")
    if max_length is not None and verbose:
        if padding is False and truncation is None:
            warn(
                f"max_length={max_length} without truncation: sequences are cut to that length, as "
                "with truncation=True. Say so, or give truncation=False."
            )
        elif padding is True and cut is None:
            warn(
                f"max_length={max_length} has no effect: padding=True pads to the longest "
                "sequence. Give padding='max_length', or truncation=True to cut to that length."
            )
    if max_length is not None and padding is False and truncation is None:
        cut = "longest_first"
    if max_length is None and (pad == "max_length" or cut is not None):
        if model_max_length <= UNLIMITED:
            max_length = model_max_length
        else:
            if verbose:
                asked = "padding='max_length'" if pad == "max_length" else f"{truncation=}"
                warn(
                    f"{asked} has no effect: this tokenizer has no model_max_length. "
                    "Give max_length."
                )
            pad, cut = (None if pad == "max_length" else pad), None
    if pad is not None and (pad_token_id is None or pad_token_id < 0):
        raise InputError(
            f"padding={padding!r} needs a pad token, and this tokenizer has none: set pad_token, "
            "or give padding=False."
        )
    if pad and cut and multiple and max_length is not None and max_length % multiple:
        raise InputError(
            f"max_length={max_length} is no multiple of pad_to_multiple_of={multiple}, so rows "
            "cannot be both cut and padded: give a max_length that is one."
        )
    return Plan(pad, cut, max_length, multiple, side)


def truncation_name(value: bool | str | None) -> str | None:
    """The strategy that `truncation` names; None for no truncation.

    Raises:
        InputError: If it names none.
    """
    return _strategy("truncation", False if value is None else value, TRUNCATION)


def _strategy(name: str, value: Any, known: tuple[str, ...]) -> str | None:
    """The strategy that `value` names: True means the first known one, False none."""
    if value is True:
        return known[0]
    # The enumerations of transformers are strings that carry one in `value`.
    value = getattr(value, "value", value)
    if value is False or value == known[-1]:
        return None
    if value not in known:
        raise InputError(
            f"{name}={value!r} is not known: expected True, False, {', '.join(map(repr, known))}."
        )
    return str(value)


def check_natural(name: str, value: Any, least: int, *, required: bool = False) -> None:
    """Refuse what is neither None (unless `required`) nor an integer of at least `least`.

    Raises:
        InputError: For anything else.
    """
    if value is None and not required:
        return
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        other = "" if required else ", or None"
        raise InputError(f"{name}={value!r}: expected an integer of at least {least}{other}.")
