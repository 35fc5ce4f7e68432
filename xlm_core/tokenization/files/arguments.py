"""Arguments of transformers' tokenizers that `xlm_core.loading_arguments` does not know."""

from __future__ import annotations

from typing import Any

from xlm_core.errors import UnknownArgumentError, warn

# Whatever their value: there is one class of tokenizer, and its files say all about it.
_OF_OPENING = ("config", "from_slow", "tokenizer_type", "use_fast")
# transformers keeps them beside the tokenizer without looking at them.
_OF_MAKING = (
    "processor_class",
    "special_tokens_map_file",
    "tokenizer_class",
    "tokenizer_file",
    "verbose",
)


def settle_opening(others: dict[str, Any]) -> None:
    """Take out of `others` what `from_pretrained` of a tokenizer accepts and never follows."""
    for name in _OF_OPENING:
        others.pop(name, None)


def settle_making(others: dict[str, Any], *, lowercase: bool) -> None:
    """Take out of `others` what the constructor accepts and never follows.

    Args:
        others: The keyword arguments that are no parameters of it.
        lowercase: Whether the tokenizer lowercases.
    """
    for name in _OF_MAKING:
        others.pop(name, None)
    wanted = others.pop("do_lower_case", lowercase)
    if bool(wanted) != bool(lowercase):
        warn(
            f"do_lower_case={wanted!r} changes nothing, as in transformers: XLM's argument is "
            f"do_lowercase_and_remove_accent, which is {lowercase!r}."
        )


def settle_saving(others: dict[str, Any]) -> None:
    """Take out of `others` what `save_pretrained` of a tokenizer accepts and never follows.

    Raises:
        UnknownArgumentError: For `legacy_format=False`.
    """
    others.pop("save_jinja_files", None)
    if others.pop("legacy_format", None) is False:
        raise UnknownArgumentError(
            "save_pretrained got legacy_format=False, which asks for a tokenizer.json: XLM's rules "
            "do not fit into one. Leave it out: vocab.json and merges.txt are written."
        )
