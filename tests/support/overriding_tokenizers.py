"""Subclasses of the tokenizer, importable by worker processes, that override what it offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from xlm_core import XLMTokenizer


class Shouting(XLMTokenizer):
    """Joins subwords in capitals."""

    def convert_tokens_to_string(self, tokens: Any) -> str:
        return super().convert_tokens_to_string(tokens).upper() + "!"


class Framing(XLMTokenizer):
    """Frames sequences in its own way."""

    def build_inputs_with_special_tokens(self, token_ids_0: Any, token_ids_1: Any = None) -> Any:
        return [7, *token_ids_0, *(token_ids_1 or ()), 8]


class Splitting(XLMTokenizer):
    """Has a `_tokenize` as the tokenizers of transformers have."""

    def _tokenize(self, text: str, **more: Any) -> list[str]:
        raise AssertionError("asked")


class Masking(XLMTokenizer):
    """Calls no token special, leaves room for five, and knows tokens by their capitals too."""

    pad_token_type_id = 3
    model_input_names = ["input_ids", "token_type_ids", "attention_mask"]  # noqa: RUF012

    def get_special_tokens_mask(self, token_ids_0: Any, *args: Any, **more: Any) -> list[int]:
        return [0] * len(super().get_special_tokens_mask(token_ids_0, *args, **more))

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 5

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        return super().convert_tokens_to_ids([token.lower() for token in tokens])

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        return [f"<{token}>" for token in super().convert_ids_to_tokens(ids, skip_special_tokens)]


def recorder() -> tuple[type[XLMTokenizer], list[str]]:
    """A subclass that overrides every public method to note that it was asked, and the notes."""
    notes: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **more: Any) -> Any:
            notes.append(name)
            return getattr(XLMTokenizer, name)(self, *args, **more)

        return method

    names = [
        name
        for name in dir(XLMTokenizer)
        if not name.startswith("_")
        and inspect.isfunction(inspect.getattr_static(XLMTokenizer, name))
    ]
    return type("Recorder", (XLMTokenizer,), {name: noting(name) for name in names}), notes
