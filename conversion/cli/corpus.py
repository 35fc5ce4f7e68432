"""The sub-command `xlm import-corpus`."""

from __future__ import annotations

import argparse
import sys

from conversion.cli.terminal import PASSED, Commands


def add_import_corpus(commands: Commands) -> None:
    """Add `xlm import-corpus`."""
    command = commands.add_parser(
        "import-corpus",
        help="turn text that the original binarised into a corpus",
        description=(
            "Write the text of BINARISED, which the original's preprocess.py made, as a corpus, "
            "the folder that `xlm tokenize --to corpus` makes from text."
        ),
    )
    command.add_argument("binarised", metavar="BINARISED", help="such as train.en.pth")
    command.add_argument("-o", "--output", metavar="CORPUS", required=True, help="the folder")
    command.add_argument("--lang", metavar="LANG", required=True, help="language of the text")
    command.add_argument(
        "--max-vocab", metavar="N", type=int, help="keep N words, as the training option does"
    )
    command.add_argument("--overwrite", action="store_true", help="replace CORPUS")
    command.add_argument("--quiet", action="store_true", help="no summary on the standard error")
    command.set_defaults(run=_import_corpus, parser=command)


def _import_corpus(options: argparse.Namespace) -> int:
    from xlm_core.corpus import convert_binarized

    corpus = convert_binarized(
        options.binarised,
        options.output,
        [options.lang],
        max_vocab=options.max_vocab,
        overwrite=options.overwrite,
    )
    if not options.quiet:
        info = corpus.info
        unknown = 100 * info.unknowns / max(info.tokens, 1)
        print(
            f"{info.sentences:,} sentences, {info.tokens:,} ids, {unknown:.3f} % unknown",
            file=sys.stderr,
        )
    return PASSED
