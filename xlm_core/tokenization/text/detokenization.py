"""Words back to running text: no blanks where the language writes none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from unicodedata import normalize

# Languages that are written without blanks between words.
UNSPACED_LANGUAGES = frozenset(
    [
        "gan",
        "ja",
        "km",
        "lo",
        "my",
        "th",
        "wuu",
        "yue",
        "zh",
        "zh_classical",
        "zh_min_nan",
        "zh_yue",
    ]
)
# Han, kana, their punctuation and full-width forms; Thai, Lao, Burmese, Khmer.
_UNSPACED = (
    "\u2e80-\u2fdf\u3000-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003134f\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_BLANK = re.compile(f"(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])")


class Detokenizer:
    """Joins words as a language writes them.

    Moses' detokenizer.perl, in the Python of sacremoses: punctuation and brackets lose the blanks
    that Moses put around them, and contractions those of English, French, Italian and so on. In
    languages written without blanks (Chinese, Japanese, Thai and some others), a blank stays only
    between two characters neither of which belongs to such a script, as in "Linux 6"; Korean
    writes blanks, and keeps them. Czech is joined by what all languages share: in sacremoses, its
    own rules look at the end of the sentence in place of the word before, and can fail.

    Args:
        language: Code such as "en"; an unknown one gets what all languages share.
    """

    def __init__(self, language: str) -> None:
        # It takes a moment to load, and few programs detokenize.
        from sacremoses import MosesDetokenizer

        # Where accents were removed, syllables are letters by themselves (NFD).
        self._composes = language == "ko"
        self._unspaced = language in UNSPACED_LANGUAGES
        self._moses = MosesDetokenizer(lang="" if language == "cs" else language)

    def join(self, words: Sequence[str]) -> str:
        """The text of words, as a tokenizer's `words` splits them."""
        if self._composes:
            words = [normalize("NFC", word) for word in words]
        # The tokenizer escapes nothing, so there is nothing to unescape.
        joined = str(self._moses.detokenize(words, unescape=False))
        return _BLANK.sub("", joined) if self._unspaced else joined


@lru_cache(maxsize=128)
def detokenizer_of(language: str) -> Detokenizer:
    """The detokenizer of a language, made when first needed."""
    return Detokenizer(language)
