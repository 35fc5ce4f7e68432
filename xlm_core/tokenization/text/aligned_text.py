"""Text that tracks which characters of the original each of its characters came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat

from xlm_core.tokenization.text.rules import Rule

Span = tuple[int, int]


def hull(spans: Sequence[Span]) -> Span:
    """The smallest span that holds all of `spans`."""
    return min(start for start, _ in spans), max(end for _, end in spans)


@dataclass(frozen=True, slots=True)
class AlignedText:
    """A string, with the span of the original that each of its characters came from.

    Spans are half-open, in characters (code points) of the original, and never go backwards.
    """

    text: str
    spans: list[Span]

    @classmethod
    def of(cls, text: str, offset: int = 0) -> AlignedText:
        """`text` itself, unchanged so far; it begins at character `offset` of the original."""
        return cls(text, [(i, i + 1) for i in range(offset, offset + len(text))])

    def __getitem__(self, part: slice) -> AlignedText:
        return AlignedText(self.text[part], self.spans[part])

    def __len__(self) -> int:
        return len(self.text)

    def apply(self, rules: Iterable[Rule]) -> AlignedText:
        """Apply every rule in order, as `rules.apply` does to a plain string."""
        result = self
        for rule in rules:
            if rule.trigger in result.text:
                result = result._substitute(rule)
        return result

    def _substitute(self, rule: Rule) -> AlignedText:
        pieces: list[str] = []
        spans: list[Span] = []
        last = 0
        for match in rule.pattern.finditer(self.text):
            begin, end = match.span()
            pieces.append(self.text[last:begin])
            spans += self.spans[last:begin]
            last = end
            if callable(rule.replacement):
                parts: list[str | int] = [rule.replacement(match)]
            else:
                parts = list(rule.replacement)
            new = [match[part] if isinstance(part, int) else part for part in parts]
            pieces += new
            if sum(map(len, new)) == end - begin:
                # As long as before: character by character, also where two were swapped.
                spans += self.spans[begin:end]
                continue
            cursor = begin
            for i, part in enumerate(parts):
                if isinstance(part, int):
                    cursor = match.end(part)
                    spans += self.spans[match.start(part) : cursor]
                else:
                    following = [p for p in parts[i + 1 :] if isinstance(p, int)]
                    until = match.start(following[0]) if following else end
                    spans += self._spans_of_rewritten(cursor, until, part)
        pieces.append(self.text[last:])
        return AlignedText("".join(pieces), spans + self.spans[last:])

    def _spans_of_rewritten(self, begin: int, end: int, new: str) -> list[Span]:
        """The spans of the characters of `new`, which replaces [begin, end)."""
        if not new:
            return []
        old = self.spans[begin:end]
        visible = [s for s, c in zip(old, self.text[begin:end], strict=True) if not c.isspace()]
        if not old:
            edge = self.spans[begin - 1][1] if begin else self.spans[begin][0]
            return [(edge, edge)] * len(new)
        whole = hull(visible or old)
        if not visible:
            return [whole] * len(new)
        # As many as before: one by one. Otherwise each comes from all of them.
        one_by_one = len(visible) == sum(not c.isspace() for c in new)
        sources = iter(visible) if one_by_one else repeat(whole)
        last = whole[0], whole[0]
        spans = []
        for char in new:
            # A blank comes from nothing visible: it stands between its neighbours.
            last = (last[1], last[1]) if char.isspace() else next(sources)
            spans.append(last)
        return spans

    def strip(self) -> AlignedText:
        """Without white space at both ends, as `str.strip`."""
        begin = len(self.text) - len(self.text.lstrip())
        return self[begin : begin + len(self.text.strip())]

    def split(self) -> list[AlignedText]:
        """The words between white space, as `str.split`."""
        words, end = [], 0
        for word in self.text.split():
            begin = self.text.index(word, end)
            end = begin + len(word)
            words.append(self[begin:end])
        return words

    def insert_spaces(self, positions: Iterable[int]) -> AlignedText:
        """Insert a blank before the character at each of the sorted `positions`."""
        edges = [0, *positions, len(self.text)]
        text = " ".join(self.text[a:b] for a, b in pairwise(edges))
        spans: list[Span] = []
        for begin, end in pairwise(edges):
            if begin:
                spans.append((self.spans[begin - 1][1],) * 2)
            spans += self.spans[begin:end]
        return AlignedText(text, spans)

    def map_characters(self, function: Callable[[str], str]) -> AlignedText:
        """Replace each character by what `function` returns for it: none, one or several."""
        pieces = [function(char) for char in self.text]
        spans = [span for span, piece in zip(self.spans, pieces, strict=True) for _ in piece]
        return AlignedText("".join(pieces), spans)

    def with_text(self, text: str) -> AlignedText:
        """The same spans under another text of the same length."""
        if len(text) != len(self.text):
            raise ValueError(f"{len(self.text)} characters cannot become {len(text)}.")
        return AlignedText(text, self.spans)
