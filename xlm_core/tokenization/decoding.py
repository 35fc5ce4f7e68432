"""Tokens back to text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xlm_core.tokenization.words.bpe import END_OF_WORD
from xlm_core.tokenization.words.vocabulary import Vocabulary

# What English tokenizers put a blank before, joined again if asked.
_JOINED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


def join_subwords(tokens: Sequence[str]) -> str:
    """Subwords as text, with a blank where a word ends."""
    return "".join(tokens).replace(END_OF_WORD, " ").strip()


def join_punctuation(text: str) -> str:
    """`text` without the blanks that English tokenizers put before punctuation."""
    for pattern in _JOINED[:4]:
        text = text.replace(pattern, pattern[1:])
    text = text.replace(" ' ", "'")
    for pattern in _JOINED[4:]:
        text = text.replace(pattern, pattern[1:])
    return text


class Decoder:
    """Joins tokens to a text, with added tokens spaced as the peer of each mode spaces them.

    "v4" puts blanks around added tokens that are not special, "v5" around none, "original" around
    all, as they stand in the original's files.

    Args:
        vocabulary: Tells which tokens are added or special.
        mode: "v4", "v5" or "original".
    """

    def __init__(self, vocabulary: Vocabulary, mode: str) -> None:
        self._vocabulary = vocabulary
        self._mode = mode

    def join(
        self,
        tokens: Sequence[str],
        join_run: Callable[[Sequence[str]], str],
        *,
        skip_special_tokens: bool,
        blanks: bool,
    ) -> str:
        """The text of tokens.

        Args:
            tokens: The tokens.
            join_run: Joins a run of tokens that stand between spaced ones.
            skip_special_tokens: Leave special tokens out.
            blanks: Put the blanks around added tokens.
        """
        if self._mode == "v5":
            return join_run(tokens)
        if skip_special_tokens:
            # An id that does not exist was decoded as the unknown token, which is special.
            special = set(self._vocabulary.special_tokens())
            tokens = [token for token in tokens if token not in special]
        spaced = self._spaced_tokens()
        parts: list[str] = []
        run: list[str] = []
        for token in (*tokens, None):
            if token is not None and token not in spaced:
                run.append(token)
                continue
            if run:
                joined = join_run(run)
                # transformers keeps an empty run at the end, and so the blank before it.
                if joined or token is None:
                    parts.append(joined)
                run = []
            if token is not None:
                parts.append(token)
        return (" " if blanks else "").join(parts)

    def _spaced_tokens(self) -> set[str]:
        vocabulary = self._vocabulary
        special = set(vocabulary.special_tokens())
        if self._mode == "original":
            return special | vocabulary.added_ids.keys()
        size = len(vocabulary.encoder)
        beyond = {t for t in vocabulary.additional or () if vocabulary.id_of(t) >= size}
        return (vocabulary.added_ids.keys() - special) | beyond
