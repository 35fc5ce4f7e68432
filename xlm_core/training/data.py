"""The data of a run: its corpora and pairs, opened and checked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus
from xlm_core.corpus.info import vocab_size_of
from xlm_core.errors import ConfigError, TokenizerFileError, nearest, warn
from xlm_core.objectives import Batch, EvaluationBatches, Pairs, Task, TrainingBatches
from xlm_core.objectives.batch import IGNORED
from xlm_core.objectives.sources import PairOfCorpora, corpus_of, pair_of
from xlm_core.tokenization.files.vocabulary_files import (
    read_original_counts,
    vocabulary_of_words,
)
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD
from xlm_core.training.config import TrainingConfig
from xlm_core.training.opening import Opening, allow_open_files
from xlm_core.training.word_counts import Counts, count_ids, count_pairs, entropy_of

SPLITS = ("train", "valid", "test")
# The original's vocabulary in a tokenizer's folder: words and how often they were seen.
_VOCABULARY = "vocab"
# Of a model's configuration the special ids, by the tokenizer's attribute that says the same.
_SPECIAL_IDS = {
    "bos_index": "bos_token_id",
    "eos_index": "sep_token_id",
    "pad_index": "pad_token_id",
    "unk_index": "unk_token_id",
    "mask_index": "mask_token_id",
}


@dataclass(frozen=True)
class TrainingData:
    """What a run reads; `TrainingData.open` makes it.

    Files are mapped into memory: processes of one machine share them, and opening reads no id.

    Attributes:
        config: Of the run.
        tokenizer: The one that all corpora were made with.
        tokenizer_folder: Where it is.
        lang2id: Number of each language: the table that the configuration's model gives, else the
            tokenizer's if it has all languages of the run, else their names in order, as in the
            original.
        corpora: Of each split, the corpus of each language.
        pairs: Of each split, the two corpora of each pair, in the order of its name.
    """

    config: TrainingConfig
    tokenizer: XLMTokenizer
    tokenizer_folder: Path
    lang2id: Mapping[str, int]
    corpora: Mapping[str, Mapping[str, Corpus]]
    pairs: Mapping[str, Mapping[tuple[str, str], PairOfCorpora]]
    _counted: dict[Path, Counts] = field(default_factory=dict, repr=False, compare=False)
    # Of each pair the counts of both sentences, and how many pairs are read.
    _counted_pairs: dict[PairOfCorpora, tuple[Counts, Counts, int]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def open(cls, config: TrainingConfig, base: str | os.PathLike[str] = ".") -> TrainingData:
        """Open and check everything that a run reads.

        Args:
            config: Of the run.
            base: What its relative paths are relative to.

        Raises:
            TokenizerError: If the tokenizer's folder cannot be used.
            CorpusError: If a corpus is missing, damaged, empty, of another language or of another
                vocabulary, or if two of a pair do not belong together.
            ConfigError: If the languages contradict each other.
        """
        allow_open_files()
        folder = Path(base) / config.tokenizer
        try:
            tokenizer = XLMTokenizer.from_pretrained(folder)
        except TokenizerFileError as error:
            raise TokenizerFileError(
                f"{error} The configuration says tokenizer={config.tokenizer!r}, which is relative "
                f"to {os.fspath(base)!r}: expected what `xlm build-vocab` writes."
            ) from error
        opening = Opening(config, tokenizer, Path(base))
        corpora: dict[str, dict[str, Corpus]] = {}
        pairs: dict[str, dict[tuple[str, str], PairOfCorpora]] = {}
        for split in SPLITS:
            corpora[split], pairs[split] = opening.split(split)
        return cls(config, tokenizer, folder, _languages(config, tokenizer), corpora, pairs)

    # -- the model that the data is for ----------------------------------------------------------

    @cached_property
    def vocab_size(self) -> int:
        """Every id of the tokenizer is below it."""
        return vocab_size_of(self.tokenizer.get_vocab())

    @property
    def model_fields(self) -> dict[str, Any]:
        """The fields of `XLMConfig` that the tokenizer and the languages decide."""
        return {
            "vocab_size": self.vocab_size,
            **special_ids_of(self.tokenizer),
            "lang2id": dict(self.lang2id),
            "n_langs": max(self.lang2id.values()) + 1,
        }

    def model_config(self) -> XLMConfig:
        """The configuration of a model whose weights are drawn.

        That is the section "model" of the run, with vocabulary, special ids and languages from
        the data. A vocabulary or number of languages may be given larger than needed.

        Raises:
            ConfigError: For fields that are unknown, impossible, or contradict the data.
        """
        fields, given = self.model_fields, dict(self.config.model)
        named: set[str] = set()
        known = XLMConfig()
        for name, value in given.items():
            if not known.is_setting(name):
                names = [each for each in known if not each.startswith("_")]
                raise ConfigError(
                    f"model.{name} is unknown: expected fields of XLMConfig.{nearest(name, names)}"
                )
            # By its field's name: `n_words` is vocab_size.
            named.add(name := known.attribute_map.get(name, name))
            larger = name in ("vocab_size", "n_langs") and isinstance(value, int)
            if name in fields and not (value >= fields[name] if larger else value == fields[name]):
                raise ConfigError(
                    f"model.{name} is {value!r:.80}, and the tokenizer and the languages of the "
                    f"data need {fields[name]!r:.80}: leave it out."
                )
        translates = any(task.objective == "mt" for task in self.config.tasks)
        for name in () if translates else ("encoder_layers", "decoder_layers"):
            if given.get(name) is not None:
                raise ConfigError(
                    f"model.{name} is {given[name]!r:.80}, and without mt there is no "
                    "encoder-decoder: give n_layers."
                )
        if given.get("is_encoder_decoder", translates) != translates:
            raise ConfigError(
                f"model.is_encoder_decoder is {given['is_encoder_decoder']!r:.80}, and the "
                f"objectives {', '.join(self.config.objectives)} train a model where it is "
                f"{translates}: leave it out."
            )
        clm = any(task.objective == "clm" for task in self.config.tasks)
        if given.get("causal", clm) != clm:
            raise ConfigError(
                f"model.causal is {given['causal']!r}, and the objectives "
                f"{', '.join(self.config.objectives)} train a model with causal={clm}: leave it "
                "out."
            )
        needed = {name: value for name, value in fields.items() if name not in named}
        config = XLMConfig(**{**needed, **given, "causal": clm, "is_encoder_decoder": translates})
        return config.of_both_parts() if translates else config

    # -- batches ---------------------------------------------------------------------------------

    def batches(self, model_config: XLMConfig, *, parts: int | None = None) -> TrainingBatches:
        """The batches to train on.

        Args:
            model_config: Of the model; its languages count by name.
            parts: Of a global batch; None: as the configuration of the run says.

        Raises:
            ConfigError, CorpusError: If model and data do not go together.
        """
        settings = self.config.batches
        if parts is not None:
            settings = replace(settings, parts=parts)
        self._warn_of_short_texts()
        self._warn_of_empty_lines()
        return TrainingBatches(
            model_config,
            self.config.tasks,
            corpora=self.corpora["train"],
            pairs=self.pairs["train"],
            settings=settings,
            seed=self.config.seed,
            counts=self.counts(model_config.vocab_size) if settings.sample_alpha else None,
        )

    def _warn_of_short_texts(self) -> None:
        """Warn of text that fills less than half of one batch: the rest of it is `</s>`."""
        settings = self.config.batches
        whole = settings.stream_rows * settings.bptt
        short = []
        for task in self.config.tasks:
            if task.is_stream:
                tokens = len(corpus_of(task, self.corpora["train"]).sentences)
                if 2 * tokens < whole:
                    short.append(f"{task.name} has {tokens:,} tokens")
        if short:
            warn(
                f"{', '.join(short)}, and a batch of running text {whole:,}, of which the rest is "
                "</s>: choose a smaller batches.batch_size or batches.bptt."
            )

    def _warn_of_empty_lines(self) -> None:
        """Warn of running text of which `</s>` alone are a part: lines that keep pairs aligned."""
        streams = {task.languages[0] for task in self.config.tasks if task.is_stream}
        for split in SPLITS:
            found = []
            for name, corpus in self.corpora[split].items():
                empty = int(np.count_nonzero(corpus.positions[:, 0] == corpus.positions[:, 1]))
                if name in streams and empty > max(99, len(corpus.sentences) // 100):
                    found.append(f"{empty:,} of {len(corpus):,} in {name}")
            if found:
                warn(
                    f"data.{split} has empty lines ({', '.join(found)}): each is a </s> of running "
                    "text, which is learned and makes perplexity and accuracy look better. Make "
                    "the corpus of a language without them, and of a pair with them."
                )

    def check_evaluation(self, model_config: XLMConfig) -> None:
        """Find before a run begins what an evaluation would find after many updates.

        Args:
            model_config: As in `batches`.

        Raises:
            ConfigError, CorpusError: If a text cannot be evaluated, such as pairs that are all
                longer than the model has positions.
        """
        for split in ("valid", "test"):
            both = [each for pair in self.pairs[split].values() for each in pair]
            for corpus in (*self.corpora[split].values(), *both):
                self._count(corpus)  # its ids, which opening does not read
            for _ in self.evaluation(model_config, split):
                pass  # texts are checked when batches are asked for, which are made when taken

    def evaluation(
        self, model_config: XLMConfig, split: str
    ) -> Iterator[tuple[Task, Iterable[Batch]]]:
        """Each task that a split has text for, with its batches, which are made as they are taken.

        Args:
            model_config: As in `batches`.
            split: "valid" or "test".
        """
        made = EvaluationBatches(model_config, self.config.batches)
        for task in self.config.tasks:
            if self.config.has_text(split, task):
                yield (
                    task,
                    made.batches(task, corpora=self.corpora[split], pairs=self.pairs[split]),
                )

    # -- words -----------------------------------------------------------------------------------

    def counts(self, size: int) -> Counts:
        """How often each id was seen: for `sample_alpha`.

        As in the original, by the counts of the vocabulary, if the tokenizer's folder has its
        file; else they are counted in the text to train on.

        Args:
            size: Of the model's vocabulary.

        Returns:
            int64, shape (size,); 0 for special tokens.
        """
        counts = np.zeros(max(size, self.vocab_size), dtype=np.int64)
        counts[: self.vocab_size] = self._seen
        return counts[:size]

    @cached_property
    def _seen(self) -> Counts:
        """See `counts`; int64, shape (vocab_size,)."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        file = self.tokenizer_folder / _VOCABULARY
        if file.is_file():
            seen = read_original_counts(file)
            ids = self.tokenizer.get_vocab()
            for token, number in zip(vocabulary_of_words(seen), seen.values(), strict=True):
                if token in ids:
                    counts[ids[token]] = number
        else:
            read = [*self.corpora["train"].values()]
            read += [each for both in self.pairs["train"].values() for each in both]
            for corpus in {each.path: each for each in read}.values():
                counts += self._count(corpus)
            counts[self.tokenizer.all_special_ids] = 0
        return counts

    @property
    def counts_from(self) -> str:
        """Where `counts` takes them from, in words."""
        file = self.tokenizer_folder / _VOCABULARY
        if file.is_file():
            return f"words have their counts in {file}"
        return f"words are counted in the texts to train on (there is no {file})"

    def unigram_entropy(self, task: Task) -> float:
        """The loss, in nats, of predicting a task's labels from how often each comes, and no more.

        A model that learns anything falls below it. Counted is what is read: pairs that are left
        out, empty or too long, are not. With `sample_alpha` it is the entropy of one draw; a
        batch draws its words without replacement, which keeps them nearer to the text's
        frequencies: its labels have a little less (7.03 where one draw has 7.10, measured).

        Args:
            task: Of this run.
        """
        if task.is_stream:
            corpus = corpus_of(task, self.corpora["train"])
            labels, ends = self._count(corpus).copy(), len(corpus)
        else:
            both, swapped = pair_of(task, self.pairs["train"])
            corpus = both[0]
            *counts, pairs = self._count_pairs(both)
            # A pair has four `</s>`, of which the first is never predicted; a target one.
            if task.objective == "mt":
                labels, ends = counts[0 if swapped else 1].copy(), pairs
            else:
                labels, ends = counts[0] + counts[1], 3 * pairs
        labels[corpus.info.eos_id] += ends
        alpha = self.config.batches.sample_alpha
        if alpha and task.objective in ("mlm", "tlm"):
            seen = self.counts(self.vocab_size)
            weights = np.where(seen > 0, np.maximum(seen, 1.0) ** -alpha, 0.0)
            return entropy_of(labels * weights)
        return entropy_of(labels)

    def words_in(self, batch: Batch) -> int:
        """How many words end in the labels of a batch; each `</s>` counts as one, and each `<unk>`.

        A perplexity per word is exp of the sum of the losses divided by them.
        """
        labels = batch.labels[batch.labels != IGNORED]
        return int(np.count_nonzero(self._ends_of_words[labels]))

    @cached_property
    def _ends_of_words(self) -> npt.NDArray[np.bool_]:
        """Of each id, whether a word ends with it: bool, shape (vocab_size,).

        An `<unk>` may stand for any piece of a word, which its id does not say: it counts as one.
        """
        whole = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        ends = np.zeros(self.vocab_size, dtype=bool)
        for token, i in self.tokenizer.get_vocab().items():
            ends[i] = token.endswith(END_OF_WORD) or i in whole
        return ends

    def _count(self, corpus: Corpus) -> Counts:
        if corpus.path not in self._counted:
            self._counted[corpus.path] = count_ids(corpus, self.vocab_size)
        return self._counted[corpus.path]

    def _count_pairs(self, both: PairOfCorpora) -> tuple[Counts, Counts, int]:
        if both not in self._counted_pairs:
            pairs = Pairs(*both, self.config.batches.max_len)
            self._counted_pairs[both] = (*count_pairs(pairs, self.vocab_size), len(pairs))
        return self._counted_pairs[both]


