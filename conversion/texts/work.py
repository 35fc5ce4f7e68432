"""What becomes of each line: fillings, scores or vectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conversion.line_by_line.work import Line, Result, json_line
from xlm_core.errors import InputError
from xlm_core.texts.embeddings import Encoder
from xlm_core.texts.filling import MaskFilling
from xlm_core.texts.forward import Array
from xlm_core.texts.preparing import Language, Preparation, Row, words_of
from xlm_core.texts.scoring import Scoring


@dataclass(frozen=True)
class Item:
    """A line as a model takes it.

    Attributes:
        line: The line.
        row: Its ids.
        source: Those of what it translates, where it does.
    """

    line: Line
    row: Row
    source: Row | None = None


class TextWork(ABC):
    """Asks a model about lines.

    Args:
        preparation: How lines become ids.
        lang: Their language.
        json: Whether to write JSON objects.
    """

    def __init__(self, preparation: Preparation, lang: Language, *, json: bool) -> None:
        self._preparation, self._lang, self._json = preparation, lang, json

    def prepare(self, lines: Sequence[Line]) -> Sequence[Item]:
        """The ids of each line."""
        texts = [(self.text_of(line), self._lang) for line in lines]
        rows = self._preparation.rows(texts, "line", first=lines[0].number)
        return [Item(line, row) for line, row in zip(lines, rows, strict=True)]

    def text_of(self, line: Line) -> str:
        """The text that is tokenized."""
        return line.text

    def size(self, item: Item) -> int:
        """Number of ids; of a source and its translation, those of the longer."""
        return max(len(row.ids) for row in _rows(item))

    @abstractmethod
    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """Compute a batch."""

    def result(self, item: Item, output: bytes) -> Result:
        """With what is counted: subwords that are unknown, and lines that were cut."""
        cut = self._cut(item) > 0
        return Result(output, {"unknown subwords": self._unknown(item), "lines cut": int(cut)})

    def json_of(self, item: Item, values: dict[str, Any]) -> bytes:
        """The JSON object of a line."""
        return json_line(
            {
                "line": item.line.number,
                "text": item.row.text,
                "unknown": self._unknown(item),
                "cut": self._cut(item),
                **values,
            }
        )

    def _unknown(self, item: Item) -> int:
        unknown: Any = self._preparation.tokenizer.unk_token_id  # None is in no row
        return sum(row.content.count(unknown) for row in _rows(item))

    def _cut(self, item: Item) -> int:
        return sum(row.cut for row in _rows(item))


def _rows(item: Item) -> list[Row]:
    return [item.row] if item.source is None else [item.row, item.source]


class FillingWork(TextWork):
    """Fills the masks of each line.

    Args:
        filling: The model.
        preparation, lang, json: As in `TextWork`.
    """

    def __init__(
        self, filling: MaskFilling, preparation: Preparation, lang: Language, *, json: bool
    ) -> None:
        super().__init__(preparation, lang, json=json)
        self._filling = filling

    def text_of(self, line: Line) -> str:
        """With the tokenizer's mask token in the place of what stands for a mask."""
        return self._filling.with_mask_token(line.text)

    def prepare(self, lines: Sequence[Line]) -> Sequence[Item]:
        """See `TextWork.prepare`; a line without a mask is refused."""
        items = super().prepare(lines)
        for item in items:
            self._filling.masks_of(item.row)
        return items

    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """The fillings of each mask."""
        found = self._filling.of_rows([item.row for item in items])
        return [
            self.result(item, self._output(item, masks))
            for item, masks in zip(items, found, strict=True)
        ]

    def _output(self, item: Item, masks: list[list[dict[str, Any]]]) -> bytes:
        if self._json:
            return self.json_of(item, {"masks": masks})
        parts = (
            f"{item.line.number - 1} ||| {place} ||| {each['token_str']} ||| {each['score']:.6f}\n"
            for place, fillings in enumerate(masks)
            for each in fillings
        )
        return "".join(parts).encode()


