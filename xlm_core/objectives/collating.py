"""Examples as a tokenizer gives them, collated to batches of an objective.

For training loops that bring their own data; runs over corpora have `TrainingBatches`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError
from xlm_core.objectives.batch import IGNORED, Ids
from xlm_core.objectives.examples import Example, ExampleReader
from xlm_core.objectives.making import language_id, next_words
from xlm_core.objectives.masking import Masking
from xlm_core.objectives.randomness import generator_of
from xlm_core.objectives.sentences import frame, join
from xlm_core.objectives.settings import ObjectiveSettings, SpecialIds, settings_of
from xlm_core.objectives.tasks import Task, check_objective

Arrays = dict[str, npt.NDArray[np.int64]]


class Collator:
    """Makes a batch of an objective from a list of examples.

    An example is what a tokenizer gives for one text: a mapping with `input_ids`, and perhaps
    `attention_mask`, or the ids alone. Its padding is dropped; a batch is padded on the right.

    - "mlm", "clm": `input_ids` are taken as they are framed.
    - "tlm", "mt": `input_ids` are a sentence and `labels` its translation, as a tokenizer gives
      them: `tokenizer(text, text_target=translation, lang="en", lang_target="fr")`. Special
      tokens at their ends are replaced by the frame that the objectives have: `</s>` at both
      ends of each.

    The batches are those of `TrainingBatches` for the same sentences: what is masked follows
    `Masking`, labels of "clm" are the next words, positions of "tlm" begin anew with the
    translation. transformers' DataCollatorForLanguageModeling differs: it never masks special
    tokens and may mask the first position, and its causal labels are the words themselves.

    Args:
        config: The model's: special ids, languages, positions.
        objective: "mlm", "clm", "tlm" or "mt".
        languages: Names of the language, or of the two, of all examples. Models of several
            languages need it, unless examples say theirs: `langs` (and for the translation
            `decoder_langs`), a number or one for each id, which then count.
        settings: word_pred, word_mask, word_keep, word_rand, sample_alpha, multiple_of (of words
            that are predicted) and context_size are looked at.
        counts: As in `Masking`.
        seed: What is masked depends on it, on the epoch, and on the `index` that each example
            then has to have; not on the process that collates. None: on the random numbers of
            the surroundings, `draw_seed`.
        pad_to_multiple_of: Pad to a multiple of it; None: to the longest.

    Attributes:
        epoch: With a seed, each epoch masks other words; `set_epoch` sets it.

    Raises:
        ConfigError: If objective, languages and model do not go together.
    """

    def __init__(
        self,
        config: XLMConfig,
        objective: str,
        languages: Sequence[str] | str = (),
        *,
        settings: ObjectiveSettings | None = None,
        counts: Sequence[int] | None = None,
        seed: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        check_objective(objective)
        _check_model(config, objective)
        self.config, self.objective = config, objective
        self.settings = settings_of(settings)
        self.ids = SpecialIds.of(config)
        self.masking = Masking(self.settings, self.ids, counts)
        self.seed, self.epoch = seed, 0
        self.pad_to_multiple_of = 1 if pad_to_multiple_of is None else pad_to_multiple_of
        if not isinstance(self.pad_to_multiple_of, int) or self.pad_to_multiple_of < 1:
            raise ConfigError(
                f"pad_to_multiple_of is {pad_to_multiple_of}: expected a positive whole number."
            )
        names = (languages,) if isinstance(languages, str) else tuple(languages)
        if names and len(names) != (2 if self._is_pair else 1):
            expected = "two: of the sentence and of its translation" if self._is_pair else "one"
            raise ConfigError(
                f"{objective} got the languages {', '.join(names)}: expected {expected}."
            )
        if names:
            Task(objective, names)  # which refuses one language twice
        self._languages: tuple[int, ...] = ()
        if config.n_langs > 1:
            self._languages = tuple(language_id(config, name) for name in names)
        self._reader = ExampleReader(
            words=self.ids.words,
            pad=self.ids.pad,
            languages=config.n_langs,
            translated=self._is_pair,
        )

    def set_epoch(self, epoch: int) -> None:
        """Say which pass over the data begins, as of PyTorch's DistributedSampler."""
        self.epoch = epoch

    def draw_seed(self) -> int:
        """What a batch is masked by where there is no seed: drawn from Python's random numbers."""
        return random.getrandbits(63)

    def arrays(self, examples: Iterable[Any]) -> Arrays:
        """Collate examples, without a framework.

        Returns:
            Arguments of a model by their names, int64: `input_ids` and `attention_mask` of shape
            (batch, sequence), `labels` of this shape (of "mt" those of the translations), and for
            models of several languages `langs`, for "tlm" `position_ids`, and for "mt"
            `decoder_langs`. For "mt" `decoder_input_ids` too, which a model would make of its
            labels: whoever computes the loss in its place may take these away.

        Raises:
            InputError: For examples that the objective cannot use.
        """
        if isinstance(examples, Mapping):
            raise InputError(
                f"the collator got one mapping of {', '.join(map(str, examples))}: expected a list "
                "of examples, each with the ids of one text."
            )
        read = [self._reader.read(at, each) for at, each in enumerate(examples)]
        if not read:
            raise InputError("the collator got no example: expected at least one.")
        if self.objective == "mt":
            return self._translations(read)
        batch = self._pairs(read) if self.objective == "tlm" else self._texts(read)
        if self.objective == "clm":
            labels = next_words(batch["input_ids"], batch.pop("lengths"))
            labels[:, : self.settings.context_size] = IGNORED
        else:
            batch["input_ids"], labels = self.masking.mask(
                batch["input_ids"], batch.pop("lengths"), self._generator(read)
            )
        return {**batch, "labels": labels}

    # -- of one objective ----------------------------------------------------------------------

    def _texts(self, examples: list[Example]) -> Arrays:
        ids, lengths = self._padded([each.ids for each in examples])
        batch = {"input_ids": ids, "lengths": lengths, "attention_mask": _mask(ids, lengths)}
        if self.config.n_langs > 1:
            batch["langs"] = np.empty_like(ids)
            for at, each in enumerate(examples):
                langs = self._langs(at, each, 0)
                batch["langs"][at] = langs[-1]  # in padding
                batch["langs"][at, : lengths[at]] = langs
        return batch

    def _pairs(self, examples: list[Example]) -> Arrays:
        first, second = self._sentences(examples)
        framed = frame(first, self.ids), frame(second, self.ids)
        for _, lengths in framed:
            self._check_positions(lengths.tolist())
        ids, lengths, positions, is_second = join(*framed, self.ids.pad)
        sides = ((0, 0), (0, -ids.shape[1] % self.pad_to_multiple_of))
        ids = np.pad(ids, sides, constant_values=self.ids.pad)
        batch = {
            "input_ids": ids,
            "lengths": lengths,
            "attention_mask": _mask(ids, lengths),
            "position_ids": np.pad(positions, sides, mode="edge"),
        }
        if self.config.n_langs > 1:
            for at, each in enumerate(examples):
                if each.langs is not None and each.decoder_langs is None:
                    raise InputError(
                        f"example {at} has langs, and no decoder_langs, the language of its "
                        "translation: give both or none. transformers' Trainer keeps "
                        "decoder_langs with remove_unused_columns=False."
                    )
            one, two = (self._of_sentences(examples, which) for which in (0, 1))
            batch["langs"] = np.where(np.pad(is_second, sides, mode="edge"), two, one)
        return batch

    def _translations(self, examples: list[Example]) -> Arrays:
        source, target = self._sentences(examples)
        eos = [self.ids.eos]
        ids, lengths = self._padded([np.concatenate((eos, each, eos)) for each in source])
        labels, target_lengths = self._padded([np.concatenate((each, eos)) for each in target])
        begin = np.full_like(labels[:, :1], self.ids.eos)
        decoder_ids = np.concatenate((begin, labels[:, :-1]), axis=1)
        labels[_mask(labels, target_lengths) == 0] = IGNORED
        batch = {
            "input_ids": ids,
            "attention_mask": _mask(ids, lengths),
            "decoder_input_ids": decoder_ids,
        }
        if self.config.n_langs > 1:
            batch["langs"] = np.broadcast_to(self._of_sentences(examples, 0), ids.shape).copy()
            targets = self._of_sentences(examples, 1)
            batch["decoder_langs"] = np.broadcast_to(targets, labels.shape).copy()
        return {**batch, "labels": labels}

    # -- parts of it ---------------------------------------------------------------------------

    @property
    def _is_pair(self) -> bool:
        return self.objective in ("tlm", "mt")

    def _generator(self, examples: Sequence[Example]) -> np.random.Generator:
        if self.seed is None:
            return generator_of(self.draw_seed(), "collated")
        indices = [each.index for each in examples if each.index is not None]
        if len(indices) < len(examples):
            raise InputError(
                "an example has no index, on which a collator with a seed draws: give each its "
                "number in the data as 'index' (transformers' Trainer keeps it with "
                "remove_unused_columns=False), or give no seed."
            )
        return generator_of(self.seed, "collated", self.objective, self.epoch, *indices)

    def _padded(self, rows: Sequence[Ids]) -> tuple[Ids, Ids]:
        """int64, shape (batch, longest or more), and lengths, int64, shape (batch,)."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self._check_positions(lengths.tolist())
        longest = int(lengths.max())
        width = min(
            longest + -longest % self.pad_to_multiple_of, self.config.max_position_embeddings
        )
        ids = np.full((len(rows), width), self.ids.pad, dtype=np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
        return ids, lengths

    def _check_positions(self, lengths: Sequence[int]) -> None:
        limit = self.config.max_position_embeddings
        for at, length in enumerate(lengths):
            if length > limit:
                raise InputError(
                    f"example {at} needs {length:,} positions, and the model has {limit:,} "
                    "(max_position_embeddings): let the tokenizer cut it off (truncation=True, "
                    "max_length=)."
                )

    def _sentences(self, examples: Sequence[Example]) -> tuple[list[Ids], list[Ids]]:
        """Sentences and translations, without special tokens at their ends."""
        opening, closing = (self.ids.eos, self.config.bos_index), self.ids.eos
        sides: tuple[list[Ids], list[Ids]] = ([], [])
        for each in examples:
            assert each.labels is not None
            for side, ids in zip(sides, (each.ids, each.labels), strict=True):
                bare = ids[1:] if len(ids) and ids[0] in opening else ids
                side.append(bare[:-1] if len(bare) and bare[-1] == closing else bare)
        return sides

    def _langs(self, at: int, example: Example, which: int) -> Ids:
        """The language of each id, or of all of them."""
        given = (example.langs, example.decoder_langs)[which]
        if given is not None and len(given):
            return given
        if not self._languages:
            raise InputError(
                f"example {at} has no {('langs', 'decoder_langs')[which]}, and the model has "
                f"{self.config.n_langs} languages: name them to the collator (languages=), or "
                "give their numbers."
            )
        return np.array([self._languages[which]], dtype=np.int64)

    def _of_sentences(self, examples: Sequence[Example], which: int) -> Ids:
        """The language of each sentence, int64, shape (batch, 1)."""
        found = [self._langs(at, each, which) for at, each in enumerate(examples)]
        for at, langs in enumerate(found):
            if (langs != langs[0]).any():
                raise InputError(
                    f"example {at} has several languages in a sentence: expected one of each."
                )
        return np.array([langs[:1] for langs in found])


def _check_model(config: XLMConfig, objective: str) -> None:
    if objective == "mt":
        if not config.is_encoder_decoder:
            raise ConfigError("mt trains an encoder-decoder, and this model is none.")
    elif config.is_encoder_decoder:
        raise ConfigError(
            f"{objective} trains a language model, and this one is an encoder-decoder: for its "
            'encoder, give config.part("encoder").'
        )
    elif config.causal != (objective == "clm"):
        raise ConfigError(
            f"{objective} trains a model with causal={objective == 'clm'}, and this one has "
            f"causal={config.causal}."
        )


def _mask(ids: Ids, lengths: Ids) -> Ids:
    """1 for tokens, 0 for padding: int64, shape (batch, sequence)."""
    return (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
