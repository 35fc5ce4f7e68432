"""The special tokens around sequences, and what a tokenizer provides to frame and batch them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xlm_core.errors import InputError


class FramingMixin:
    """How sequences are framed.

    `<s> A </s>` and `<s> A </s> B </s>`, as in transformers; with mode "original" `</s> A </s>` and
    `</s> A </s> B </s>`, as the models were trained. Token types are 0 up to the first closing
    `</s>`, and 1 for B and its `</s>`.
    """

    if TYPE_CHECKING:
        # What the tokenizer provides, as attributes or properties.
        @property
        def mode(self) -> str:
            """Whose ids and framing these are: "v4", "v5" or "original"."""

        @property
        def model_max_length(self) -> int:
            """The longest row that the model takes; int(1e30) where unknown."""

        @property
        def padding_side(self) -> str:
            """Where padding goes, "right" or "left"."""

        @property
        def truncation_side(self) -> str:
            """Where tokens are cut off, "right" or "left"."""

        @property
        def model_input_names(self) -> list[str]:
            """The keys that a call returns by default, input_ids first."""

        @property
        def bos_token_id(self) -> int | None:
            """The id of `<s>`."""

        @property
        def sep_token_id(self) -> int | None:
            """The id of `</s>`."""

        @property
        def pad_token_id(self) -> int | None:
            """The id of `<pad>`."""

        @property
        def pad_token_type_id(self) -> int:
            """The token type of padding, 0."""

        @property
        def all_special_ids(self) -> list[int]:
            """The ids of all special tokens."""

        @property
        def lang2id(self) -> dict[str, int] | None:
            """The number of each language."""

        @property
        def split_special_tokens(self) -> bool:
            """Whether special tokens in a text are split like words."""

        # Another object as soon as anything changes that ids depend on.
        _state: object

        def _check_lang(self, lang: str) -> str: ...

        def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
            """The id of each token."""

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            """The token of each id."""

        def _ids_of_texts(
            self,
            texts: list[str] | list[list[str]],
            langs: list[str | None],
            *,
            words: bool,
            bypass: bool,
            split_special_tokens: bool,
            workers: int,
        ) -> list[list[int]]: ...

        def _alignment_of(
            self,
            text: str | list[str],
            lang: str | None,
            *,
            words: bool,
            bypass: bool,
            split_special_tokens: bool,
        ) -> list[tuple[int, int, int | None]]: ...

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Frame one sequence or two.

        Args:
            token_ids_0, token_ids_1: Their ids.

        Returns:
            A new list of ids.
        """
        opening, closing = self._frame()
        if token_ids_1 is None:
            return [opening, *token_ids_0, closing]
        return [opening, *token_ids_0, closing, *token_ids_1, closing]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token types of one sequence or two, framed.

        Args:
            token_ids_0, token_ids_1: Their ids, without special tokens.

        Returns:
            0 for the first sequence with its two special tokens, 1 for the second with its one.
        """
        first = [0] * (len(token_ids_0) + 2)
        return first if token_ids_1 is None else first + [1] * (len(token_ids_1) + 1)

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Where the special tokens of framed sequences are.

        Args:
            token_ids_0, token_ids_1: Ids without special tokens.
            already_has_special_tokens: `token_ids_0` is a whole row; what is special is seen by
                its id.

        Returns:
            1 for a special token, else 0.

        Raises:
            InputError: For a second sequence beside a whole row.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise InputError(
                    "get_special_tokens_mask got token_ids_1 with already_has_special_tokens=True, "
                    "which takes one whole row: give it all as token_ids_0."
                )
            special = set(self.all_special_ids)
            return [int(token in special) for token in token_ids_0]
        first = [1, *[0] * len(token_ids_0), 1]
        return first if token_ids_1 is None else [*first, *[0] * len(token_ids_1), 1]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens frame one sequence (2), or a pair (3)."""
        return 3 if pair else 2

    @property
    def max_len_single_sentence(self) -> int:
        """The longest sequence that fits in a row of `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """The longest pair, both lengths together, that fits in a row of `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def _frame(self) -> tuple[int, int]:
        """The ids of the opening and the closing special token."""
        closing = self.sep_token_id
        opening = closing if self.mode == "original" else self.bos_token_id
        if opening is None or closing is None:
            raise InputError(
                f"special tokens need bos_token and sep_token; this tokenizer has bos_token_id="
                f"{self.bos_token_id} and sep_token_id={closing}. Set them, or give "
                "add_special_tokens=False."
            )
        return opening, closing
