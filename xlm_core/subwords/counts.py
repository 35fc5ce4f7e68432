"""How often each word is seen in texts of several languages, some of which count more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from xlm_core.errors import TokenizerError
from xlm_core.tokenization.text.aligned_text import AlignedText
from xlm_core.tokenization.text.pipeline import Pipeline
from xlm_core.tokenization.words.chunks import ChunkEncoder
from xlm_core.tokenization.words.memory import Memory
from xlm_core.tokenization.words.word_encoder import Aligned, Ids


def sentences_to_read(sentences: Mapping[str, int], alpha: float = 0.5) -> dict[str, int]:
    """How many sentences of each language to count, so that small languages are not split up.

    A language with the share p of all sentences gets the share p ** alpha, all shares then
    made to sum to 1 again. As many are read in all as there are.

    Source: Lample & Conneau 2019, section 3.1, where alpha is 0.5.

    Args:
        sentences: How many each has.
        alpha: 1: every sentence once; 0: as many of each language.

    Raises:
        TokenizerError: If a language has none, or alpha is not between 0 and 1.
    """
    if not 0 <= alpha <= 1:
        raise TokenizerError(f"alpha is {alpha!r}: expected a number from 0 to 1.")
    if empty := [name for name, count in sentences.items() if count < 1]:
        raise TokenizerError(f"there is no text of {', '.join(empty)}: give each language some.")
    counts = np.array(list(sentences.values()), dtype=np.float64)
    shares = (counts / counts.sum()) ** alpha
    wanted = np.rint(counts.sum() * shares / shares.sum()).astype(int)
    return dict(zip(sentences, np.maximum(wanted, 1).tolist(), strict=True))


class WordCounts:
    """Counts the words of texts, as a tokenizer of one mode splits them.

    Args:
        mode: Of the tokenizer that the subwords are for: "v4", "v5" or "original".
        lowercase: Lowercase the words and remove their accents, as for the published models of
            one to fifteen languages.

    Attributes:
        counts: How often each word was seen.
    """

    def __init__(self, mode: str = "original", *, lowercase: bool = True) -> None:
        self.counts: Counter[str] = Counter()
        self._mode, self._lowercase = mode, lowercase
        self._numbered = _NumberedWords()
        self._encoders: dict[str, ChunkEncoder] = {}

    def add(self, text: str, language: str, times: int = 1) -> None:
        """Count the words of one text, `times` times over.

        Raises:
            MissingPackageError: If its language needs a segmenter that is not installed.
        """
        if times < 1:
            return
        if len(self._numbered.words) > _MOST_NUMBERED:
            self._numbered = _NumberedWords()
            self._encoders.clear()
        words = self._numbered.words
        for number, count in Counter(self._encoder(language).ids(text)).items():
            self.counts[words[number]] += count * times

    def _encoder(self, language: str) -> ChunkEncoder:
        if language not in self._encoders:
            pipeline = Pipeline(self._mode, language, lowercase=self._lowercase)
            self._encoders[language] = ChunkEncoder(pipeline, self._numbered, Memory())
        return self._encoders[language]


# Words that are numbered before all of them are forgotten, at about 150 bytes each.
_MOST_NUMBERED = 1_000_000


class _NumberedWords:
    """In the place of BPE and a vocabulary: the number of each word, in order of appearance."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}

    def ids(self, word: str) -> Ids:
        """The word's number alone."""
        number = self._numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        return (number,)

    def align(self, words: Iterable[AlignedText]) -> list[Aligned]:
        """The whole span of each word."""
        return [(0, len(word), number) for number, word in enumerate(words)]
