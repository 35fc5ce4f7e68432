"""The vocabulary of learned merges: the subwords of counted words, the most frequent first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from xlm_core.errors import TokenizerError
from xlm_core.tokenization.files.vocabulary_files import SPECIAL_WORDS
from xlm_core.tokenization.words.bpe import BPE, END_OF_WORD, Pair


def count_subwords(counts: Mapping[str, int], merges: Iterable[Pair]) -> dict[str, int]:
    """How often each subword is seen in counted words.

    Args:
        counts: How often each word was seen.
        merges: In order.

    Returns:
        The subwords as the original writes them, `@@` behind all but the last of a word: the
        most frequent first, then by text.
    """
    ranks: dict[Pair, int] = {}
    for rank, pair in enumerate(merges):
        ranks[pair] = rank
    bpe = BPE(ranks)
    seen: Counter[str] = Counter()
    for word, count in counts.items():
        *others, last = bpe.split(word)
        for piece in others:
            seen[f"{piece}@@"] += count
        seen[last.removesuffix(END_OF_WORD)] += count
    return dict(sorted(seen.items(), key=lambda entry: (-entry[1], entry[0])))


def words_of_vocabulary(
    counts: Mapping[str, int], *, smallest: int = 1, most: int | None = None
) -> dict[int, str]:
    """The word of each id: the original's 14 special words, then the subwords.

    Args:
        counts: Of subwords, from `count_subwords`.
        smallest: Leave out what is rarer.
        most: Ids in all, special words included; None: any number.

    Raises:
        TokenizerError: If no subword is left, or a number is not positive.
    """
    bounds = f"seen at least {smallest:,} times"
    if most is not None:
        bounds += f", at most {most:,} ids"
    if smallest < 1 or (most is not None and most < 1):
        raise TokenizerError(f"subwords {bounds} were asked for: expected positive numbers.")
    kept = [word for word, count in counts.items() if count >= smallest]
    words = [*SPECIAL_WORDS, *(word for word in kept if word not in SPECIAL_WORDS)]
    if most is not None:
        words = words[:most]
    if len(words) <= len(SPECIAL_WORDS):
        special = len(SPECIAL_WORDS)
        advice = "give more text, or a smaller number (--min-count)"
        if most is not None and most <= special:
            advice = f"expected more than {special} ids, of which so many are special"
        raise TokenizerError(
            f"no subword of {len(counts):,} is in the vocabulary ({bounds}): {advice}."
        )
    return dict(enumerate(words))
