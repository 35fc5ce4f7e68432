"""Lines to ids, and ids to lines: what both tools share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conversion.generation.options import TextOptions
from conversion.line_by_line.work import Line
from conversion.opening.tokenizers import ids_of_subwords
from xlm_core.tokenization.text.romanian import without_romanian_diacritics
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD


@dataclass(frozen=True)
class Encoded:
    """A line as a model takes it.

    Attributes:
        line: The line.
        ids: Its ids, framed.
        tokens: How many of these are not of the frame.
        unknown: How many are unknown to the vocabulary.
        cut: How many were cut off, because the model has no more positions.
    """

    line: Line
    ids: list[int]
    tokens: int
    unknown: int
    cut: int


@dataclass(frozen=True)
class Written:
    """A text that a model wrote.

    Attributes:
        text: The text.
        unknown: How many `<unk>` are in it.
    """

    text: str
    unknown: int


class Texts:
    """Turns lines of one language into ids, and ids into lines of another.

    Args:
        tokenizer: The tokenizer.
        options: How.
        framing: That of the lines, as the tokenizer's calls take it.
        lang: Language of the lines.
        written_lang: Language of what the model writes.
        bare_may_continue: Of lines of subwords, see `ids_of_subwords`.
        of_original: Whether the model is the original's, which has Romanian sources without
            diacritics; those of a run are as `xlm tokenize` makes them.
        positions: Most ids of a line, the frame included; more are cut off: at the end of a
            sentence, at the beginning of a prompt.
    """

    def __init__(
        self,
        tokenizer: XLMTokenizer,
        options: TextOptions,
        *,
        framing: str,
        lang: str,
        written_lang: str,
        positions: int,
        bare_may_continue: bool = False,
        of_original: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self._options = options
        self._framing = framing
        self._lang = lang
        self._written_lang = written_lang
        self._positions = positions
        self._bare_may_continue = bare_may_continue
        # What frames or fills sequences, and is no part of a text.
        self._silent = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self._special = set(tokenizer.all_special_tokens)
        # The original's own preprocessing of translations, which its tokenize.sh lacks.
        is_source = framing == "sentence" and tokenizer.mode == "original"
        self._romanian = of_original and is_source and lang == "ro"
        tokenizer.truncation_side = "left" if framing == "prompt" else "right"
        # Raises if a language needs a package that is not installed.
        if not options.input_is_bpe:
            tokenizer.tokenize("", lang=lang)
        if options.detokenize:
            tokenizer.detokenize("", lang=written_lang)

    def encode(self, lines: Sequence[Line]) -> list[Encoded]:
        """Encode lines."""
        tokenizer = self.tokenizer
        if self._options.input_is_bpe:
            bare = self._bare_may_continue
            rows = [
                ids_of_subwords(tokenizer, line.text.split(), bare_may_continue=bare)
                for line in lines
            ]
        else:
            texts = [line.text for line in lines]
            if self._romanian:
                texts = [without_romanian_diacritics(text) for text in texts]
            rows = tokenizer(
                texts,
                lang=self._lang,
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
        return [self._encoded(line, row) for line, row in zip(lines, rows, strict=True)]

    def _encoded(self, line: Line, row: list[int]) -> Encoded:
        tokenizer = self.tokenizer
        framed: list[int] = tokenizer.prepare_for_model(
            row,
            framing=self._framing,
            truncation=True,
            max_length=self._positions,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        tokens = len(framed) - (1 if self._framing == "prompt" else 2)
        kept = framed[1 : 1 + tokens]
        unknown = sum(i == tokenizer.unk_token_id for i in kept)
        return Encoded(line, framed, tokens, unknown, len(row) - tokens)

    def text(self, ids: Sequence[int]) -> Written:
        """The text of ids: words joined, special tokens left out but for `<unk>`."""
        kept = [i for i in ids if i not in self._silent]
        words: list[str] = []
        word = ""
        for token in self.tokenizer.convert_ids_to_tokens(kept):
            if token in self._special:
                words += [word, token] if word else [token]
                word = ""
            else:
                word += token
                if word.endswith(END_OF_WORD):
                    words.append(word.removesuffix(END_OF_WORD))
                    word = ""
        words = [each for each in (*words, word) if each]
        unknown = sum(i == self.tokenizer.unk_token_id for i in kept)
        if not self._options.detokenize:
            return Written(" ".join(words), unknown)
        return Written(self.tokenizer.detokenize(words, lang=self._written_lang), unknown)
