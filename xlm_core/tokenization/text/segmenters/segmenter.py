"""The base class of segmenters, for languages that are written without blanks between words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from xlm_core.distribution import install_command
from xlm_core.errors import InputError, MissingPackageError
from xlm_core.tokenization.text.aligned_text import AlignedText


class Segmenter(ABC):
    """Splits text into words, for one language that is written without blanks between words.

    To add a language, subclass this in a file of its own and list the class in
    `xlm_core.tokenization.text.segmenters.SEGMENTERS`. Import the package that does the work
    inside `split`, so that it loads when a text needs it, and raise `missing_package` without it.

    Attributes:
        language: Code of the language; also the extra that installs the package.
        package: The package that does the work.
        before_normalization: Split the text as the caller gave it; otherwise its punctuation is
            normalised first.
    """

    language: ClassVar[str]
    package: ClassVar[str]
    before_normalization: ClassVar[bool] = False

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The words of `text`, in order.

        Raises:
            MissingPackageError: The package is not installed.
        """

    def split_aligned(self, text: AlignedText) -> list[AlignedText]:
        """The words of `text`, each with the spans of its characters.

        Raises:
            InputError: The package returned a word that is not in the text.
        """
        return _cut(text, self.split(text.text))

    def missing_package(self) -> MissingPackageError:
        """The error that says how to install the package, or do without it."""
        error: MissingPackageError = MissingPackageError(
            f"Texts in {self.language!r} are split into words by {self.package}, which is not "
            f"installed. Install it with {install_command(self.language)}, or split the text "
            "yourself and pass the words with is_split_into_words=True (to learn-bpe, build-vocab "
            f"and tokenize, with blanks between them, as a language of another name: "
            f"{self.language}_split)."
        )
        return error


def _cut(text: AlignedText, words: Sequence[str]) -> list[AlignedText]:
    pieces, position = [], 0
    for word in words:
        begin = text.text.find(word, position)
        if begin < 0:
            raise InputError(
                f"The segmenter returned {word!r}, which is not in the rest of the text. Offsets "
                "cannot be given for this text; ask for ids alone."
            )
        position = begin + len(word)
        pieces.append(text[begin:position])
    return pieces
