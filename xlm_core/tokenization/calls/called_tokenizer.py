"""What a call asks of the tokenizer that it was made to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from xlm_core.tokenization.text.languages import Languages
from xlm_core.tokenization.text_encoder import Origin, TextEncoder, TextOptions


class CalledTokenizer(Protocol):
    """The settings that a call reads, and the methods that a subclass may override.

    Settings are read at every call, since they can be set at any time.
    """

    mode: Any
    lang2id: Any
    model_max_length: int
    padding_side: str
    truncation_side: str
    split_special_tokens: bool
    pad_token_type_id: int
    _languages: Languages
    # Another object as soon as anything changes that ids depend on.
    _text_encoder: TextEncoder

    @property
    def model_input_names(self) -> list[str]:
        """The keys that a call returns by default, input_ids first."""

    @property
    def pad_token_id(self) -> Any:
        """The id of the padding token; None without one."""

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The id of every token that is found in a text as it is."""

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens frame a row."""

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Which tokens of a framed row are special."""

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of each token."""

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """The token of each id."""

    def _ids_of_texts(
        self,
        texts: Sequence[Any],
        langs: Sequence[str | None],
        options: TextOptions,
        *,
        workers: int = 1,
    ) -> list[list[int]]: ...

    def _align_text(self, text: Any, lang: str | None, options: TextOptions) -> list[Origin]: ...
