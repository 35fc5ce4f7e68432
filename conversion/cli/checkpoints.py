"""The sub-commands of `xlm` that work on checkpoints: convert, inspect, verify and demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conversion.cli.parsing import Parser
from conversion.cli.terminal import FAILED, PASSED, Commands, shown_progress, write_out

_SOURCE = "a folder, a file, an index, or the name of a published checkpoint"


def add_verify(commands: Commands) -> None:
    """Add `xlm verify`."""
    command = commands.add_parser(
        "verify",
        help="check that a checkpoint computes the same in both frameworks, or that two are equal",
        description=(
            "With A alone: open it in PyTorch and in TensorFlow, run one batch in float64 and in "
            "float32, and compare every hidden state, attention, output and loss. With B: compare "
            "every tensor bit by bit, whatever the layouts, then run one batch through both: A in "
            "PyTorch and B in TensorFlow where both are installed. The last line says what is "
            "off first."
        ),
    )
    command.add_argument("source", metavar="A", help=_SOURCE)
    command.add_argument("other", metavar="B", nargs="?", help="a checkpoint to compare A with")
    _add_json(command)
    command.add_argument(
        "--html", metavar="FILE", type=Path, help="write the report as a page with a plot as well"
    )
    command.set_defaults(run=_verify, parser=command)


def add_inspect(commands: Commands) -> None:
    """Add `xlm inspect`."""
    command = commands.add_parser(
        "inspect",
        help="say what a checkpoint is and holds, and what is missing or extra",
        description=(
            "Say the layout, files, class and configuration of SRC, every tensor of it, its "
            "parameters and the memory they take, what is missing, unexpected or misshapen, and "
            "which layouts can hold it. What is off makes the exit code 1."
        ),
    )
    command.add_argument("source", metavar="SRC", help=_SOURCE)
    _add_json(command)
    command.add_argument(
        "--values",
        action="store_true",
        help="read all tensors: smallest, largest, mean, deviation, NaN and infinite values",
    )
    command.set_defaults(run=_inspect, parser=command)


def add_convert(commands: Commands) -> None:
    """Add `xlm convert`."""
    from xlm_core.checkpoints.layouts import LAYOUTS
    from xlm_core.containers.lazy_tensors import FLOAT_DTYPES
    from xlm_core.tokenization.text.pipeline import MODES

    command = commands.add_parser(
        "convert",
        help="write a checkpoint in another layout, bit for bit",
        description=(
            "Write the checkpoint SRC, of any layout, anew at DST. DST appears whole at the end, "
            "or not at all; every tensor is read back and compared. docs/layouts.md lists which "
            "model has a place in which layout."
        ),
    )
    command.add_argument("source", metavar="SRC", help=_SOURCE)
    command.add_argument(
        "target",
        metavar="DST",
        help="a folder; for facebook also a .pth, for keras a .keras file; made with the folders "
        "above it",
    )
    command.add_argument("--to", choices=LAYOUTS, required=True, help="the layout of DST")
    command.add_argument("--dtype", choices=FLOAT_DTYPES, help="default: that of SRC")
    command.add_argument(
        "--head", metavar="CLASS", help="class to write, such as XLMModel; default: what SRC is"
    )
    command.add_argument(
        "--shard-size", metavar="SIZE", help="split files that are larger, such as 500MB"
    )
    command.add_argument(
        "--tied",
        choices=("embeddings", "output"),
        help="which counts where SRC holds different values for the two",
    )
    command.add_argument(
        "--codes", metavar="FILE", help="the original's BPE codes; default: codes* beside SRC"
    )
    command.add_argument(
        "--mode", choices=MODES, help="of a tokenizer made from the original's files; default: v4"
    )
    command.add_argument("--overwrite", action="store_true", help="replace DST")
    command.add_argument("--no-check", action="store_true", help="do not read DST back")
    _add_json(command)
    command.add_argument(
        "--quiet", action="store_true", help="neither progress nor summary on the standard error"
    )
    command.set_defaults(run=_convert, parser=command)


def add_demo(commands: Commands) -> None:
    """Add `xlm demo`."""
    command = commands.add_parser(
        "demo",
        help="build a checkpoint of a published shape and verify it",
        description=(
            "Build a checkpoint of the shape of xlm-mlm-enfr-1024 with random weights, and "
            "verify it. Takes about a minute, 600 MB of disk and 4 GB of memory."
        ),
    )
    command.add_argument(
        "--keep",
        metavar="FOLDER",
        type=Path,
        help="keep the checkpoint here: a folder that is empty or does not exist yet",
    )
    command.set_defaults(run=_demo, parser=command)


def _add_json(command: Parser) -> None:
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object instead, after an error too; docs/json.md describes it",
    )


def _verify(options: argparse.Namespace) -> int:
    from conversion.cli.quiet import import_tensorflow
    from conversion.reports.html.page import check_target, write_page
    from conversion.reports.pair import PairReport
    from conversion.reports.verification import Report
    from conversion.verification import verify, verify_pair
    from xlm_core.checkpoints import open_checkpoint

    if options.html is not None:
        check_target(options.html)
    # Frameworks take seconds to load: a checkpoint that cannot be opened is refused before.
    for source in (options.source, options.other):
        if source is not None:
            open_checkpoint(source)
    import_tensorflow()
    report: Report | PairReport
    with shown_progress() as progress:
        if options.other is None:
            report = verify(options.source, progress=progress)
        else:
            report = verify_pair(options.source, options.other, progress=progress)
    if options.html is not None:
        write_page(options.html, report)
    write_out(report.json() if options.json else report.text())
    return PASSED if report.passed else FAILED


def _inspect(options: argparse.Namespace) -> int:
    from conversion.inspection import inspect
    from conversion.reports.inspection_text import json_of, text_of

    with shown_progress() as progress:
        found = inspect(options.source, values=options.values, progress=progress)
    write_out(json_of(found) if options.json else text_of(found))
    return FAILED if found.problems else PASSED


def _convert(options: argparse.Namespace) -> int:
    from conversion.convert import convert

    with shown_progress(quiet=options.quiet) as progress:
        summary = convert(
            options.source,
            options.target,
            to=options.to,
            dtype=options.dtype,
            head=options.head,
            largest=options.shard_size,
            overwrite=options.overwrite,
            check=not options.no_check,
            tied=options.tied,
            codes=options.codes,
            mode=options.mode,
            progress=progress,
        )
    if options.json:
        write_out(summary.json())
    elif not options.quiet:
        command: Parser = options.parser
        sys.stderr.write(f"{command.in_options(summary.text())}\n")
    return PASSED


def _demo(options: argparse.Namespace) -> int:
    from conversion.cli.quiet import import_tensorflow
    from conversion.verification.demo import check_empty, demo

    if options.keep is not None:
        check_empty(options.keep)
    import_tensorflow()
    report = demo(keep=options.keep)
    return PASSED if report.passed else FAILED
