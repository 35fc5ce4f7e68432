"""The corpora of a run's configuration, opened and checked."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from xlm_core.corpus import INFO_FILE, Corpus
from xlm_core.errors import ConfigError, CorpusError, warn
from xlm_core.objectives import Pairs
from xlm_core.objectives.sources import PairOfCorpora
from xlm_core.objectives.tasks import DASHES
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.training.config import TrainingConfig

# Two for each corpus, and what a framework opens.
_MOST_FILES = 1 << 16


def allow_open_files() -> None:
    """Let this process and its readers have as many files open as the system allows."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Opening:
    """Opens the corpora of a run, each folder once."""

    def __init__(self, config: TrainingConfig, tokenizer: XLMTokenizer, base: Path) -> None:
        self.config, self.tokenizer, self.base = config, tokenizer, base
        self._opened: dict[Path, Corpus] = {}
        self._known: set[tuple[int, str]] = set()  # vocabularies that are the tokenizer's

    def split(self, split: str) -> tuple[dict[str, Corpus], dict[tuple[str, str], PairOfCorpora]]:
        """The corpora and the pairs of a split.

        Raises:
            CorpusError, ConfigError: See `TrainingData.open`.
        """
        corpora: dict[str, Corpus] = {}
        pairs: dict[tuple[str, str], PairOfCorpora] = {}
        for name, given in getattr(self.config.data, split).items():
            where, languages = f"data.{split}.{name}", name.split("-")
            if len(languages) > 2 or len({*languages, ""}) <= len(languages):
                raise ConfigError(
                    f'{where} names no language and no pair: expected a name such as "en" or '
                    f'"en-fr".{DASHES}'
                )
            paths = given if isinstance(given, list) else [given]
            opened = [
                self._corpus(path, language, where)
                for path, language in zip(paths, languages, strict=True)
            ]
            if len(opened) == 1:
                corpora[name] = opened[0]
            else:
                # Evaluations read what the model has positions for, however long.
                longest = self.config.batches.max_len if split == "train" else 0
                pairs[languages[0], languages[1]] = self._pair(opened, where, longest)
            if not any(
                name in ("-".join(task.languages), "-".join(reversed(task.languages)))
                for task in self.config.tasks
            ):
                tasks = ", ".join(task.name for task in self.config.tasks)
                warn(f"{where} is not read: no objective of this run ({tasks}) is about {name}.")
        return corpora, pairs

    def _corpus(self, given: str, language: str, where: str) -> Corpus:
        path = self.base / given
        try:
            corpus = self._opened.get(path) or self._open(path)
        except CorpusError as error:
            raise CorpusError(f"{where}: {error}") from error
        if not corpus.info.tokens:
            raise CorpusError(
                f"{where}: {path} holds no word, in {len(corpus)} sentences: give a corpus with "
                "some text."
            )
        found = corpus.info.languages
        if _base_of(language) not in map(_base_of, found):
            raise CorpusError(
                f"{where}: {path} is a corpus of {', '.join(found) or 'no language'}: expected one "
                f"of {language}. Were two of them swapped? If the text is {language}, make it anew "
                f"with --lang {language}."
            )
        if _written(language) not in map(_written, found):
            warn(
                f"{where}: {path} was split into words as {', '.join(found)}, and texts that the "
                f"trained model is given as {language} will be split by the rules of that name. "
                f"Call the language {found[0]}, or make the corpus anew with --lang {language}."
            )
        return corpus

    def _open(self, path: Path) -> Corpus:
        """Open a folder; what is no corpus is told as such.

        Raises:
            CorpusError: If it cannot be read, or has another vocabulary.
        """
        if not path.exists():
            raise CorpusError(
                f"there is no {path}: expected a corpus, the folder that `xlm tokenize --to "
                "corpus` makes."
            )
        if not (path / INFO_FILE).is_file():
            raise CorpusError(
                f"{path} is no corpus (a folder with {INFO_FILE}): make one of text by "
                "`xlm tokenize --to corpus`, or of the original's .pth by `xlm import-corpus`."
            )
        corpus = Corpus.open(path)
        vocabulary = corpus.info.vocab_size, corpus.info.vocab_digest
        if vocabulary not in self._known:  # once: a large one takes a while
            corpus.check_tokenizer(self.tokenizer)
            self._known.add(vocabulary)
        self._opened[path] = corpus
        if corpus.info.mode != self.tokenizer.mode:
            warn(
                f"{path} was split into words as in mode {corpus.info.mode!r}, and the tokenizer "
                f"splits as in {self.tokenizer.mode!r}: texts that the trained model is given will "
                "be split otherwise than those that it was trained on."
            )
        return corpus

    def _pair(self, opened: list[Corpus], where: str, longest: int) -> PairOfCorpora:
        first, second = opened
        try:
            pairs = Pairs(first, second, longest)
        except CorpusError as error:
            raise CorpusError(f"{where}: {error}") from error
        if 2 * pairs.left_out > len(first):
            limit = f" or longer than {longest} tokens (batches.max_len)" if longest else ""
            warn(
                f"{where}: {pairs.left_out:,} of {len(first):,} pairs are left out, because a "
                f"sentence is empty{limit}."
            )
        return first, second


def _base_of(language: str) -> str:
    """A language's name without what follows: "zh" of "zh_yue"."""
    return _written(language).partition("-")[0]


def _written(language: str) -> str:
    """A language's name in one spelling: "zh-tw" of "zh_TW"."""
    return language.replace("_", "-").lower()
