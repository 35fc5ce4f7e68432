"""The `xlm` command line: one sub-command for each tool.

Exit codes: 0, done and passed; 1, a check failed; 2, it could not be done (one line on the
standard error says why), or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from conversion.cli_checkpoints import add_convert, add_inspect, add_verify
from conversion.terminal import FAILED, IMPOSSIBLE, INTERRUPTED, PASSED, leave_pipe
from conversion.wording import shown
from xlm_core.errors import XLMError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; default those of the process.

    Returns:
        The exit code.
    """
    # TensorFlow reads this when it is imported; what the user has set stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return run(options)
        except (XLMError, OSError) as error:
            print(f"xlm {options.command}: {_one_line(error)}", file=sys.stderr)
            return IMPOSSIBLE
        except KeyboardInterrupt:
            print(f"xlm {options.command}: interrupted", file=sys.stderr)
            return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The parser of the command and of all its sub-commands."""
    result = argparse.ArgumentParser(
        prog="xlm", description="Tools for XLM checkpoints.", allow_abbrev=False
    )
    commands = result.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_inspect(commands)
    add_convert(commands)
    add_verify(commands)
    _add_demo(commands)
    _add_tokenize(commands)
    return result


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "demo",
        help="build a checkpoint of a published shape and verify it",
        description=(
            "Build a checkpoint of the shape of xlm-mlm-enfr-1024 with random weights, and "
            "verify it. Takes about a minute, 600 MB of disk and 4 GB of memory."
        ),
        allow_abbrev=False,
    )
    command.add_argument(
        "--keep",
        metavar="FOLDER",
        type=Path,
        help="keep the checkpoint here: a folder that is empty or does not exist yet",
    )
    command.set_defaults(run=_demo)


def _add_tokenize(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
        allow_abbrev=False,
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
        help="UTF-8, also .gz or .xz; - or none is the standard input",
    )
    command.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="a file (compressed if .gz or .xz), or the folder of a corpus; default: the standard "
        "output",
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
    command.set_defaults(run=_tokenize)


def _demo(options: argparse.Namespace) -> int:
    from conversion.demo import check_empty, demo
    from conversion.quiet import import_tensorflow

    if options.keep is not None:
        check_empty(options.keep)
    import_tensorflow()
    report = demo(keep=options.keep)
    return PASSED if report.passed else FAILED


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


def _one_line(error: BaseException) -> str:
    return _plain(error) or type(error).__name__


def _plain(message: object) -> str:
    """A message on one line; names from files in it may hold anything."""
    return shown(" ".join(str(message).split()), longest=None)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """A warning as one line on the standard error, without the place in the code."""
    print(f"warning: {_plain(message)}", file=sys.stderr)
