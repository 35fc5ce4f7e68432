"""Lowercasing and the removal of accents, as XLM's lowercase_and_remove_accent.py does it.

Source: tools/lowercase_and_remove_accent.py of the original.
"""

from __future__ import annotations

from collections.abc import Callable
from unicodedata import category, combining, is_normalized, normalize

from xlm_core.tokenization.text.aligned_text import AlignedText, hull


class CharacterTable(dict[int, int | str | None]):
    """Table for `str.translate`, filled as characters occur; emptied before it grows large.

    Args:
        function: Returns what a character becomes; None removes it.
    """

    def __init__(self, function: Callable[[str], str | None]) -> None:
        self._function = function

    def __missing__(self, code: int) -> int | str | None:
        if len(self) >= _LARGEST_TABLE:
            self.clear()
        kept = self[code] = self._function(chr(code))
        return kept


# Far more than any text has in earnest.
_LARGEST_TABLE = 1 << 15

_WITHOUT_MARKS = CharacterTable(lambda char: None if category(char) == "Mn" else char)


def lowercase_and_remove_accent(word: str) -> str:
    """Lowercase, decompose (NFD), drop category Mn, lowercase again.

    A word, not a sentence: none of these steps looks across a blank.
    """
    word = word.lower()
    if word.isascii():
        return word
    if not is_normalized("NFD", word):
        word = normalize("NFD", word)
    return word.translate(_WITHOUT_MARKS).lower()


def lowercase_each(text: str) -> str:
    """Lowercase every character on its own, as transformers 4 does before it tokenizes.

    It differs from `str.lower` for sigma alone, which is never final here.
    """
    return text.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}").lower()


def lowercase_and_remove_accent_aligned(word: AlignedText) -> AlignedText:
    """`lowercase_and_remove_accent` with spans; a removed mark extends the span of its letter."""
    if word.text.isascii():
        return word.with_text(word.text.lower())
    word = _decompose(_lower(word))
    text = ""
    spans: list[tuple[int, int]] = []
    leading: list[tuple[int, int]] = []
    for char, span in zip(word.text, word.spans, strict=True):
        if category(char) != "Mn":
            text += char
            spans.append(hull([*leading, span]))
            leading = []
        elif spans:
            spans[-1] = hull([spans[-1], span])
        else:
            leading.append(span)
    # Canonical order may move one spacing mark before another; spans stay in the text's order.
    return _lower(AlignedText(text, sorted(spans)))


def _lower(word: AlignedText) -> AlignedText:
    return word.map_characters(str.lower).with_text(word.text.lower())


def _decompose(word: AlignedText) -> AlignedText:
    """NFD: every character on its own, then each run of marks in canonical order."""
    parts = word.map_characters(lambda char: normalize("NFD", char))
    characters = list(zip(parts.text, parts.spans, strict=True))
    begin = 0
    while begin < len(characters):
        end = begin
        while end < len(characters) and combining(characters[end][0]):
            end += 1
        if end > begin:
            characters[begin:end] = sorted(characters[begin:end], key=lambda c: combining(c[0]))
        begin = max(end, begin + 1)
    return AlignedText("".join(c for c, _ in characters), [s for _, s in characters])
