"""Byte-pair encoding: splits a word into subwords by applying learned merges.

Source: Sennrich et al. 2016, section 3.2; fastBPE, whose codes XLM uses.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise, repeat

END_OF_WORD = "</w>"

_NO_MERGE = 1 << 62
# Beyond this many characters each pass over the whole word costs more than bookkeeping.
_LONG_WORD = 256

Pair = tuple[str, str]


class BPE:
    """Splits words into subwords.

    Args:
        ranks: Rank of each pair that may be merged; the lowest is merged first.
    """

    def __init__(self, ranks: Mapping[Pair, int]) -> None:
        self.ranks = dict(ranks)

    def split(self, word: str) -> list[str]:
        """Subwords of `word`; the last one ends in `END_OF_WORD`.

        Again and again, the pair of neighbours with the lowest rank is merged wherever it stands,
        from left to right.
        """
        symbols = list(word)
        symbols[-1] += END_OF_WORD
        if len(symbols) > _LONG_WORD:
            return self._merge_long(symbols)
        rank_of = self.ranks.get
        ranks = list(map(rank_of, pairwise(symbols), repeat(_NO_MERGE)))
        while ranks:
            lowest = min(ranks)
            if lowest == _NO_MERGE:
                break
            # More of the same pair may stand to the right; a merge can make no new one of them.
            while lowest in ranks:
                at = ranks.index(lowest)
                symbols[at] = symbol = symbols[at] + symbols.pop(at + 1)
                del ranks[at]
                if at:
                    ranks[at - 1] = rank_of((symbols[at - 1], symbol), _NO_MERGE)
                if at < len(ranks):
                    ranks[at] = rank_of((symbol, symbols[at + 1]), _NO_MERGE)
        return symbols

    def _merge_long(self, symbols: list[str]) -> list[str]:
        """`split` for a word so long that searching it anew for each merge would take too long.

        The word is a linked list; `places` has, for each rank, where its pair was seen, so that a
        merge touches its neighbours only.
        """
        rank_of = self.ranks.get
        count = len(symbols)
        following = [*range(1, count), -1]
        before = list(range(-1, count - 1))
        places: dict[int, list[int]] = {}
        for at in range(count - 1):
            rank = rank_of((symbols[at], symbols[at + 1]))
            if rank is not None:
                places.setdefault(rank, []).append(at)
        waiting = list(places)
        heapq.heapify(waiting)

        def see(at: int) -> None:
            rank = rank_of((symbols[at], symbols[following[at]]))
            if rank is not None:
                if rank not in places:
                    places[rank] = []
                    heapq.heappush(waiting, rank)
                places[rank].append(at)

        while waiting:
            rank = heapq.heappop(waiting)
            for at in sorted(places.pop(rank)):
                right = following[at]
                # Either half may have been merged into something else since.
                if right < 0 or rank_of((symbols[at], symbols[right])) != rank:
                    continue
                symbols[at] += symbols[right]
                symbols[right] = ""
                following[at] = after = following[right]
                following[right] = -1
                if after >= 0:
                    before[after] = at
                    see(at)
                if before[at] >= 0:
                    see(before[at])
        return [symbol for symbol in symbols if symbol]
