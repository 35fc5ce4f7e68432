"""Learn merges from text, and make the files of a tokenizer of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from conversion.line_by_line.output import check_absent, is_device, real_path
from conversion.line_by_line.text_files import refuse_output_that_is_read
from conversion.reports.progress import Line, bar
from conversion.vocabulary.counting import LARGEST_SEED, Counted, TextOptions, count_words
from xlm_core.errors import InputError, TokenizerError, nearest
from xlm_core.subwords import (
    codes_text,
    count_subwords,
    learn_merges,
    vocabulary_text,
    words_of_vocabulary,
)
from xlm_core.tokenization.files.vocabulary_files import read_merges
from xlm_core.tokenization.text.pipeline import MODES
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.whole_files import folder_written_whole, written_whole

# Names of the original's files in a tokenizer's folder.
CODES, VOCABULARY = "codes", "vocab"


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        counted: The words it was learned from.
        merges: Number of merges.
        ids: Of a vocabulary, the number of ids, special words included; else None.
        covered: Of a vocabulary, the share of all subwords that it has; else None.
    """

    counted: Counted
    merges: int
    ids: int | None = None
    covered: float | None = None

    def text(self) -> str:
        """A line for each language, and one of what was learned."""
        lines = [
            f"{language}: {sentences:,} sentences, {self.counted.read[language]:,} counted"
            for language, sentences in self.counted.sentences.items()
        ]
        words = sum(self.counted.words.values())
        found = f"{len(self.counted.words):,} different words of {words:,}, {self.merges:,} merges"
        if self.ids is not None and self.covered is not None:
            found += f", {self.ids:,} ids, {100 * self.covered:.3f} % of the subwords known"
        return "\n".join([*lines, found])


def learn_bpe(
    files: Mapping[str, Sequence[str]],
    output: str | os.PathLike[str],
    merges: int,
    options: TextOptions | None = None,
    *,
    smallest: int = 1,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Learned:
    """Learn merges from text, and write them as the original's codes.

    Args:
        files: Those of each language: UTF-8, also .gz, .xz or .bz2.
        output: The file of codes.
        merges: How many to learn; fewer if no pair is left.
        options: How texts are read.
        smallest: Pairs that are rarer are not merged.
        overwrite: Whether to replace what is at `output`.
        terminal: Where to show the progress; None shows nothing.

    Raises:
        InputError: If a file is missing or not UTF-8, or the output exists or is read too.
        TokenizerError: If a language has no text, nothing can be merged, or a number cannot be.
    """
    options = _checked(options)
    if merges < 1:
        raise InputError(f"{merges} merges were asked for: expected at least 1.")
    refuse_output_that_is_read(output, chain.from_iterable(files.values()))
    target = _free(output, overwrite=overwrite)
    if target.is_dir() or not is_device(target):
        target = real_path(target)  # a link stays, and a folder is refused
    counted = count_words(files, options, terminal=terminal)
    line = Line(terminal)

    def show(done: int) -> None:
        if line.is_due():
            line.write(f"{bar(done / merges)} of {merges:,} merges")

    try:
        learned = learn_merges(counted.words, merges, smallest=smallest, progress=show)
    finally:
        line.clear()
    if not learned:
        raise TokenizerError(
            f"no two letters stand together {smallest:,} times or more in the "
            f"{len(counted.words):,} words: give more text, or a smaller number (--min-count)."
        )
    text = codes_text(learned).encode("utf-8")
    if is_device(target):  # it is written to, and not replaced
        target.write_bytes(text)
    else:
        with written_whole(target) as temporary:
            temporary.write_bytes(text)
    return Learned(counted, len(learned))


def build_vocabulary(
    codes: str | os.PathLike[str],
    files: Mapping[str, Sequence[str]],
    output: str | os.PathLike[str],
    options: TextOptions | None = None,
    *,
    smallest: int = 1,
    most: int | None = None,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Learned:
    """Count the subwords of text and write a tokenizer's folder.

    The folder has the original's files, codes and vocab, and transformers' (vocab.json,
    merges.txt, tokenizer_config.json), which give the same ids.

    Args:
        codes: A file of merges, from `learn_bpe` or fastBPE.
        files: As in `learn_bpe`.
        output: The folder.
        options: As in `learn_bpe`.
        smallest: Subwords that are rarer get no id.
        most: Ids in all, the 14 special ones included; None: any number.
        overwrite: Whether to replace a tokenizer's folder at `output`.
        terminal: Where to show the progress; None shows nothing.

    Raises:
        InputError, TokenizerError: As `learn_bpe`; and if the codes cannot be read.
    """
    options = _checked(options)
    target = _free(output, overwrite=overwrite)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file: give the name of a folder.")
    merges = read_merges(Path(codes), original=True)
    counted = count_words(files, options, terminal=terminal)
    pairs = sorted(merges.ranks().items(), key=lambda entry: entry[1])
    subwords = count_subwords(counted.words, [pair for pair, _ in pairs])
    words = words_of_vocabulary(subwords, smallest=smallest, most=most)
    languages = list(files)
    with folder_written_whole(target) as folder:
        (folder / CODES).write_bytes(Path(codes).read_bytes())
        text = vocabulary_text(words, subwords)
        (folder / VOCABULARY).write_text(text, encoding="utf-8", newline="\n")
        tokenizer = XLMTokenizer.from_facebook(
            folder / CODES,
            folder / VOCABULARY,
            mode=options.mode,
            do_lowercase_and_remove_accent=options.lowercase,
            lang2id={language: number for number, language in enumerate(sorted(languages))},
            id2lang=dict(enumerate(sorted(languages))),
            lang=languages[0] if len(languages) == 1 else "en",
        )
        tokenizer.save_pretrained(folder)
    known = sum(subwords.get(word, 0) for word in words.values())
    covered = known / max(sum(subwords.values()), 1)
    return Learned(counted, len(pairs), len(words), covered)


def _checked(options: TextOptions | None) -> TextOptions:
    options = options or TextOptions()
    if options.mode not in MODES:
        raise InputError(
            f"mode is {options.mode!r}: expected one of {', '.join(MODES)}."
            f"{nearest(options.mode, MODES)}"
        )
    if not 0 <= options.seed <= LARGEST_SEED:
        raise InputError(f"seed is {options.seed}: expected a number from 0 to {LARGEST_SEED}.")
    return options


def _free(output: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The path of what is to be written.

    Raises:
        InputError: If something is there that must not be replaced.
    """
    target = Path(output)
    if target.is_dir():
        others = {entry.name for entry in target.iterdir()} - _WRITTEN
        if others:
            raise InputError(
                f"{target} is a folder with {', '.join(sorted(others)[:3])}: it is not "
                "overwritten. Give another name."
            )
    check_absent(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


_WRITTEN = {
    CODES,
    VOCABULARY,
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
}
