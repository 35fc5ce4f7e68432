"""A checkpoint for another vocabulary and other languages: rows are copied by what they stand for.

Source: none: the original only reloads models of the same vocabulary and languages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xlm_core.checkpoints import Checkpoint, match_checkpoint
from xlm_core.checkpoints.fitting import class_of
from xlm_core.checkpoints.original import Original
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import Array, LazyTensor
from xlm_core.containers.sources import read_bytes
from xlm_core.errors import CheckpointError, TokenizerFileError
from xlm_core.hub import is_hub_name
from xlm_core.tokenization.files.folder import ADDED_TOKENS_FILE, VOCAB_FILE
from xlm_core.tokenization.files.vocabulary_files import check_vocabulary, vocabulary_of_words
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.training.drawing import drawn_value
from xlm_core.weights import ENCODER_DECODER, TensorSpec, name_of, tensors_of

LANGUAGE_MODEL = "XLMWithLMHeadModel"
# Fields of a configuration that are ids of the vocabulary.
SPECIAL_IDS = ("bos_index", "eos_index", "pad_index", "unk_index", "mask_index")
# That of weights beside which nothing lies.
NO_FILE = Path(os.devnull) / "none"
_WORDS = (("embeddings", "weight"), ("proj", "weight"), ("proj", "bias"))
_LANGUAGES = ("lang_embeddings", "weight")
_POSITIONS = ("position_embeddings", "weight")


@dataclass(frozen=True)
class Copied:
    """What was copied of a checkpoint by name.

    Attributes:
        words: Number of words of the new vocabulary that the old one has.
        of: Number of words of the new vocabulary.
        languages: Names of the languages whose embeddings were copied.
        fresh_languages: Names of those that are drawn.
        zero_languages: Names of those that are zeros: the old model had no such embeddings, and
            their texts are read as before.
        positions: Number of positions that were copied, if not all of the model's; else None.
    """

    words: int
    of: int
    languages: tuple[str, ...]
    fresh_languages: tuple[str, ...]
    zero_languages: tuple[str, ...] = ()
    positions: int | None = None

    def text(self) -> str:
        """One line of each."""
        lines = [f"{self.words:,} of {self.of:,} words copied, {self.of - self.words:,} drawn"]
        if self.languages or self.fresh_languages:
            both = (", ".join(x) or "none" for x in (self.languages, self.fresh_languages))
            lines.append("languages copied: {}; drawn: {}".format(*both))
        if self.zero_languages:
            names = ", ".join(self.zero_languages)
            lines.append(f"languages that start from zeros, which add nothing: {names}")
        if self.positions is not None:
            lines.append(f"{self.positions:,} positions copied")
        return "\n".join(lines)


def words_of(checkpoint: Checkpoint) -> dict[str, int] | None:
    """The vocabulary of a checkpoint, as its tokenizer has it; None: it brings none.

    Raises:
        TokenizerError: If its files are damaged.
    """
    words = None if checkpoint.original is None else checkpoint.original.words
    held = checkpoint.text_files.get(VOCAB_FILE)
    has_file = held is not None or (checkpoint.folder / VOCAB_FILE).is_file()
    # A dictionary of another size is of before the vocabulary was resized.
    if words is not None and (len(words) == checkpoint.config.vocab_size or not has_file):
        return vocabulary_of_words(words)
    if held is not None:
        vocabulary = json.loads(read_bytes(held, 0, held.size))
        check_vocabulary(vocabulary, f"{VOCAB_FILE} in {checkpoint.source}")
        added = checkpoint.text_files.get(ADDED_TOKENS_FILE)
        more = {} if added is None else json.loads(read_bytes(added, 0, added.size))
        return {**vocabulary, **more}
    if not Path(checkpoint.source).exists() and is_hub_name(checkpoint.source):
        try:
            found = XLMTokenizer.from_pretrained(checkpoint.source)
        except TokenizerFileError:
            return None
    elif not any(checkpoint.folder.glob("vocab*")):
        return None
    else:
        found = XLMTokenizer.from_pretrained(checkpoint.folder)
    return found.get_vocab()


def rows_by_name(
    checkpoint: Checkpoint,
    words: Mapping[str, int],
    fields: Mapping[str, Any],
    seed: int,
) -> tuple[Checkpoint, Copied]:
    """A checkpoint with the rows of another vocabulary and of other languages.

    Of every word that both vocabularies have, and of other special words by their roles, embedding
    and output are copied; of every language that both have by name, its embedding. Everything else
    of these tables is drawn. Positions are copied as far as both have them. Where the checkpoint
    has no embeddings of languages, those of its own languages are zeros, which add nothing, and
    those of all are if it names none.

    Args:
        checkpoint: Of a language model, an encoder with any head, or an encoder-decoder.
        words: The new vocabulary.
        fields: Of the configuration: vocab_size, special ids, lang2id, n_langs, and any others.
        seed: Of what is drawn.

    Returns:
        A checkpoint of a language model or an encoder-decoder, and what was copied.

    Raises:
        CheckpointError: If its words or languages are not known by name, or it has an adaptive
            softmax, or does not fit its own configuration.
    """
    old = checkpoint.config
    if old.asm:
        raise CheckpointError(
            f"{checkpoint.source} has an adaptive softmax, whose clusters follow the frequency of "
            "its words: it goes on with its own vocabulary alone (match = 'all')."
        )
    own = words_of(checkpoint)
    if own is None:
        raise CheckpointError(
            f"{checkpoint.source} brings no vocabulary, so that its words are not known by name: "
            "put its tokenizer's files (vocab.json, merges.txt) beside it."
        )
    architecture = ENCODER_DECODER if class_of(checkpoint) == ENCODER_DECODER else LANGUAGE_MODEL
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    found = {spec.path: (spec, tensor) for spec, tensor in match.found}
    config = old.copy(
        **{**_spread_of(checkpoint), **fields, "id2lang": None, "architectures": [architecture]}
    )
    config = config.copy(**_ids_in_use(old, config, own, words))
    copy_words = _word_rows(old, config, own, words)
    known = (old.lang2id or {}) if old.has_lang_embeddings else {}
    if old.has_lang_embeddings and config.has_lang_embeddings and not known:
        raise CheckpointError(
            f"{checkpoint.source} has embeddings of {old.n_langs} languages, and does not say "
            "which (lang2id): name them in its config.json."
        )
    zeros = _zero_languages(old, config)
    tensors: dict[str, LazyTensor] = {}
    positions = None
    for spec in tensors_of(config, architecture):
        if spec.tied_to is not None or not spec.trainable:
            continue
        held, kind = found.get(spec.path), tuple(spec.path.split(".")[-2:])
        if kind in _WORDS and held is not None:
            tensor = _copied(held[1], copy_words, spec, config, seed)
        elif kind == _LANGUAGES:
            ids = [(known[n], i) for n, i in (config.lang2id or {}).items() if n in known]
            tensor = _copied(None if held is None else held[1], ids, spec, config, seed)
            tensor = _with_zeros(tensor, [(config.lang2id or {})[name] for name in zeros])
        elif kind == _POSITIONS and held is not None and held[1].shape != spec.shape:
            positions = min(held[1].shape[0], spec.shape[0])
            ids = [(i, i) for i in range(positions)]
            tensor = _copied(held[1], ids, spec, config, seed)
        elif held is not None:
            tensor = held[1]
        else:
            tensor = None
        if tensor is not None:
            tensors[_name(spec, architecture)] = tensor
    languages = (config.lang2id or {}) if config.has_lang_embeddings else {}
    copied = Copied(
        len({new for _, new in copy_words} & {*words.values()}),
        len(words),
        tuple(name for name in languages if name in known),
        tuple(name for name in languages if name not in known and name not in zeros),
        zeros,
        positions,
    )
    listed = sorted(words, key=words.__getitem__)
    made = replace(
        checkpoint,
        config=config,
        tensors=tensors,
        # So that two parts are compared by the words that they have now.
        original=Original(words=tuple(listed)),
        text_files={},
        beside=match.left_out,
        # What the folder says of generation is in ids of its own vocabulary.
        file=NO_FILE,
    )
    return made, copied


def _zero_languages(old: XLMConfig, new: XLMConfig) -> tuple[str, ...]:
    """The languages whose new embeddings are zeros, so that the model stays the same function.

    A model without embeddings of languages adds nothing to its words. Of one that names no
    language, any may be its own.
    """
    if old.has_lang_embeddings or not new.has_lang_embeddings:
        return ()
    return tuple(name for name in new.lang2id or {} if not old.lang2id or name in old.lang2id)


def _with_zeros(table: LazyTensor, rows: list[int]) -> LazyTensor:
    """A table with zeros in some rows."""
    if not rows:
        return table
    value = table.read().copy()
    value[rows] = 0
    return LazyTensor.of(value)


def _spread_of(checkpoint: Checkpoint) -> dict[str, float]:
    """How far drawn embeddings of the original lie apart, which its files do not say."""
    original = checkpoint.original
    if original is None or "embed_init_std" in original.params:
        return {}
    return {"embed_init_std": checkpoint.config.emb_dim**-0.5}


def _name(spec: TensorSpec, architecture: str) -> str:
    return str(name_of(spec, "torch", architecture))


def _word_rows(
    old: XLMConfig, new: XLMConfig, own: Mapping[str, int], words: Mapping[str, int]
) -> list[tuple[int, int]]:
    """The rows of words, in the old tables and in the new ones."""
    ids = {
        i: own[word] for word, i in words.items() if own.get(word, old.vocab_size) < old.vocab_size
    }
    for name in SPECIAL_IDS:
        # A mask is a mask, whatever it is called.
        ids.setdefault(getattr(new, name), getattr(old, name))
    return [(before, i) for i, before in ids.items() if i < new.vocab_size]


def _ids_in_use(
    old: XLMConfig, new: XLMConfig, own: Mapping[str, int], words: Mapping[str, int]
) -> dict[str, int | None]:
    """What transformers' generation appends, and its language, under their new numbers."""
    by_id = dict(_word_rows(old, new, own, words))
    of_language = {i: name for name, i in (old.lang2id or {}).items()}
    language = of_language.get(old.lang_id if old.lang_id is not None else -1)
    return {
        "mask_token_id": None
        if old.mask_token_id is None
        else by_id.get(old.mask_token_id, new.mask_index),
        "lang_id": None if old.lang_id is None else (new.lang2id or {}).get(language or "", 0),
    }


def _copied(
    table: LazyTensor | None,
    ids: list[tuple[int, int]],
    spec: TensorSpec,
    config: XLMConfig,
    seed: int,
) -> LazyTensor:
    """A table whose rows are copied, and drawn where there is none to copy."""
    value: Array = drawn_value(spec, config, seed)
    if table is not None and ids:
        before, now = (list(x) for x in zip(*ids, strict=True))
        held = table.read()
        value = value.astype(np.promote_types(np.float32, _as_wide(held).dtype))
        value[now] = _as_wide(held)[before]
    return LazyTensor.of(value)


def _as_wide(array: Array) -> npt.NDArray[Any]:
    """Half types as float32, which holds each of their values."""
    return array if array.dtype == np.float64 else array.astype(np.float32)
