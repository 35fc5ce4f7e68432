"""The `xlm` command line: one sub-command for each tool.

Exit codes are those of `conversion.cli.parsing.EXIT_CODES`, which every --help shows.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Sequence

from conversion.cli.checkpoints import add_convert, add_demo, add_inspect, add_verify
from conversion.cli.corpus import add_import_corpus
from conversion.cli.evaluation import add_evaluate
from conversion.cli.generation import add_generate, add_translate
from conversion.cli.parsing import Parser
from conversion.cli.terminal import IMPOSSIBLE, INTERRUPTED, settle_errors, write_error, write_out
from conversion.cli.texts import add_encode, add_fill_mask, add_score
from conversion.cli.tokenize import add_tokenize
from conversion.cli.training import add_pretrain
from conversion.cli.vocabulary import add_build_vocab, add_learn_bpe
from conversion.reports.json_text import error_json
from conversion.reports.wording import shown
from xlm_core import distribution
from xlm_core.errors import XLMError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Its arguments, without the name of the program; default: those of the process.

    Returns:
        The exit code.
    """
    # TensorFlow reads this when it is imported; what the user has set stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options, unknown = parser().parse_known_args(arguments)
    command: Parser = options.parser
    several = next((name for name in ("inputs", "files") if hasattr(options, name)), None)
    if several and all(each == "-" or each[:1] != "-" for each in unknown):
        # Names of files that come after an option, which argparse leaves over.
        setattr(options, several, [*getattr(options, several), *unknown])
        unknown = []
    if unknown:
        command.refuse(unknown)
    run: Callable[[argparse.Namespace], int] = options.run
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return run(options)
        except (XLMError, OSError, MemoryError) as error:
            message = _one_line(command.in_options(str(error))) or type(error).__name__
            if getattr(options, "json", False):
                lines = getattr(options, "json_lines", False)
                write_out(error_json(options.command, error, message, on_one_line=lines))
            write_error(f"xlm {options.command}: {message}")
            return IMPOSSIBLE
        except KeyboardInterrupt:
            write_error(f"xlm {options.command}: interrupted")
            return INTERRUPTED
        finally:
            settle_errors()


def parser() -> Parser:
    """Build the parser of the command and of all its sub-commands."""
    result = Parser(prog="xlm", description="Tools for XLM checkpoints.")
    result.add_argument(
        "--version", action="version", version=f"{distribution.NAME} {distribution.__version__}"
    )
    commands = result.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_inspect(commands)
    add_convert(commands)
    add_verify(commands)
    add_demo(commands)
    add_tokenize(commands)
    add_translate(commands)
    add_generate(commands)
    add_evaluate(commands)
    add_fill_mask(commands)
    add_score(commands)
    add_encode(commands)
    add_learn_bpe(commands)
    add_build_vocab(commands)
    add_import_corpus(commands)
    add_pretrain(commands)
    return result


def _one_line(message: object) -> str:
    """Put a message on one line and escape it, since it may hold names from files."""
    return shown(" ".join(str(message).split()), longest=None)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line on the standard error, without its place in the code."""
    write_error(f"warning: {_one_line(message)}")
