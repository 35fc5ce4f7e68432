"""What both tools do with lines: encode, let the model write, decode, count."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from conversion.generation.models import Rows, Writer
from conversion.generation.options import Search, WrittenAs
from conversion.generation.texts import Encoded, Texts
from conversion.line_by_line.work import Line, Result, json_line
from xlm_core.errors import GenerationError, InputError


class WritingWork(ABC):
    """Lets a model write for each line.

    Args:
        texts: Turns lines into ids and back.
        writer: The model.
        search: How to search.
        written_as: What is written.
        equal_lengths: Whether only lines of the same length may be computed together, because
            padding would change what the model writes.
    """

    def __init__(
        self,
        texts: Texts,
        writer: Writer,
        search: Search,
        written_as: WrittenAs,
        *,
        equal_lengths: bool = False,
    ) -> None:
        self.texts = texts
        self._writer = writer
        self._search = search
        self._written_as = written_as
        self._equal_lengths = equal_lengths

    @abstractmethod
    def size(self, item: Encoded) -> int:
        """Number of ids of a line; 0 if the model is not asked."""

    @abstractmethod
    def texts_of(self, item: Encoded, sequence: list[int]) -> dict[str, Any]:
        """What is said of a sequence in JSON; its "text" is what is written without."""

    @abstractmethod
    def counts_of(self, item: Encoded, sequence: list[int]) -> dict[str, int]:
        """What to add up of a sequence."""

    def prepare(self, lines: Sequence[Line]) -> Sequence[Encoded]:
        """The ids of each line."""
        return self.texts.encode(lines)

    def run(self, items: Sequence[Encoded]) -> Sequence[Result]:
        """Let the model write for lines."""
        if not self.size(items[0]):
            return [self._result(item, Rows([[]], None)) for item in items]
        results: list[Result] = []
        for group in self._groups(items):
            try:
                rows = self._writer.write([item.ids for item in group], **self._seed(group))
            except (GenerationError, InputError) as error:
                lines = ", ".join(str(item.line.number) for item in group)
                raise type(error)(f"{error} Counted from 0 among lines {lines}.") from error
            results += map(self._result, group, rows)
        return results

    def _groups(self, items: Sequence[Encoded]) -> Iterator[list[Encoded]]:
        """The items, or of those of equal length each group; they are sorted by length."""
        group: list[Encoded] = []
        for item in items:
            if group and self._equal_lengths and len(item.ids) != len(group[0].ids):
                yield group
                group = []
            group.append(item)
        yield group

    def _seed(self, group: Sequence[Encoded]) -> dict[str, int]:
        """Another seed for each batch: in all of them, rows draw the same numbers for a seed."""
        if self._search.seed is None or not self._search.do_sample:
            return {}
        name = f"{self._search.seed} {group[0].line.number}"
        return {"seed": zlib.crc32(name.encode("ascii"))}

    def _result(self, item: Encoded, rows: Rows) -> Result:
        described = [self.texts_of(item, sequence) for sequence in rows.sequences]
        counts = {"unknown subwords": item.unknown, "lines cut": int(item.cut > 0)}
        for sequence in rows.sequences:
            for name, count in self.counts_of(item, sequence).items():
                counts[name] = counts.get(name, 0) + count
        return Result(self._output(item, described, rows.scores), counts)

    def _output(
        self, item: Encoded, described: list[dict[str, Any]], scores: list[float] | None
    ) -> bytes:
        known = [None] * len(described) if scores is None else scores
        if self._written_as.json:
            for each, score in zip(described, known, strict=True):
                each["score"] = score
            values = {
                "line": item.line.number,
                "source": item.line.text,
                "tokens": item.tokens,
                "unknown": item.unknown,
                "cut": item.cut,
                "texts": described,
            }
            return json_line(values)
        if not self._written_as.nbest:
            return f"{described[0]['text']}\n".encode()
        parts = [
            " ||| ".join(
                (str(item.line.number - 1), each["text"])
                + (() if score is None else (f"{score:.6f}",))
            )
            for each, score in zip(described, known, strict=True)
        ]
        return "".join(f"{part}\n" for part in parts).encode()


class Translating(WritingWork):
    """Translates each line; one without words gives an empty line.

    Args:
        texts, writer, search, written_as: As in `WritingWork`.
        limit: How many ids a translation may have, of the number of ids of its source.
    """

    def __init__(
        self,
        texts: Texts,
        writer: Writer,
        search: Search,
        written_as: WrittenAs,
        *,
        limit: Callable[[int], int],
    ) -> None:
        super().__init__(texts, writer, search, written_as)
        self._limit = limit

    def size(self, item: Encoded) -> int:
        """Number of ids; 0 for a line without words."""
        return len(item.ids) if item.tokens else 0

    def texts_of(self, item: Encoded, sequence: list[int]) -> dict[str, Any]:
        """The translation."""
        written = self.texts.text(sequence)
        return {
            "text": written.text,
            "unknown": written.unknown,
            "at_limit": self._is_at_limit(item, sequence),
        }

    def counts_of(self, item: Encoded, sequence: list[int]) -> dict[str, int]:
        """Translations that reached the length limit."""
        return {"translations at the length limit": int(self._is_at_limit(item, sequence))}

    def _is_at_limit(self, item: Encoded, sequence: list[int]) -> bool:
        return bool(sequence) and len(sequence) >= self._limit(len(item.ids))


class Continuing(WritingWork):
    """Continues each line, a prompt; an empty one is continued from the beginning of a sentence."""

    def size(self, item: Encoded) -> int:
        """Number of ids."""
        return len(item.ids)

    def texts_of(self, item: Encoded, sequence: list[int]) -> dict[str, Any]:
        """The prompt with what follows, and that alone."""
        new = self._new(item, sequence)
        return {
            "text": self.texts.text([*item.ids, *new]).text,
            "continuation": self.texts.text(new).text,
            "tokens": len(new),
        }

    def counts_of(self, item: Encoded, sequence: list[int]) -> dict[str, int]:
        """Tokens that were generated."""
        return {"tokens generated": len(self._new(item, sequence))}

    def _new(self, item: Encoded, sequence: list[int]) -> list[int]:
        return sequence[len(item.ids) :]
