"""The sub-command `xlm tokenize`."""

from __future__ import annotations

import argparse
import sys

from conversion.cli.terminal import PASSED, Commands, leave_pipe


def add_tokenize(commands: Commands) -> None:
    """Add `xlm tokenize`."""
    from conversion.tokenize import BATCH_LINES, TARGETS
    from xlm_core.tokenization.text.pipeline import MODES

    command = commands.add_parser(
        "tokenize",
        help="turn lines of text into ids, subwords, words or a corpus",
        description=(
            "Write one line for each line of the INPUTs: ids, subwords (pieces) or words with "
            "blanks between them; or all of them as one corpus for training, a folder. Files may "
            "be of any size."
        ),
    )
    command.add_argument(
        "tokenizer",
        metavar="TOKENIZER_FOLDER",
        help="with vocab.json and merges.txt, or the original's codes and vocabulary",
    )
    command.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="UTF-8, also .gz, .xz or .bz2; - or none is the standard input",
    )
    command.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="a file (compressed if .gz, .xz or .bz2), or the folder of a corpus; default: the "
        "standard output",
    )
    command.add_argument("--lang", metavar="LANG", required=True, help="language of the text")
    command.add_argument("--to", choices=TARGETS, default="ids", help="default: ids")
    command.add_argument(
        "--mode", choices=MODES, help="whose ids; default: what TOKENIZER_FOLDER is made for"
    )
    command.add_argument("--workers", metavar="N", type=int, default=1, help="processes")
    command.add_argument(
        "--add-special-tokens", action="store_true", help="frame each line, as a model takes it"
    )
    command.add_argument(
        "--max-length", metavar="N", type=int, help="cut each line to N ids, subwords or words"
    )
    command.add_argument(
        "--batch-lines",
        metavar="N",
        type=int,
        default=BATCH_LINES,
        help=f"lines that are worked on together; default: {BATCH_LINES}",
    )
    command.add_argument(
        "--max-vocab",
        metavar="N",
        type=int,
        help="cut the original's vocabulary, as its model did (95000 for XNLI-15)",
    )
    command.add_argument("--overwrite", action="store_true", help="replace OUTPUT")
    command.add_argument(
        "--quiet", action="store_true", help="neither progress nor summary on the standard error"
    )
    command.set_defaults(run=_tokenize, parser=command)


def _tokenize(options: argparse.Namespace) -> int:
    from conversion.tokenize import Options, open_tokenizer, tokenize_files

    on_terminal = options.output in (None, "-") and sys.stdout.isatty()
    shows = not options.quiet and sys.stderr.isatty() and not on_terminal
    try:
        summary = tokenize_files(
            open_tokenizer(options.tokenizer, mode=options.mode, max_vocab=options.max_vocab),
            options.inputs,
            options.output,
            Options(
                lang=options.lang,
                to=options.to,
                add_special_tokens=options.add_special_tokens,
                max_length=options.max_length,
            ),
            workers=options.workers,
            batch_lines=options.batch_lines,
            overwrite=options.overwrite,
            terminal=sys.stderr if shows else None,
        )
    except BrokenPipeError:
        leave_pipe()  # who reads the output has enough
        return PASSED
    if not options.quiet:
        print(summary.text(), file=sys.stderr)
    return PASSED
