"""Texts to words, subwords and ids, and to where in the text each of these came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from xlm_core.errors import InputError
from xlm_core.tokenization.text.aligned_text import AlignedText, hull
from xlm_core.tokenization.text.pipeline import Pipeline
from xlm_core.tokenization.text.segmenters import Segmenter, segmenter_for
from xlm_core.tokenization.words.added_tokens import AddedToken, AddedTokens
from xlm_core.tokenization.words.bpe import BPE
from xlm_core.tokenization.words.chunks import ChunkEncoder, fill_holes
from xlm_core.tokenization.words.memory import Memory
from xlm_core.tokenization.words.vocabulary import Vocabulary
from xlm_core.tokenization.words.word_encoder import Aligned, WordEncoder

# Begin and end in the text or word, and the index of the word; None outside of words.
Origin = tuple[int, int, int | None]


class TextOptions(NamedTuple):
    """How the texts of a call are tokenized.

    Attributes:
        words: Each text is a list of words.
        bypass: Words, separated by blanks, go straight to BPE.
        split_special_tokens: Special tokens in a text are split like words.
    """

    words: bool = False
    bypass: bool = False
    split_special_tokens: bool = False


class TextEncoder:
    """Encodes texts: finds added tokens in them, and runs the pipeline and BPE on the rest.

    What it remembers depends on all of its arguments, so a tokenizer makes another one whenever
    one of them changes.

    Args:
        bpe: Splits words into subwords.
        vocabulary: Ids of subwords, and the tokens that are found in texts as they are.
        mode: "v4", "v5" or "original".
        lang: Language of texts for which none is given.
        check_language: Returns the language that is given for a text; raises if it is unknown.
        lowercase: Lowercase words and remove their accents.
        kytea_model: Path of the model with which KyTea splits Japanese.
        cache_size: How many words and chunks are remembered, at most.
    """

    def __init__(
        self,
        bpe: BPE,
        vocabulary: Vocabulary,
        *,
        mode: str,
        lang: str,
        check_language: Callable[[str], str],
        lowercase: bool,
        kytea_model: str,
        cache_size: int,
    ) -> None:
        self._mode = mode
        self._lang = lang
        self._check_language = check_language
        self._lowercase = lowercase
        self._kytea_model = kytea_model
        # transformers 4 lowercases before Moses: it takes do_lowercase_and_remove_accent for the
        # do_lower_case of other tokenizers.
        self._lowercases_first = mode == "v4" and lowercase
        added = vocabulary.added.values()
        normalized = [t.content for t in added if not t.special and t.normalized]
        self._added_tokens = AddedTokens(added, [*vocabulary.special_tokens(), *normalized])
        self._added_ids = vocabulary.added_ids
        self.memory = Memory(cache_size)
        self.word_encoder = WordEncoder(
            bpe,
            vocabulary.ids(),
            vocabulary.unknown_id,
            self.memory,
            perl=mode == "original",
        )
        self._chunk_encoders: dict[tuple[str | None, bool], ChunkEncoder] = {}
        self._segmenters: dict[str, Segmenter | None] = {}

    def chunk_encoder(self, lang: str | None, *, segmented: bool = False) -> ChunkEncoder:
        """The encoder of texts without added tokens, in one language.

        Args:
            lang: The language; None for the tokenizer's own.
            segmented: Texts are words that the caller has split.

        Raises:
            UnknownLanguageError: The language is unknown.
        """
        key = (lang, segmented)
        found = self._chunk_encoders.get(key)
        if found is None:
            language = self._lang if lang is None else self._check_language(lang)
            pipeline = Pipeline(
                self._mode,
                language,
                lowercase=self._lowercase,
                segmented=segmented,
                segmenter=self._segmenter(language),
            )
            found = ChunkEncoder(pipeline, self.word_encoder, self.memory)
            self._chunk_encoders[key] = found
        return found

    def _segmenter(self, language: str) -> Segmenter | None:
        if language not in self._segmenters:
            self._segmenters[language] = segmenter_for(language, kytea_model=self._kytea_model)
        return self._segmenters[language]

    # -- words and subwords -----------------------------------------------------------------

    def words(self, text: str, lang: str | None, options: TextOptions) -> list[str]:
        """The words of a text, as BPE gets them; added tokens are words."""
        pipeline = self.chunk_encoder(lang).pipeline
        words: list[str] = []
        for part, added in self.sections(checked_text(text), options):
            words += pipeline.words(part) if added is None else [added.content]
        return words

    def subwords(self, text: str, lang: str | None, options: TextOptions) -> list[str]:
        """The subwords of a text, and the added tokens between them."""
        text = checked_text(text)
        pipeline = self.chunk_encoder(lang).pipeline
        tokens: list[str] = []
        for part, added in self.sections(text, options):
            if added is not None:
                tokens.append(added.content)
                continue
            words = part.split() if options.bypass else pipeline.words(part)
            tokens += chain.from_iterable(map(self.word_encoder.pieces, words))
        return tokens

    def sections(self, text: str, options: TextOptions) -> Iterator[tuple[str, AddedToken | None]]:
        """The parts of a text between added tokens, and these, in order.

        The parts are lowercased where the mode does so before Moses.
        """
        if self._lowercases_first and not options.bypass:
            text = self._added_tokens.lowercase(text)
        if options.split_special_tokens or not self._added_tokens.found_in(text):
            yield text, None
            return
        for begin, end, added in self._added_tokens.sections(text):
            yield text[begin:end], added

    # -- ids --------------------------------------------------------------------------------

    def ids(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        langs: Sequence[str | None],
        options: TextOptions,
    ) -> list[list[int]]:
        """The ids of each text, without special tokens around them.

        Args:
            texts: Texts, or with `options.words` lists of words.
            langs: Language of each; None for the tokenizer's own.
            options: How they are tokenized.

        Raises:
            UnknownLanguageError: A language is unknown.
        """
        result: list[list[int]] = []
        for text, lang in zip(texts, langs, strict=True):
            encoder = self.chunk_encoder(lang, segmented=options.words)
            if isinstance(text, str):
                result.append(self._ids_of_text(text, encoder, options))
            else:
                words = (self._ids_of_text(word, encoder, options) for word in text)
                result.append(list(chain.from_iterable(words)))
        return result

    def _ids_of_text(self, text: str, encoder: ChunkEncoder, options: TextOptions) -> list[int]:
        # As `sections`, but most texts hold no added token and need no loop.
        bypass = options.bypass
        if self._lowercases_first and not bypass:
            text = self._added_tokens.lowercase(text)
        found = not options.split_special_tokens and self._added_tokens.found_in(text)
        if not found and not bypass:
            return encoder.ids(text)
        cuts = self._added_tokens.sections(text) if found else [(0, len(text), None)]
        ids: list[int] = []
        for begin, end, added in cuts:
            if added is not None:
                ids.append(self._added_ids[added.content])
            elif bypass:
                ids += chain.from_iterable(map(self.word_encoder.ids, text[begin:end].split()))
            else:
                ids += encoder.ids(text[begin:end])
        return ids

    # -- alignment --------------------------------------------------------------------------

    def align(
        self, text: str | Sequence[str], lang: str | None, options: TextOptions
    ) -> list[Origin]:
        """Where each id of a text comes from.

        Args:
            text: A text, or with `options.words` a list of words.
            lang: Its language; None for the tokenizer's own.
            options: How it is tokenized.

        Returns:
            Begin and end of each id in the text, or in its word, and the index of its word: of
            the words that Moses makes, or with `options.words` of those given.
        """
        encoder = self.chunk_encoder(lang, segmented=options.words)
        found: list[Origin] = []
        for index, part in enumerate(text if options.words else [checked_text(text)]):
            tokens: list[Aligned] = []
            for section in self._aligned_sections(part, encoder, options):
                first = tokens[-1][2] + 1 if tokens else 0
                tokens += [(begin, end, first + word) for begin, end, word in section]
            fill_holes(tokens)
            found += [(begin, end, index) for begin, end, _ in tokens] if options.words else tokens
        return found

    def _aligned_sections(
        self, text: str, encoder: ChunkEncoder, options: TextOptions
    ) -> Iterator[list[Aligned]]:
        """The subwords of each part of `text`, words counted from 0 within each."""
        aligned = AlignedText.of(text)
        if self._lowercases_first and not options.bypass:
            aligned = self._added_tokens.lowercase_aligned(aligned)
        cuts: list[tuple[int, int, AddedToken | None]] = [(0, len(aligned), None)]
        if not options.split_special_tokens and self._added_tokens.found_in(aligned.text):
            cuts = self._added_tokens.sections(aligned.text)
        for begin, end, added in cuts:
            part = aligned[begin:end]
            if added is not None:
                yield [(*hull(part.spans), 0)]
            elif options.bypass:
                yield self.word_encoder.align(part.split())
            elif part.text:
                yield encoder.align(part)


def checked_text(text: Any) -> str:
    """`text`, if it is a string.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(text, str):
        what = (
            "bytes: decode them first, as text.decode('utf-8')"
            if isinstance(text, bytes)
            else type(text).__name__
        )
        raise InputError(f"A text is a str; got {what}.")
    return text
