"""Learning merges: byte-pair encoding over counted words.

Source: Sennrich et al. 2016, section 3.2; the original uses fastBPE, which leaves the order among
equally frequent pairs to chance.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from xlm_core.errors import TokenizerError
from xlm_core.tokenization.words.bpe import END_OF_WORD, Pair

Integers = npt.NDArray[np.int64]

# In place of the position of a neighbour, or of the symbol of a position that is gone.
_NOWHERE = -1


def learn_merges(
    counts: Mapping[str, int],
    number: int,
    *,
    smallest: int = 1,
    progress: Callable[[int], None] = lambda merges: None,
) -> list[tuple[Pair, int]]:
    """Learn merges: again and again, the most frequent pair of neighbours becomes one symbol.

    Words are split into characters, the last of which bears `</w>`. Of pairs that are equally
    frequent, the one whose text comes first is merged: symbols are compared by their code points,
    the first of a pair before the second.

    Args:
        counts: How often each word was seen.
        number: Of merges to learn; fewer, if no pair is left.
        smallest: Pairs that are rarer are not merged.
        progress: Called with the number of merges learned so far.

    Returns:
        The pairs in order, each with how often it was seen when it was merged.

    Raises:
        TokenizerError: If there are no words, or a count is not positive.
    """
    if number < 0 or smallest < 1:
        raise TokenizerError(
            f"{number} merges of pairs seen {smallest} times were asked for: expected a number "
            "from 0, and at least 1."
        )
    if not counts:
        raise TokenizerError("there are no words to learn merges from.")
    if (least := min(counts.values())) < 1:
        raise TokenizerError(f"a word was counted {least} times: expected positive counts.")
    words = _Words(counts)
    learned: list[tuple[Pair, int]] = []
    while len(learned) < number:
        best = words.most_frequent()
        if best is None or best[1] < smallest:
            break
        pair, count = best
        learned.append(((words.symbols[pair[0]], words.symbols[pair[1]]), count))
        words.merge(pair)
        progress(len(learned))
    return learned


class _Words:
    """All words as one row of symbols, and where each pair of neighbours stands.

    A merge writes the new symbol over the first of the two, and takes the second out of the row:
    each position knows its neighbours, so that a merge touches nothing but its own surroundings.

    Attributes:
        symbols: The text of each.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        characters: dict[str, int] = {}
        row: list[int] = []
        weights: list[int] = []
        sizes: list[int] = []
        for word, count in counts.items():
            if not word:
                raise TokenizerError("a word is empty: expected words without blanks between them.")
            spelled = [*word[:-1], word[-1] + END_OF_WORD]
            row += [characters.setdefault(symbol, len(characters)) for symbol in spelled]
            weights.append(count)
            sizes.append(len(spelled))
        self.symbols = list(characters)
        self._ids = characters
        self._row = np.array(row, dtype=np.int32)
        # How often the word of each position was seen.
        self._weight = np.repeat(np.array(weights, dtype=np.int64), sizes)
        count = len(row)
        self._after = np.arange(1, count + 1, dtype=np.int64)
        self._before = np.arange(-1, count - 1, dtype=np.int64)
        ends = np.cumsum(sizes)
        self._after[ends - 1] = _NOWHERE
        self._before[ends - np.array(sizes)] = _NOWHERE
        self._seen: dict[tuple[int, int], int] = {}
        # Positions of the first symbol; some may be gone since.
        self._places: dict[tuple[int, int], list[Integers]] = {}
        # The most frequent first, then by text. A count that changed leaves an old entry behind.
        self._queue: list[tuple[int, str, str, tuple[int, int]]] = []
        self._add(np.flatnonzero(self._after != _NOWHERE))

    def most_frequent(self) -> tuple[tuple[int, int], int] | None:
        """The pair to merge and how often it is seen; None: no pair is left."""
        while self._queue:
            negative, _, _, pair = self._queue[0]
            if self._seen.get(pair, 0) == -negative:
                return pair, -negative
            heapq.heappop(self._queue)
        return None

    def merge(self, pair: tuple[int, int]) -> None:
        """Make every occurrence of `pair` one symbol."""
        first, second = pair
        text = self.symbols[first] + self.symbols[second]
        # Two pairs may spell the same symbol, and then make one.
        merged = self._ids.setdefault(text, len(self.symbols))
        if merged == len(self.symbols):
            self.symbols.append(text)
        at = np.unique(np.concatenate(self._places.pop(pair)))
        at = at[(self._row[at] == first) & (self._after[at] != _NOWHERE)]
        at = at[self._row[self._after[at]] == second]
        if first == second:
            at = self._without_overlaps(at)
        second_at = self._after[at]
        # Pairs with the symbols on either side are gone ...
        left, right = self._before[at], self._after[second_at]
        around = np.concatenate((left[left != _NOWHERE], at, second_at[right != _NOWHERE]))
        around = np.unique(around)
        self._remove(around)
        self._row[at] = merged
        self._row[second_at] = _NOWHERE
        self._after[at] = right
        self._before[right[right != _NOWHERE]] = at[right != _NOWHERE]
        self._after[second_at] = _NOWHERE
        # ... and others have come.
        left = self._before[at]
        around = np.unique(np.concatenate((left[left != _NOWHERE], at[right != _NOWHERE])))
        self._add(around[self._row[around] != _NOWHERE])
        self._seen.pop(pair, None)

    def _without_overlaps(self, at: Integers) -> Integers:
        """Of a symbol that follows itself, every second one from the left."""
        kept, last = [], _NOWHERE
        for position in at.tolist():
            if last == _NOWHERE or position != self._after[last]:
                kept.append(position)
                last = position
            else:
                last = _NOWHERE
        return np.array(kept, dtype=np.int64)

    def _grouped(self, at: Integers) -> tuple[list[tuple[int, int]], Integers, Integers, Integers]:
        """The pairs at these positions, how often each is seen, their order and its borders."""
        joined = self._row[at].astype(np.int64) << 32 | self._row[self._after[at]]
        order = np.argsort(joined, kind="stable")
        keys, starts = np.unique(joined[order], return_index=True)
        sums = np.add.reduceat(self._weight[at[order]], starts)
        pairs = [(key >> 32, key & 0xFFFFFFFF) for key in keys.tolist()]
        return pairs, sums, order, starts

    def _remove(self, at: Integers) -> None:
        if not len(at):
            return
        pairs, sums, _, _ = self._grouped(at)
        for pair, count in zip(pairs, sums.tolist(), strict=True):
            if pair in self._seen:
                self._seen[pair] -= count
                self._put(pair)

    def _add(self, at: Integers) -> None:
        if not len(at):
            return
        pairs, sums, order, starts = self._grouped(at)
        groups = np.split(at[order], starts[1:])
        for pair, count, places in zip(pairs, sums.tolist(), groups, strict=True):
            self._seen[pair] = self._seen.get(pair, 0) + count
            self._places.setdefault(pair, []).append(places)
            self._put(pair)

    def _put(self, pair: tuple[int, int]) -> None:
        if count := self._seen[pair]:
            first, second = (self.symbols[symbol] for symbol in pair)
            heapq.heappush(self._queue, (-count, first, second, pair))