class ScoringWork(TextWork):
    """Scores each line; for an encoder-decoder, a source and its translation.

    Args:
        scoring: The model.
        preparation, lang, json: As in `TextWork`.
        translates: Whether a line is a source, a tab and its translation.
        src_lang: The language of the sources.
    """

    def __init__(
        self,
        scoring: Scoring,
        preparation: Preparation,
        lang: Language,
        *,
        json: bool,
        translates: bool,
        src_lang: Language,
    ) -> None:
        super().__init__(preparation, lang, json=json)
        self._scoring, self._translates, self._src_lang = scoring, translates, src_lang

    def text_of(self, line: Line) -> str:
        """The line, or the translation in it."""
        return self._parts(line)[1] if self._translates else line.text

    def _parts(self, line: Line) -> tuple[str, str]:
        parts = line.text.split("\t")
        if len(parts) != 2:
            raise InputError(
                f"line {line.number} has {len(parts) - 1} tabs: expected a source, a tab and its "
                "translation, as `paste SOURCES TRANSLATIONS` writes them."
            )
        return parts[0], parts[1]

    def prepare(self, lines: Sequence[Line]) -> Sequence[Item]:
        """See `TextWork.prepare`."""
        items = super().prepare(lines)
        if not self._translates:
            return items
        texts = [(self._parts(line)[0], self._src_lang) for line in lines]
        sources = self._preparation.rows(texts, "line", first=lines[0].number)
        pairs = zip(items, sources, strict=True)
        return [Item(item.line, item.row, source) for item, source in pairs]

    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """The score of each line."""
        sources = [item.source for item in items if item.source is not None]
        rows = [item.row for item in items]
        found = self._scoring.of_rows(rows, sources if self._translates else None)
        results = []
        for item, score in zip(items, found, strict=True):
            if self._json:
                values = {name: _finite(value) for name, value in asdict(score).items()}
                values["perplexity"] = _finite(score.perplexity)
                if item.source is not None:
                    values["source"] = item.source.text
                output = self.json_of(item, values)
            else:
                output = f"{score.log_prob:.6f}\n".encode()
            results.append(self.result(item, output))
        return results


class EncodingWork(TextWork):
    """Encodes each line.

    Args:
        encoder: The model.
        preparation, lang, json: As in `TextWork`.
        binary: Whether to write the bytes of vectors and nothing else, as in a .npy file.
    """

    def __init__(
        self,
        encoder: Encoder,
        preparation: Preparation,
        lang: Language,
        *,
        json: bool,
        binary: bool,
    ) -> None:
        super().__init__(preparation, lang, json=json)
        self._encoder, self._binary = encoder, binary

    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """The vectors of each line."""
        found = self._encoder.of_rows([item.row for item in items])
        return [
            self.result(item, self._output(item, vectors))
            for item, vectors in zip(items, found, strict=True)
        ]

    def _output(self, item: Item, vectors: Array) -> bytes:
        if self._binary:
            return vectors.tobytes()
        if not self._json:
            digits = {2: 5, 4: 9, 8: 17}[vectors.dtype.itemsize]
            return (" ".join(f"{x:.{digits}g}" for x in vectors.tolist()) + "\n").encode()
        if vectors.ndim == 1:
            return self.json_of(item, {"vector": _finite(vectors.tolist())})
        return self.json_of(item, {**self._names(item), "vectors": _finite(vectors.tolist())})

    def _names(self, item: Item) -> dict[str, list[str]]:
        """What the vectors of a line belong to."""
        tokenizer, options = self._preparation.tokenizer, self._encoder.options
        if options.pooling == "words":
            return {"words": words_of(tokenizer, item.row)[0]}
        ids = item.row.ids if options.include_frame else item.row.content
        return {"tokens": tokenizer.convert_ids_to_tokens(ids)}


def _finite(value: Any) -> Any:
    """Numbers that JSON does not have as None, in lists too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_finite(each) for each in value] if isinstance(value, list) else value
