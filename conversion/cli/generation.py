"""The sub-commands of `xlm` in which a model writes: translate and generate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from conversion.cli.parsing import Parser
from conversion.cli.terminal import PASSED, Commands, leave_pipe

if TYPE_CHECKING:
    from conversion.line_by_line.limits import Limits
    from conversion.line_by_line.run import Summary


def add_translate(commands: Commands) -> None:
    """Add `xlm translate`."""
    command = commands.add_parser(
        "translate",
        help="translate lines of text",
        description=(
            "Translate each line of the INPUTs with the encoder-decoder MODEL: text in, text out. "
            "A line without words gives an empty line; of one that is longer than the model's "
            "positions the rest is cut off and counted. A run that was killed goes on where it "
            "was if the same command is given again."
        ),
    )
    add_model(command)
    command.add_argument("--src-lang", metavar="LANG", help="language of the text")
    command.add_argument("--tgt-lang", metavar="LANG", help="language to translate into")
    add_inputs(command)
    _add_search(command)
    _add_texts(command)
    add_running(command)
    command.set_defaults(run=_translate, parser=command, json_lines=True)


def add_generate(commands: Commands) -> None:
    """Add `xlm generate`."""
    command = commands.add_parser(
        "generate",
        help="continue lines of text",
        description=(
            "Continue each line of the INPUTs, a prompt, with the language model MODEL. An empty "
            "line is continued from the beginning of a sentence. A run that was killed goes on "
            "where it was if the same command is given again."
        ),
    )
    add_model(command)
    command.add_argument("--lang", metavar="LANG", help="language of the text")
    command.add_argument(
        "--causal",
        action="store_true",
        help="MODEL is causal, although its configuration does not say so",
    )
    add_inputs(command)
    _add_search(command)
    _add_texts(command)
    add_running(command)
    command.set_defaults(run=_generate, parser=command, json_lines=True)


def add_model(command: Parser) -> None:
    """Add the model, and in what it computes."""
    from conversion.opening.families import FRAMEWORKS

    command.add_argument(
        "model",
        metavar="MODEL",
        help="a folder, a file, an index, or the name of a published checkpoint",
    )
    command.add_argument(
        "--framework", choices=FRAMEWORKS, help="default: PyTorch if it is installed"
    )
    command.add_argument(
        "--dtype",
        choices=("float32", "float64", "bfloat16", "float16"),
        help="in which MODEL computes; default: float32",
    )
    command.add_argument(
        "--device", metavar="DEVICE", help="of PyTorch; default: an accelerator if there is one"
    )


def add_inputs(command: Parser) -> None:
    """Add what is read, and where it goes."""
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
        help="a file, compressed if .gz, .xz or .bz2; default: the standard output",
    )
    command.add_argument("--overwrite", action="store_true", help="replace OUTPUT")


def add_running(command: Parser) -> None:
    """Add how lines are computed together, and what is said meanwhile."""
    from conversion.line_by_line.limits import Limits

    default = Limits()
    for name, what in (
        ("batch_size", "lines computed together at most"),
        ("batch_tokens", "tokens computed together at most, padding included"),
        ("window_lines", "lines that are read, sorted by length and written together"),
    ):
        command.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="N",
            type=int,
            default=getattr(default, name),
            help=f"{what}; default: {getattr(default, name)}",
        )
    command.add_argument(
        "--json",
        action="store_true",
        help="write a JSON object for each line instead; docs/json.md describes it",
    )
    command.add_argument(
        "--quiet", action="store_true", help="neither progress nor summary on the standard error"
    )


def limits_of(options: argparse.Namespace) -> Limits:
    """How many lines are computed together."""
    from conversion.line_by_line.limits import Limits

    return Limits(
        batch_size=options.batch_size,
        batch_tokens=options.batch_tokens,
        window_lines=options.window_lines,
    )


def run_quietly(options: argparse.Namespace, run: Callable[..., Summary]) -> int:
    """Run a tool line by line: its progress, its summary, and an output that nobody reads."""
    on_terminal = options.output in (None, "-") and sys.stdout.isatty()
    shows = not options.quiet and sys.stderr.isatty() and not on_terminal
    if options.framework == "tf":
        from conversion.cli.quiet import import_tensorflow

        import_tensorflow()
    try:
        summary = run(terminal=sys.stderr if shows else None)
    except BrokenPipeError:
        leave_pipe()  # who reads the output has enough
        return PASSED
    except BaseException as error:
        from conversion.line_by_line.resuming import lines_left
        from xlm_core.errors import InputError

        if not options.quiet and (lines := lines_left(options.output)):
            # What was refused is refused again, unless something else is changed first.
            then = "" if isinstance(error, InputError) else ": the same command goes on there"
            print(f"{lines:,} lines are done{then}", file=sys.stderr)
        raise
    if not options.quiet:
        print(summary.text(), file=sys.stderr)
    return PASSED


def _add_search(command: Parser) -> None:
    def add(name: str, kind: Callable[[str], Any], what: str) -> None:
        metavar = {int: "N", float: "X"}[kind]  # type: ignore[index]
        command.add_argument(f"--{name}", metavar=metavar, type=kind, help=what)

    command.add_argument(
        "--nbest",
        metavar="N",
        type=int,
        default=1,
        help="write N texts a line, as NUMBER ||| TEXT ||| SCORE, with NUMBER counted from 0",
    )
    add("num-beams", int, "beams; default: greedy, or as many as --nbest")
    command.add_argument(
        "--beam-scoring",
        choices=("original", "transformers"),
        help="how texts of different lengths are compared",
    )
    add("length-penalty", float, "power of the length that scores are divided by")
    command.add_argument(
        "--early-stopping",
        nargs="?",
        const="true",
        choices=("true", "false", "never"),
        help="stop a line as soon as there are as many texts as beams",
    )
    add("max-length", int, "ids of a text at most; default: what `generate` takes")
    add("max-new-tokens", int, "ids that are generated at most")
    add("min-length", int, "before that many ids, no text ends")
    command.add_argument("--do-sample", action="store_true", help="draw from the distribution")
    add("temperature", float, "what logits are divided by before drawing")
    add("top-k", int, "draw from the N best")
    add("top-p", float, "draw from the fewest that reach this probability")
    add("seed", int, "of what is drawn")
    add("repetition-penalty", float, "what logits of earlier tokens are divided by")
    add("no-repeat-ngram-size", int, "let no run of N tokens come twice")


def _add_texts(command: Parser) -> None:
    from xlm_core.tokenization.text.pipeline import MODES

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
    command.add_argument(
        "--no-detokenize",
        action="store_true",
        help="leave blanks between all words and punctuation",
    )


def _search(options: argparse.Namespace) -> Any:
    from conversion.generation import Search

    early = {"true": True, "false": False}.get(options.early_stopping, options.early_stopping)
    return Search(
        nbest=options.nbest,
        num_beams=options.num_beams,
        beam_scoring=options.beam_scoring,
        length_penalty=options.length_penalty,
        early_stopping=early,
        max_length=options.max_length,
        max_new_tokens=options.max_new_tokens,
        min_length=options.min_length,
        do_sample=options.do_sample or None,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        repetition_penalty=options.repetition_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
    )


def _common(options: argparse.Namespace) -> dict[str, Any]:
    from conversion.generation import Model, TextOptions, WrittenAs

    return {
        "model": Model(
            source=options.model,
            framework=options.framework,
            dtype=options.dtype,
            device=options.device,
            causal=getattr(options, "causal", False),
        ),
        "inputs": options.inputs,
        "output": options.output,
        "search": _search(options),
        "texts": TextOptions(
            tokenizer=options.tokenizer,
            codes=options.codes,
            mode=options.mode,
            input_is_bpe=options.input_is_bpe,
            detokenize=not options.no_detokenize,
        ),
        "written_as": WrittenAs(json=options.json),
        "limits": limits_of(options),
        "overwrite": options.overwrite,
    }


def _translate(options: argparse.Namespace) -> int:
    from conversion.generation import translate_files

    def run(**more: Any) -> Summary:
        languages = {"src_lang": options.src_lang, "tgt_lang": options.tgt_lang}
        return translate_files(**_common(options), **languages, **more)

    return run_quietly(options, run)


def _generate(options: argparse.Namespace) -> int:
    from conversion.generation import generate_files

    def run(**more: Any) -> Summary:
        return generate_files(**_common(options), lang=options.lang, **more)

    return run_quietly(options, run)
