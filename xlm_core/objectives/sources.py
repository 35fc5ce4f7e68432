"""The corpora that a task reads."""

from __future__ import annotations

from collections.abc import Mapping

from xlm_core.corpus import Corpus
from xlm_core.errors import CorpusError
from xlm_core.objectives.tasks import Task

PairOfCorpora = tuple[Corpus, Corpus]


def corpus_of(task: Task, corpora: Mapping[str, Corpus]) -> Corpus:
    """The corpus of a task of one language.

    Raises:
        CorpusError: If there is none.
    """
    language = task.languages[0]
    if language not in corpora:
        found = ", ".join(sorted(corpora)) or "none"
        raise CorpusError(f"{task.name} needs a corpus of {language!r}: found {found}.")
    return corpora[language]


def pair_of(
    task: Task, pairs: Mapping[tuple[str, str], PairOfCorpora]
) -> tuple[PairOfCorpora, bool]:
    """The two corpora of a task of two languages, and whether they are in the other order.

    Raises:
        CorpusError: If there are none.
    """
    first, second = task.languages
    if (first, second) in pairs:
        return pairs[first, second], False
    if (second, first) in pairs:
        return pairs[second, first], True
    found = ", ".join("-".join(key) for key in sorted(pairs)) or "none"
    raise CorpusError(
        f"{task.name} needs pairs of sentences in {first} and {second}: found {found}."
    )
