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
    corpus = corpora[language]
    if not isinstance(corpus, Corpus):
        raise CorpusError(
            f"the corpus of {language!r} is {corpus!r:.80}: expected a Corpus (Corpus.open)."
        )
    return corpus


def pair_of(
    task: Task, pairs: Mapping[tuple[str, str], PairOfCorpora]
) -> tuple[PairOfCorpora, bool]:
    """The two corpora of a task of two languages, and whether they are in the other order.

    Raises:
        CorpusError: If there are none.
    """
    first, second = task.languages
    for key in ((first, second), (second, first)):
        if key in pairs:
            both = pairs[key]
            if len(both) != 2 or not all(isinstance(each, Corpus) for each in both):
                raise CorpusError(
                    f"the pair {'-'.join(key)} is {both!r:.80}: expected two corpora "
                    "(Corpus.open), one of each language."
                )
            return (both[0], both[1]), key != task.languages
    found = ", ".join(x if isinstance(x, str) else "-".join(x) for x in sorted(pairs)) or "none"
    raise CorpusError(
        f"{task.name} needs pairs of sentences in {first} and {second}: found {found}."
    )
