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

from xlm_core.errors import XLMError

PASSED, FAILED, IMPOSSIBLE = 0, 1, 2


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


def parser() -> argparse.ArgumentParser:
    """The parser of the command and of all its sub-commands."""
    result = argparse.ArgumentParser(
        prog="xlm", description="Tools for XLM checkpoints.", allow_abbrev=False
    )
    commands = result.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_verify(commands)
    _add_demo(commands)
    return result


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "verify",
        help="check that PyTorch and TensorFlow compute the same from a checkpoint",
        description=(
            "Open FOLDER in PyTorch and in TensorFlow, run one batch in float64 and in float32, "
            "and compare every hidden state, attention, output and loss. Exit code 1 if a bar is "
            "missed; the last line says where first."
        ),
        allow_abbrev=False,
    )
    command.add_argument("folder", metavar="FOLDER", help="with config.json and model.safetensors")
    command.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the tables"
    )
    command.set_defaults(run=_verify)


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


def _verify(options: argparse.Namespace) -> int:
    from conversion.quiet import import_tensorflow
    from conversion.verification import verify
    from xlm_core.checkpoints import open_checkpoint

    open_checkpoint(options.folder)  # a wrong folder is known before the frameworks are loaded
    import_tensorflow()
    report = verify(options.folder)
    print(report.json() if options.json else report.text())
    return PASSED if report.passed else FAILED


def _demo(options: argparse.Namespace) -> int:
    from conversion.demo import check_empty, demo
    from conversion.quiet import import_tensorflow

    if options.keep is not None:
        check_empty(options.keep)
    import_tensorflow()
    report = demo(keep=options.keep)
    return PASSED if report.passed else FAILED


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """A warning as one line on the standard error, without the place in the code."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
