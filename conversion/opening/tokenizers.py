"""The tokenizer that belongs to a checkpoint, wherever it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion.opening.text_files import codes_in, text_folder
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.errors import InputError
from xlm_core.hub import is_hub_name
from xlm_core.tokenization.files.folder import MERGES_FILE, VOCAB_FILE
from xlm_core.tokenization.files.vocabulary_files import (
    Merges,
    are_cased,
    marks_ends,
    original_vocabulary,
    read_vocabulary,
)
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD


def open_tokenizer_of(
    checkpoint: Checkpoint,
    *,
    folder: str | os.PathLike[str] | None = None,
    codes: str | os.PathLike[str] | None = None,
    mode: str | None = None,
    input_is_bpe: bool = False,
) -> XLMTokenizer:
    """Open the tokenizer of a checkpoint: that of its folder, or of the original's dictionary.

    With the original's file, case, accents and Moses are those of the original's scripts: its mode
    is "original", and it lowercases unless its dictionary has capitals (`are_cased`).

    Args:
        checkpoint: Of any layout.
        folder: A folder with a tokenizer, in place of the checkpoint's own.
        codes: The original's BPE codes; default: the one file codes* beside the checkpoint.
        mode: Whose ids to give; default: what the files are made for.
        input_is_bpe: Texts are split into subwords already, so that no merges are needed.

    Raises:
        InputError: If there is none, or it has more words than the model; for arguments that
            contradict each other.
        TokenizerError: If its files cannot be used.
    """
    settings: dict[str, Any] = {} if mode is None else {"mode": mode}
    if codes is not None and input_is_bpe:
        raise InputError(
            f"codes={os.fspath(codes)!r} says how words are split, and input_is_bpe=True that they "
            "are split already: give one."
        )
    if folder is not None:
        if codes is not None:
            raise InputError("tokenizer= and codes= both say how words are split: give one.")
        tokenizer = XLMTokenizer.from_pretrained(folder, **settings)
    elif not Path(checkpoint.source).exists() and is_hub_name(checkpoint.source):
        tokenizer = XLMTokenizer.from_pretrained(checkpoint.source, **settings)
    else:
        with text_folder(checkpoint) as texts:
            tokenizer = _of_files(checkpoint, texts, codes, settings, input_is_bpe)
    if tokenizer.lang2id is None and checkpoint.config.lang2id:
        tokenizer.lang2id = dict(checkpoint.config.lang2id)
        tokenizer.id2lang = {number: name for name, number in tokenizer.lang2id.items()}
    if len(tokenizer) > checkpoint.config.vocab_size:
        raise InputError(
            f"The tokenizer has {len(tokenizer):,} ids, and {checkpoint.source} has embeddings of "
            f"{checkpoint.config.vocab_size:,}: they do not belong together. Give the tokenizer of "
            "the model (tokenizer=)."
        )
    return tokenizer


def _of_files(
    checkpoint: Checkpoint,
    texts: Path,
    codes: str | os.PathLike[str] | None,
    settings: dict[str, Any],
    input_is_bpe: bool,
) -> XLMTokenizer:
    has_vocabulary = (texts / VOCAB_FILE).is_file()
    words = None if checkpoint.original is None else checkpoint.original.words
    if has_vocabulary and (texts / MERGES_FILE).is_file():
        if codes is not None:
            raise InputError(
                f"codes={os.fspath(codes)!r} is not needed: {texts} has {MERGES_FILE}. Leave it "
                "out."
            )
        return XLMTokenizer.from_pretrained(texts, **settings)
    if words is None and not has_vocabulary:
        return XLMTokenizer.from_pretrained(texts, **settings)  # the original's files, or an error
    if words is not None:
        settings = {
            "mode": "original",
            "do_lowercase_and_remove_accent": not are_cased(words),
            **settings,
        }
    if input_is_bpe:
        vocabulary = (
            read_vocabulary(texts / VOCAB_FILE)
            if words is None
            else original_vocabulary(dict(enumerate(words)))
        )
        return XLMTokenizer(vocabulary, Merges(()), **settings)
    found = codes_in(texts) if codes is None else [Path(codes)]
    if len(found) != 1 or words is None:
        names = ", ".join(file.name for file in found)
        why = f"several files beside it may be ({names})" if found and words is not None else ""
        raise InputError(
            f"{checkpoint.source} brings its vocabulary, but no merges to split words by"
            f"{f': {why}' if why else ''}. Give the BPE codes that its text was split by (codes=), "
            "or input_is_bpe=True if the text is split into subwords already."
        )
    return XLMTokenizer.from_facebook(found[0], dict(enumerate(words)), **settings)


def bare_words_may_continue(checkpoint: Checkpoint) -> bool:
    """Whether subwords without a mark may be the beginning of a word in texts for a checkpoint.

    So it is where its dictionary marks the ends of words, and not their beginnings.
    """
    words = None if checkpoint.original is None else checkpoint.original.words
    return words is not None and marks_ends(words)


def ids_of_subwords(
    tokenizer: XLMTokenizer, subwords: Sequence[str], *, bare_may_continue: bool = False
) -> list[int]:
    """The ids of the subwords of a line that was split before.

    Either "@@" marks where more of the word follows, as fastBPE writes it, or "</w>" where a word
    ends, as transformers does.

    Args:
        tokenizer: Knows the ids.
        subwords: The subwords.
        bare_may_continue: What has neither mark may be the beginning of a word, if the vocabulary
            has no such whole word.
    """
    special, known = set(tokenizer.all_special_tokens), tokenizer.encoder
    ends_are_marked = any(piece.endswith(END_OF_WORD) for piece in subwords)

    def token_of(piece: str) -> str:
        if piece in special or piece.endswith(END_OF_WORD):
            return piece
        if piece.endswith("@@"):
            return piece.removesuffix("@@")
        whole = f"{piece}{END_OF_WORD}"
        bare = ends_are_marked or (bare_may_continue and whole not in known)
        return piece if bare else whole

    ids: list[int] = tokenizer.convert_tokens_to_ids([*map(token_of, subwords)])
    return ids
