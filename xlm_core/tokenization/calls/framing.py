"""The special tokens around sequences."""

from __future__ import annotations

from typing import Any

from xlm_core.errors import InputError, nearest
from xlm_core.tokenization.words.vocabulary import Vocabulary

FRAMINGS = ("sentence", "prompt")


class Framing:
    """Frames sequences with special tokens.

    `<s> A </s>` and `<s> A </s> B </s>`, as in transformers; in mode "original" `</s> A </s>` and
    `</s> A </s> B </s>`, as the models were trained. Token types are 0 up to the first closing
    `</s>`, and 1 for B and its `</s>`.

    Args:
        vocabulary: Has the tokens of the roles bos_token and sep_token.
        mode: "v4", "v5" or "original".
        kind: Another framing, whatever the mode: "sentence", `</s> A </s>`, as the models were
            pretrained and as translation takes its sources; "prompt", `</s> A`, which a causal
            model continues. None is that of the mode.
    """

    def __init__(self, vocabulary: Vocabulary, mode: str, kind: str | None = None) -> None:
        self._vocabulary = vocabulary
        self._mode = mode
        as_trained = mode == "original" or kind is not None
        self._opening_role = "sep_token" if as_trained else "bos_token"
        self.closes = kind != "prompt"

    def of_kind(self, kind: Any, *, pair: bool, add_special_tokens: bool) -> Framing:
        """The framing that a call asks for.

        Args:
            kind: "sentence", "prompt", or None for this one.
            pair: Whether there are second sequences.
            add_special_tokens: Whether the call wants any.

        Raises:
            InputError: For an unknown kind, or one that contradicts the others.
        """
        if kind is None:
            return self
        if kind not in FRAMINGS:
            raise InputError(
                f"framing={kind!r} is not known: expected 'sentence' (</s> text </s>), 'prompt' "
                f"(</s> text) or None.{nearest(kind, FRAMINGS)}"
            )
        if not add_special_tokens:
            raise InputError(f"framing={kind!r} with add_special_tokens=False: give one of them.")
        if pair and kind == "prompt":
            raise InputError("framing='prompt' is for one text that is continued, not for pairs.")
        return Framing(self._vocabulary, self._mode, kind)

    def special_ids(self) -> tuple[int, int]:
        """The ids of the opening and the closing special token.

        Raises:
            InputError: The tokenizer has no such token.
        """
        opening = self._vocabulary.id_of_role(self._opening_role)
        closing = self._vocabulary.id_of_role("sep_token")
        if opening is None or closing is None:
            raise InputError(
                "special tokens need bos_token and sep_token; this tokenizer has bos_token_id="
                f"{self._vocabulary.id_of_role('bos_token')} and sep_token_id={closing}. Set them, "
                "or give add_special_tokens=False."
            )
        return opening, closing

    def frame(self, first: list[list[int]], second: list[list[int]] | None) -> list[list[int]]:
        """Each row framed, as a new list.

        Args:
            first: Ids of the first sequence of each row.
            second: Ids of the second one; None for single sequences.
        """
        opening, closing = self.special_ids()
        if not self.closes:
            return [[opening, *ids] for ids in first]
        if second is None:
            return [[opening, *ids, closing] for ids in first]
        pairs = zip(first, second, strict=True)
        return [[opening, *ids, closing, *pair_ids, closing] for ids, pair_ids in pairs]

    def count(self, pair: bool) -> int:
        """How many special tokens frame one sequence (2; a prompt 1), or a pair (3)."""
        return 3 if pair else 1 + self.closes

    @staticmethod
    def token_types(first: int, second: int | None) -> list[int]:
        """0 for the first sequence and its two special tokens, 1 for the second and its one.

        Args:
            first: Length of the first sequence, without special tokens.
            second: Length of the second one, or None.
        """
        types = [0] * (first + 2)
        return types if second is None else types + [1] * (second + 1)

    def special_tokens_mask(self, first: int, second: int | None) -> list[int]:
        """1 for each special token of a framed row, else 0; lengths as in `token_types`."""
        mask = [1, *[0] * first, *[1] * self.closes]
        return mask if second is None else [*mask, *[0] * second, 1]
