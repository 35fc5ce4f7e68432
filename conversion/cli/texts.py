"""The sub-commands of `xlm` that ask a model about texts: fill-mask, score and encode."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from conversion.cli.generation import (
    add_inputs,
    add_model,
    add_running,
    limits_of,
    run_quietly,
)
from conversion.cli.parsing import Parser
from conversion.cli.terminal import Commands

if TYPE_CHECKING:
    from conversion.line_by_line.run import Summary

_RESUMED = "A run that was killed goes on where it was if the same command is given again."


def add_fill_mask(commands: Commands) -> None:
    """Add `xlm fill-mask`."""
    command = commands.add_parser(
        "fill-mask",
        help="fill the masks of lines of text",
        description=(
            "Write the likeliest fillings for each mask of each line of the INPUTs, as NUMBER ||| "
            "MASK ||| TOKEN ||| PROBABILITY, with the line and the mask within it counted from 0. "
            f"The masks of a line are filled each by itself. {_RESUMED}"
        ),
    )
    add_model(command)
    add_inputs(command)
    _add_reading(command)
    command.add_argument("--top-k", metavar="N", type=int, help="fillings of a mask; default: 5")
    command.add_argument(
        "--targets",
        metavar="WORD",
        nargs="+",
        help="candidates: words of one subword; their probabilities stay those among all words",
    )
    command.add_argument(
        "--mask", metavar="TEXT", help="what stands for a mask, beside the tokenizer's <special1>"
    )
    _add_truncation(command)
    add_running(command)
    command.set_defaults(run=_fill_mask, parser=command, json_lines=True)


def add_score(commands: Commands) -> None:
    """Add `xlm score`."""
    command = commands.add_parser(
        "score",
        help="log-probabilities of lines of text",
        description=(
            "Write the natural logarithm of the probability of each line of the INPUTs; with "
            "--json, of its tokens and words as well. A causal MODEL predicts each token from "
            "those before it, and the end; a masked one each from all others, a mask in its place "
            "(pseudo-log-likelihood). With an encoder-decoder, a line is a source, a tab and its "
            f"translation. {_RESUMED}"
        ),
    )
    add_model(command)
    add_inputs(command)
    _add_reading(command)
    command.add_argument("--src-lang", metavar="LANG", help="language of the sources")
    _add_truncation(command)
    add_running(command)
    command.set_defaults(run=_score, parser=command, json_lines=True)


def add_encode(commands: Commands) -> None:
    """Add `xlm encode`."""
    from xlm_core.texts.embeddings import DTYPES, POOLINGS

    command = commands.add_parser(
        "encode",
        help="vectors of lines of text",
        description=(
            "Write a vector for each line of the INPUTs: an OUTPUT that ends in .npy holds them as "
            "one array, which numpy.load(OUTPUT, mmap_mode='r') maps into memory; any other is "
            f"text, numbers with blanks between them. {_RESUMED}"
        ),
    )
    add_model(command)
    add_inputs(command)
    _add_reading(command)
    command.add_argument(
        "--pooling",
        choices=POOLINGS,
        default="mean",
        help="default: mean; tokens and words give several vectors a line, with --json",
    )
    command.add_argument(
        "--layer",
        metavar="N",
        type=int,
        default=-1,
        help="0: the embeddings, 1: the first layer, -1: the last; default: -1",
    )
    command.add_argument(
        "--include-frame",
        choices=("yes", "no"),
        help="whether the frame counts; default: yes in mean and max, no among tokens",
    )
    command.add_argument("--normalize", action="store_true", help="give vectors length 1")
    command.add_argument(
        "--vector-dtype",
        choices=DTYPES,
        help="of the vectors; default: float32, or float64 with --dtype float64",
    )
    command.add_argument(
        "--no-truncation", action="store_true", help="refuse lines that are too long"
    )
    add_running(command)
    command.set_defaults(run=_encode, parser=command, json_lines=True)


def _add_reading(command: Parser) -> None:
    from xlm_core.texts.preparing import FRAMES
    from xlm_core.tokenization.text.pipeline import MODES

    command.add_argument(
        "--lang", metavar="LANG", help="language of the text; a model of several needs it"
    )
    command.add_argument(
        "--frame",
        choices=FRAMES,
        default="</s>",
        help="what opens a line: </s>, as models were pretrained, or <s>; default: </s>",
    )
    command.add_argument(
        "--max-length", metavar="N", type=int, help="ids of a line at most, the frame included"
    )
    command.add_argument(
        "--tokenizer", metavar="FOLDER", help="a tokenizer in place of that of MODEL"
    )
    command.add_argument(
        "--codes",
        metavar="FILE",
        help="the original's BPE codes, for a .pth, which has none; default: codes* beside it",
    )
    command.add_argument(
        "--input-is-bpe",
        action="store_true",
        help="the text is split into subwords already, with @@ where more of a word follows",
    )
    command.add_argument(
        "--mode", choices=MODES, help="whose ids; default: what the tokenizer is made for"
    )


def _add_truncation(command: Parser) -> None:
    command.add_argument(
        "--truncation",
        action="store_true",
        help="cut lines that are too long; by default they are refused",
    )


def _common(options: argparse.Namespace, *, truncation: bool) -> dict[str, Any]:
    from conversion.texts import ModelSource, Reading

    return {
        "source": ModelSource(
            model=options.model,
            framework=options.framework,
            dtype=options.dtype,
            device=options.device,
            tokenizer=options.tokenizer,
            codes=options.codes,
            mode=options.mode,
            input_is_bpe=options.input_is_bpe,
        ),
        "reading": Reading(
            lang=options.lang,
            frame=options.frame,
            truncation=truncation,
            max_length=options.max_length,
        ),
        "inputs": options.inputs,
        "output": options.output,
        "json": options.json,
        "limits": limits_of(options),
        "overwrite": options.overwrite,
    }


def _fill_mask(options: argparse.Namespace) -> int:
    from conversion.texts import fill_mask_files

    def run(**more: Any) -> Summary:
        return fill_mask_files(
            **_common(options, truncation=options.truncation),
            top_k=options.top_k,
            targets=options.targets,
            mask=options.mask,
            **more,
        )

    return run_quietly(options, run)


def _score(options: argparse.Namespace) -> int:
    from conversion.texts import score_files

    def run(**more: Any) -> Summary:
        return score_files(
            **_common(options, truncation=options.truncation), src_lang=options.src_lang, **more
        )

    return run_quietly(options, run)


def _encode(options: argparse.Namespace) -> int:
    from conversion.texts import encode_files

    def run(**more: Any) -> Summary:
        return encode_files(
            **_common(options, truncation=not options.no_truncation),
            pooling=options.pooling,
            layer=options.layer,
            include_frame={"yes": True, "no": False}.get(options.include_frame),
            normalize_embeddings=options.normalize,
            vector_dtype=options.vector_dtype,
            **more,
        )

    return run_quietly(options, run)