def special_ids_of(tokenizer: XLMTokenizer) -> dict[str, int]:
    """The special ids of a model's configuration that a tokenizer's tokens have."""
    found = {name: getattr(tokenizer, attribute) for name, attribute in _SPECIAL_IDS.items()}
    return {name: i for name, i in found.items() if i is not None}


def _languages(config: TrainingConfig, tokenizer: XLMTokenizer) -> dict[str, int]:
    """The number of each language, see `TrainingData`.

    Raises:
        ConfigError: If the model's table is none, or lacks a language.
    """
    needed = sorted({language for task in config.tasks for language in task.languages})
    given = config.model.get("lang2id")
    if given is None:
        own = tokenizer.lang2id or {}
        return (
            dict(own) if own.keys() >= {*needed} else {name: at for at, name in enumerate(needed)}
        )
    is_table = isinstance(given, dict) and all(type(i) is int and i >= 0 for i in given.values())
    if not is_table or len({*given.values()}) < len(given):
        raise ConfigError(
            f"model.lang2id is {given!r:.80}: expected a number from 0 for each language, all "
            "different."
        )
    if missing := [language for language in needed if language not in given]:
        raise ConfigError(
            f"model.lang2id names {', '.join(given)}, and the objectives need "
            f"{', '.join(missing)} as well.{nearest(missing[0], given)}"
        )
    return dict(given)
