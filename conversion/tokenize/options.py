"""What becomes of a line of text, and which wishes contradict each other."""

from __future__ import annotations

from dataclasses import dataclass

from xlm_core.errors import InputError, nearest
from xlm_core.tokenization.calls.arguments import check_natural
from xlm_core.tokenization.tokenizer import XLMTokenizer

TARGETS = ("ids", "pieces", "words", "corpus")


@dataclass(frozen=True)
class Options:
    """What becomes of a line.

    Attributes:
        lang: The language of the text.
        to: What to write, one of `TARGETS`; "pieces" are subwords.
        add_special_tokens: Whether to frame ids and subwords as a model takes them.
        max_length: Largest number of ids, subwords or words a line; None for no limit.
    """

    lang: str
    to: str = "ids"
    add_special_tokens: bool = False
    max_length: int | None = None

    def check(self, tokenizer: XLMTokenizer) -> None:
        """Refuse options that make no sense, before anything is read or written.

        Raises:
            InputError: If the options contradict each other.
            UnknownLanguageError: If the tokenizer does not know `lang`.
        """
        if self.to not in TARGETS:
            raise InputError(
                f"to={self.to!r} is not known: expected one of {', '.join(TARGETS)}."
                f"{nearest(self.to, TARGETS)}"
            )
        if self.add_special_tokens and self.to in ("words", "corpus"):
            raise InputError(
                "Special tokens are added to ids and pieces; words have none, and a corpus ends "
                "each sentence in </s> by itself."
            )
        check_natural("max_length", self.max_length, 1)
        framing = tokenizer.num_special_tokens_to_add() if self.add_special_tokens else 0
        if self.max_length is not None and self.max_length < framing:
            raise InputError(
                f"max_length is {self.max_length}, but the special tokens alone need {framing}."
            )
        # Raises as well if the language needs a package that is not installed.
        tokenizer.tokenize("", lang=self.lang)
