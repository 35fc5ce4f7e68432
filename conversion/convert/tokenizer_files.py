"""The tokenizer's part of a conversion: dictionary and codes, vocabulary and merges."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from conversion.opening.text_files import codes_in
from xlm_core.checkpoints.layouts.base import TextFiles
from xlm_core.checkpoints.original import Original
from xlm_core.checkpoints.weights import Weights
from xlm_core.config import XLMConfig
from xlm_core.errors import CheckpointError, TokenizerError
from xlm_core.loading_arguments import FileArguments
from xlm_core.tokenization.files.folder import (
    FOLDER_FILES,
    MERGES_FILE,
    VOCAB_FILE,
    TokenizerFolder,
)
from xlm_core.tokenization.files.vocabulary_files import (
    SPECIAL_WORDS,
    are_cased,
    read_code_counts,
    read_merges,
    read_vocabulary,
)
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD


def with_dictionary(folder: Path, weights: Weights) -> tuple[Weights, list[str]]:
    """Add the dictionary for a layout whose file holds one, as far as the source tells its words.

    Args:
        folder: Where the source has its text files; the words of its vocabulary are those of a
            dictionary.
        weights: What is converted.

    Returns:
        The weights, with the dictionary added, and notes for the user.

    Raises:
        CheckpointError: If the vocabulary is damaged.
    """
    original, notes = weights.original or Original(), []
    if original.words is not None and len(original.words) != weights.config.vocab_size:
        notes.append("the original's dictionary is left out: the vocabulary was resized since")
        original = replace(original, words=None, counts=None)
    elif original.words is None and _has_tokenizer(folder):
        original = _from_folder(folder, original, weights.config)
        if original.words is None:
            notes.append(
                f"{VOCAB_FILE} makes no dictionary of the original's: its ids have holes, or are "
                "not those of the model"
            )
    return replace(weights, original=original), notes


def write_tokenizer(
    stage: Path,
    folder: Path,
    weights: Weights,
    files: TextFiles,
    codes: str | os.PathLike[str] | None,
    mode: str | None,
) -> tuple[Weights, list[str]]:
    """Write the tokenizer that belongs to a checkpoint, as the text files that a layout has.

    Args:
        stage: The new folder.
        folder: Where the source has its text files.
        weights: What is converted.
        files: The text files of the new folder's layout.
        codes: BPE codes of the original; default: codes* beside the source.
        mode: The mode of a tokenizer that is made from the original's files; None is "v4".

    Returns:
        The weights, with what the original's files hold added, and notes for the user.

    Raises:
        CheckpointError: If `codes` cannot be used, or the tokenizer beside the source is damaged,
            holds no merges, or is of another class than the codes that it would become.
    """
    original, given = weights.original, codes
    has_folder = _has_tokenizer(folder)
    if has_folder:
        _check_tokenizer(folder, becomes_codes=files.codes is not None and original is not None)
    found = codes_in(folder)
    codes = _codes(found, given)
    unused = {"mode": mode, "codes": given}
    if files.codes is not None:
        if has_folder and original is not None:
            _write_codes(stage / files.codes, folder / MERGES_FILE, original)
        elif codes is not None:
            _check_codes(codes)
            shutil.copyfile(codes, stage / files.codes)
            del unused["codes"]
    if files.dictionary is not None and original is not None and original.words is not None:
        _write_dictionary(stage / files.dictionary, original)
    copied = (*files.copied, *(FOLDER_FILES if files.tokenizer and has_folder else ()))
    for name in copied:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, stage / name)
    if not files.tokenizer or has_folder:
        return weights, unused_options(unused)
    if original is None or original.words is None:
        notes = unused_options(unused)
        if codes is not None:
            notes.append("no tokenizer was written: there are BPE codes, and no dictionary")
        return weights, notes
    if codes is None:
        names = ", ".join(file.name for file in found)
        why = (
            f"several files may be its BPE codes ({names})"
            if found
            else ("the BPE codes of its dictionary are not beside the source")
        )
        return weights, [f"no tokenizer was written: {why}. Give them (codes=)"]
    try:
        tokenizer = _made(codes, original.words, weights.config, mode)
        tokenizer.save_pretrained(stage)
    except TokenizerError as error:
        raise CheckpointError(f"{codes} and the dictionary make no tokenizer: {error}") from error
    counts = read_code_counts(codes)
    return replace(weights, original=replace(original, code_counts=counts)), [
        f"the tokenizer gives the ids of mode {tokenizer.mode!r}"
    ]


def unused_options(given: Mapping[str, str | os.PathLike[str] | None]) -> list[str]:
    """Notes on options that were given for a tokenizer, and decide nothing in this conversion."""
    return [
        f"{name}={os.fspath(value)!r} was not used: no tokenizer is made from the original's files "
        "here"
        for name, value in given.items()
        if value is not None
    ]


def _has_tokenizer(folder: Path) -> bool:
    return (folder / VOCAB_FILE).is_file() and (folder / MERGES_FILE).is_file()


def _codes(found: Sequence[Path], given: str | os.PathLike[str] | None) -> Path | None:
    """The file of BPE codes: the one that was given, else the only one that was found."""
    if given is None:
        return found[0] if len(found) == 1 else None
    if not Path(given).is_file():
        raise CheckpointError(f"there is no file of BPE codes at {os.fspath(given)}.")
    return Path(given)


def _check_codes(codes: Path) -> None:
    """Raise `CheckpointError` unless the file holds merges."""
    try:
        read_merges(codes, original=True)
    except TokenizerError as error:
        raise CheckpointError(str(error)) from error


def _check_tokenizer(folder: Path, *, becomes_codes: bool) -> None:
    """Raise `CheckpointError` unless a folder's vocabulary and merges can be used.

    Args:
        folder: What has them.
        becomes_codes: Whether files are made of them that do not say which class they are for.
    """
    try:
        read_vocabulary(folder / VOCAB_FILE)
        read_merges(folder / MERGES_FILE)
        if becomes_codes:
            TokenizerFolder.find(folder, FileArguments(), class_name=XLMTokenizer.__name__)
    except TokenizerError as error:
        raise CheckpointError(
            f"the tokenizer beside the weights cannot be converted: {error} Mend it, or take it "
            "out of the folder to convert the weights alone."
        ) from error


def _made(codes: Path, words: tuple[str, ...], config: XLMConfig, mode: str | None) -> XLMTokenizer:
    return XLMTokenizer.from_facebook(
        codes,
        dict(enumerate(words)),
        mode=mode or "v4",
        lang2id=config.lang2id,
        do_lowercase_and_remove_accent=not are_cased(words),
    )


def _from_folder(folder: Path, original: Original, config: XLMConfig) -> Original:
    """With the dictionary that a folder's vocabulary makes, if it makes one."""
    try:
        vocabulary = read_vocabulary(folder / VOCAB_FILE)
    except TokenizerError as error:
        raise CheckpointError(str(error)) from error
    by_id = {index: subword for subword, index in vocabulary.items()}
    if {*by_id} != {*range(config.vocab_size)}:
        return original  # resized, or with holes: no dictionary of the original's kind
    words = []
    for index in range(len(by_id)):
        subword = by_id[index]
        if index < len(SPECIAL_WORDS):
            words.append(subword)
        elif subword.endswith(END_OF_WORD):
            words.append(subword.removesuffix(END_OF_WORD))
        else:
            words.append(f"{subword}@@")
    return original if len({*words}) < len(words) else replace(original, words=tuple(words))


def _write_codes(path: Path, merges: Path, original: Original) -> None:
    lines = read_merges(merges).lines
    counts = original.code_counts or (0,) * len(lines)
    if len(counts) != len(lines):
        counts = (0,) * len(lines)
    text = "".join(f"{' '.join(line)} {n}\n" for line, n in zip(lines, counts, strict=True))
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_dictionary(path: Path, original: Original) -> None:
    words = original.words or ()
    counts = original.counts or (0,) * len(words)
    pairs = list(zip(words, counts, strict=True))[len(SPECIAL_WORDS) :]
    text = "".join(f"{word} {count}\n" for word, count in pairs)
    path.write_text(text, encoding="utf-8", newline="\n")
