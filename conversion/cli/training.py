"""The sub-command `xlm pretrain`."""

from __future__ import annotations

import argparse
import sys

from conversion.cli.terminal import INTERRUPTED, PASSED, Commands, write_out


def add_pretrain(commands: Commands) -> None:
    """Add `xlm pretrain`."""
    from conversion.opening.families import FRAMEWORKS

    command = commands.add_parser(
        "pretrain",
        help="train a model on text: CLM, MLM, TLM and translation",
        description=(
            "Train a model as CONFIG, a TOML file, says; docs/training.md lists what it may say. "
            "Checkpoints, models, logs and a page of curves go into its folder (output). Ctrl-C, "
            "SIGTERM or a closed terminal saves a checkpoint and leaves; a second Ctrl-C or "
            "SIGTERM leaves at once."
        ),
    )
    command.add_argument("config", metavar="CONFIG", help="the TOML file of the run")
    command.add_argument(
        "--framework", choices=FRAMEWORKS, help="default: PyTorch if it is installed"
    )
    command.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint, if there is one"
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, measure a few updates, say what the run would take; write nothing",
    )
    command.add_argument(
        "--quiet", action="store_true", help="neither lines nor a bar on the standard error"
    )
    command.set_defaults(run=_pretrain, parser=command)


def _pretrain(options: argparse.Namespace) -> int:
    if options.framework == "tf":
        from conversion.cli.quiet import import_tensorflow

        import_tensorflow()
    from conversion.training import dry_run, pretrain

    if options.dry_run:
        found = dry_run(options.config, framework=options.framework, resume=options.resume)
        if found is not None:
            write_out(found.text())
        return PASSED
    ended = pretrain(
        options.config,
        framework=options.framework,
        resume=options.resume,
        stream=None if options.quiet else sys.stderr,
    )
    return INTERRUPTED if ended.reason == "interrupted" else PASSED
