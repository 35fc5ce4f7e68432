"""The sub-command `xlm evaluate`."""

from __future__ import annotations

import argparse

from conversion.cli.terminal import PASSED, Commands, write_out


def add_evaluate(commands: Commands) -> None:
    """Add `xlm evaluate`."""
    command = commands.add_parser(
        "evaluate",
        help="compare translations with references: BLEU and chrF",
        description=(
            "Compare the lines of HYP with those of one or more REFs: BLEU and chrF by sacreBLEU, "
            "with their signatures; or for tokenized text the figure of multi-bleu.perl, which "
            "the original prints."
        ),
    )
    command.add_argument("hypothesis", metavar="HYP", help="translations, a line each")
    command.add_argument(
        "inputs", metavar="REF", nargs="*", help="references, a line for each translation"
    )
    command.add_argument(
        "--lang",
        "--tgt-lang",
        metavar="LANG",
        help="of the translations: zh, ja and ko are split by tokenizers of their own",
    )
    command.add_argument(
        "--tokenized",
        action="store_true",
        help="the texts are tokenized (@@ joins subwords): BLEU of multi-bleu.perl",
    )
    command.add_argument(
        "--normalize-romanian",
        action="store_true",
        help="remove Romanian's diacritics from both sides",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object instead, after an error too; docs/json.md describes it",
    )
    command.set_defaults(run=_evaluate, parser=command)


def _evaluate(options: argparse.Namespace) -> int:
    from conversion.evaluation import evaluate

    found = evaluate(
        options.hypothesis,
        options.inputs,
        lang=options.lang,
        tokenized=options.tokenized,
        normalize_romanian=options.normalize_romanian,
    )
    write_out(found.json() if options.json else found.text())
    return PASSED
