"""A text to its words: normalisation, segmentation or Moses, lowercasing, removal of accents.

There are two ways to the same words. `Pipeline.words_aligned` runs every step on the whole text
and tracks the span of each character: offsets come from it, and the fast way is tested against it.
`Pipeline.words_of_chunk` is the fast way: what stands between two blanks is nearly always tokenized
without regard to its neighbours, so each such chunk has to be looked at only once.
`xlm_core.tokenization.words.chunks.ChunkEncoder` adds BPE and a cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from unicodedata import category

from xlm_core.tokenization.text.accents import (
    CharacterTable,
    lowercase_and_remove_accent,
    lowercase_and_remove_accent_aligned,
)
from xlm_core.tokenization.text.aligned_text import AlignedText
from xlm_core.tokenization.text.moses import Moses, moses
from xlm_core.tokenization.text.punctuation import normalization, unicode_punctuation
from xlm_core.tokenization.text.romanian import ROMANIAN
from xlm_core.tokenization.text.rules import Rule, apply
from xlm_core.tokenization.text.segmenters import Segmenter, segmenter_for

MODES = ("v4", "v5", "original")


# Unicode's category C, which Moses' scripts turn into blanks and transformers deletes.
_CONTROL_TO_BLANK = CharacterTable(lambda char: " " if category(char)[0] == "C" else char)
_WITHOUT_CONTROL = CharacterTable(lambda char: None if category(char)[0] == "C" else char)


class Pipeline:
    """Everything that happens to a text before BPE, in one mode and one language.

    Args:
        mode: "v4", "v5" (alike here) or "original".
        language: Code such as "en".
        lowercase: Lowercase the words and remove their accents.
        segmented: Each text is a single word that the caller has split off: use no segmenter.
        segmenter: Splits a language that is written without blanks between words; default, a
            new one of the language.
    """

    def __init__(
        self,
        mode: str,
        language: str,
        *,
        lowercase: bool,
        segmented: bool = False,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.language = language
        self.lowercase = lowercase
        self.perl = mode == "original"
        self._segmenter = segmenter or segmenter_for(language)
        self.uses_moses = self._segmenter is None
        self._segmented = segmented
        rules = (*unicode_punctuation(self.perl), *normalization(language, self.perl))
        self._rules = rules
        # Most texts have nothing to normalise: two searches tell.
        self._ascii_rules = tuple(rule for rule in rules if rule.trigger.isascii())
        self._treats_beyond_ascii = _any_of(set(rules) - set(self._ascii_rules))
        self._treats_ascii = _any_of(rule for rule in self._ascii_rules if rule.trigger != "  ")
        self._control = _CONTROL_TO_BLANK if self.perl else _WITHOUT_CONTROL
        # The published models tokenized Romanian without its diacritics in transformers; the
        # original did so for translation alone, not in tokenize.sh.
        self._romanian = language == "ro" and not self.perl
        self._moses: Moses | None = None

    @property
    def moses(self) -> Moses:
        """The Moses tokenizer of the language, made when first needed."""
        if self._moses is None:
            self._moses = moses(self.language, self.perl)
        return self._moses

    # -- the plain path ---------------------------------------------------------------------

    def words_aligned(self, text: AlignedText) -> list[AlignedText]:
        """The words of `text`, each with its spans."""
        # Perl works line by line.
        lines = _lines(text) if self.perl else [text]
        return [word for line in lines for word in self._line_aligned(line)]

    def _line_aligned(self, line: AlignedText) -> list[AlignedText]:
        segmenter = self._segmenter
        segments_first = segmenter is not None and segmenter.before_normalization
        if segmenter is not None and segments_first and not self._segmented:
            line = _joined_by_blanks(segmenter.split_aligned(line))
        line = self.normalize_aligned(line)
        if segmenter is None:
            words = self.moses.words_aligned(line)
        elif segments_first:
            words = line.split()
        elif self._segmented:
            words = [line]
        else:
            words = segmenter.split_aligned(line)
        if self.lowercase:
            words = [lowercase_and_remove_accent_aligned(word) for word in words]
        if self.perl or self.lowercase:
            words = [part for word in words for part in _split_at_blanks(word)]
        return [word for word in words if word.text]

    def normalize_aligned(self, text: AlignedText) -> AlignedText:
        """`normalize` with spans."""
        if self.perl:
            # A line ends in its line break, and one rule looks at it.
            end = text.spans[-1][1] if text.spans else 0
            text = AlignedText(text.text + "\n", [*text.spans, (end, end)])
        text = text.apply(self._rules)
        text = text[: len(text) - 1] if self.perl else text.strip()
        if not text.text.isprintable():
            text = text.map_characters(lambda char: char.translate(self._control))
        return text.apply(ROMANIAN) if self._romanian else text

    # -- the fast path ----------------------------------------------------------------------

    def normalize(self, text: str) -> str:
        """`text` with its punctuation normalised and its control characters gone."""
        if self.perl:
            text += "\n"
        if not text.isascii() and self._treats_beyond_ascii(text):
            text = apply(self._rules, text)
        elif "  " in text or self._treats_ascii(text):
            text = apply(self._ascii_rules, text)
        text = text[:-1] if self.perl else text.strip()
        if not text.isprintable():
            text = text.translate(self._control)
        return apply(ROMANIAN, text) if self._romanian else text

    def words(self, text: str) -> list[str]:
        """The words of `text`, from every step on the whole of it, without spans."""
        if self.perl and "\n" in text:
            return [word for line in text.split("\n") for word in self.words(line)]
        segmenter = self._segmenter
        segments_first = segmenter is not None and segmenter.before_normalization
        if segmenter is not None and segments_first and not self._segmented:
            text = " ".join(segmenter.split(text))
        text = self.normalize(text)
        if segmenter is None:
            words = self.moses.words(text)
        elif segments_first:
            words = text.split()
        else:
            words = [text] if self._segmented else segmenter.split(text)
        if segmenter is None:
            if self.lowercase:
                words = [lowercase_and_remove_accent(word) for word in words]
        elif self.perl or self.lowercase:
            joined = " ".join(words)
            # At once, as none of its steps looks across a blank.
            words = (lowercase_and_remove_accent(joined) if self.lowercase else joined).split(" ")
        return [word for word in words if word]

    def words_of_chunk(self, chunk: str, left: str, right: str) -> list[str]:
        """The words of one chunk of a normalised text.

        Args:
            chunk: One or more of the parts between blanks.
            left: A word of one letter to stand before it, or "" for none.
            right: One to stand after it, or "" for none.
        """
        if self.moses.is_plain(chunk) and "MULTI" not in chunk:
            words = [chunk]
        else:
            words = self.moses.words(f"{left} {chunk} {right}")
            words = words[len(left) : len(words) - len(right)]
        if self.lowercase:
            words = [word for word in map(lowercase_and_remove_accent, words) if word]
        return words

    def align_chunk(self, chunk: str, left: str, right: str) -> list[AlignedText]:
        """`words_of_chunk`, each with its spans within the chunk."""
        if self.moses.is_plain(chunk) and "MULTI" not in chunk:
            words = [AlignedText.of(chunk)]
        else:
            text = AlignedText.of(f"{left} {chunk} {right}", -len(left) - 1)
            words = self.moses.words_aligned(text)
            words = words[len(left) : len(words) - len(right)]
        if self.lowercase:
            words = [word for word in map(lowercase_and_remove_accent_aligned, words) if word.text]
        return words


def _any_of(rules: Iterable[Rule]) -> Callable[[str], re.Match[str] | None]:
    """A search for characters without which none of `rules` can act: one of each trigger."""
    rarest = {
        min(rule.trigger, key=lambda char: (char.isascii(), char in " .,", char)) for rule in rules
    }
    return re.compile("[" + re.escape("".join(sorted(rarest))) + "]").search


def _lines(text: AlignedText) -> Iterator[AlignedText]:
    begin = 0
    for line in text.text.split("\n"):
        yield text[begin : begin + len(line)]
        begin += len(line) + 1


def _joined_by_blanks(words: list[AlignedText]) -> AlignedText:
    """The words with one blank between each two."""
    text = " ".join(word.text for word in words)
    spans: list[tuple[int, int]] = []
    for word in words:
        if spans:
            spans.append((spans[-1][1],) * 2)
        spans += word.spans
    return AlignedText(text, spans)


def _split_at_blanks(word: AlignedText) -> list[AlignedText]:
    parts, begin = [], 0
    for part in word.text.split(" "):
        parts.append(word[begin : begin + len(part)])
        begin += len(part) + 1
    return parts
