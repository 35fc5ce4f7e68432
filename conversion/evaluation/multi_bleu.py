"""BLEU of tokenized text, as multi-bleu.perl computes it.

The original measures its translations so: text as the model was trained on, its subwords joined,
words told apart by blanks and by nothing else. The figure depends on how both sides were
tokenized, and is to be compared with those of the original alone.

Source: Papineni et al. 2002; multi-bleu.perl of Moses, and eval_moses_bleu, create_reference_files
and restore_segmentation of the original.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from conversion.evaluation.figures import MULTI_BLEU, Bleu

_ORDERS = (1, 2, 3, 4)
_SUBWORD_ENDS = re.compile(r"(@@ )|(@@ ?\Z)")

# ASCII's blanks: to the script, text is bytes.
_BLANKS = re.compile(r"[ \t\n\v\f\r]+")


def multi_bleu(translations: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """BLEU of lines of tokenized text.

    Subwords are joined first. `<unk>` in a reference counts as a word that no translation has.

    Args:
        translations: The lines.
        references: One or more lists of as many lines.
    """
    matches, totals = Counter[int](), Counter[int]()
    length = reference_length = 0
    for translation, *others in zip(translations, *references, strict=True):
        words = _words(translation)
        sides = [_words(line.replace("<unk>", "<<unk>>")) for line in others]
        length += len(words)
        # The nearest in length, of two the shorter.
        reference_length += min((abs(len(side) - len(words)), len(side)) for side in sides)[1]
        for order in _ORDERS:
            largest: Counter[tuple[str, ...]] = Counter()
            for side in sides:
                largest |= _ngrams(side, order)
            found = _ngrams(words, order)
            matches[order] += (found & largest).total()
            totals[order] += found.total()
    precisions = [matches[n] / totals[n] if totals[n] else 0.0 for n in _ORDERS]
    if length == 0 or reference_length == 0:
        penalty = 0.0
    else:
        penalty = min(1.0, math.exp(1 - reference_length / length))
    score = 0.0
    if all(precisions):
        score = penalty * math.exp(sum(map(math.log, precisions)) / len(_ORDERS))
    return Bleu(
        score=100 * score,
        precisions=tuple(100 * each for each in precisions),
        brevity_penalty=penalty,
        ratio=length / reference_length if reference_length else 0.0,
        hypothesis_length=length,
        reference_length=reference_length,
        signature=MULTI_BLEU,
    )


def _words(line: str) -> list[str]:
    return [word for word in _BLANKS.split(_SUBWORD_ENDS.sub("", line)) if word]


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    shifted: Iterable[Sequence[str]] = (words[start:] for start in range(order))
    return Counter(zip(*shifted, strict=False))
