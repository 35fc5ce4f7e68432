"""The sub-commands `xlm learn-bpe` and `xlm build-vocab`."""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

from conversion.cli.parsing import Parser
from conversion.cli.terminal import PASSED, Commands
from xlm_core.errors import InputError


def add_learn_bpe(commands: Commands) -> None:
    """Add `xlm learn-bpe`."""
    command = commands.add_parser(
        "learn-bpe",
        help="learn the merges of a tokenizer from text",
        description=(
            "Learn N merges from texts of several languages, and write them as a file of codes, "
            "as fastBPE does. Each merge is a most frequent pair at its step; of equally frequent "
            "ones, the first by its characters."
        ),
    )
    command.add_argument("-o", "--output", metavar="CODES", required=True, help="the file")
    command.add_argument("--merges", metavar="N", type=int, required=True, help="how many")
    _add_text(command)
    command.set_defaults(run=_learn_bpe, parser=command)


def add_build_vocab(commands: Commands) -> None:
    """Add `xlm build-vocab`."""
    command = commands.add_parser(
        "build-vocab",
        help="count the subwords of text and write a tokenizer's folder",
        description=(
            "Apply the merges of CODES to texts, count the subwords, and write a folder with the "
            "original's files and with transformers' files of the tokenizer."
        ),
    )
    command.add_argument("codes", metavar="CODES", help="of learn-bpe, or of fastBPE")
    command.add_argument("-o", "--output", metavar="FOLDER", required=True, help="the folder")
    command.add_argument(
        "--max-vocab", metavar="N", type=int, help="ids in all, 14 special ones included"
    )
    _add_text(command)
    command.set_defaults(run=_build_vocab, parser=command)


def _add_text(command: Parser) -> None:
    from xlm_core.tokenization.text.pipeline import MODES

    command.add_argument(
        "files", metavar="LANG=FILE", nargs="+", help="texts: UTF-8, also .gz, .xz or .bz2"
    )
    command.add_argument(
        "--alpha",
        metavar="A",
        type=float,
        default=0.5,
        help="exponent of the languages' shares of sentences; 1: each once; default: 0.5",
    )
    command.add_argument(
        "--min-count", metavar="N", type=int, default=1, help="leave out what is rarer; default: 1"
    )
    command.add_argument(
        "--mode", choices=MODES, default="original", help="whose words; default: original"
    )
    command.add_argument(
        "--keep-case",
        action="store_true",
        help="neither lowercase nor remove accents, as for translation; default: both, as the "
        "published models of up to 15 languages: what is trained then reads and writes so",
    )
    command.add_argument("--seed", metavar="N", type=int, default=0, help="default: 0")
    command.add_argument("--overwrite", action="store_true", help="replace what is there")
    command.add_argument(
        "--quiet", action="store_true", help="neither progress nor summary on the standard error"
    )


def _learn_bpe(options: argparse.Namespace) -> int:
    from conversion.vocabulary import TextOptions, learn_bpe

    learned = learn_bpe(
        _by_language(options.files),
        options.output,
        options.merges,
        TextOptions(options.alpha, options.mode, not options.keep_case, options.seed),
        smallest=options.min_count,
        overwrite=options.overwrite,
        terminal=_terminal(options),
    )
    if not options.quiet:
        print(learned.text(), file=sys.stderr)
    return PASSED


def _build_vocab(options: argparse.Namespace) -> int:
    from conversion.vocabulary import TextOptions, build_vocabulary

    learned = build_vocabulary(
        options.codes,
        _by_language(options.files),
        options.output,
        TextOptions(options.alpha, options.mode, not options.keep_case, options.seed),
        smallest=options.min_count,
        most=options.max_vocab,
        overwrite=options.overwrite,
        terminal=_terminal(options),
    )
    if not options.quiet:
        print(learned.text(), file=sys.stderr)
    return PASSED


def _terminal(options: argparse.Namespace) -> TextIO | None:
    return sys.stderr if not options.quiet and sys.stderr.isatty() else None


def _by_language(given: list[str]) -> dict[str, list[str]]:
    """The files of each language, from texts such as "en=train.en".

    Raises:
        InputError: If one is of another form.
    """
    files: dict[str, list[str]] = {}
    for text in given:
        language, equals, name = text.partition("=")
        if not (language and equals and name):
            raise InputError(f"{text!r} is no LANG=FILE, such as en=train.en.txt.")
        files.setdefault(language, []).append(name)
    return files
