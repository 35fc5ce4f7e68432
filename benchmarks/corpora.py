"""From raw text to corpora, beside transformers' tokenizer and the original's preprocess.py.

    XLM_BENCH_ORIGINAL=CHECKOUT python benchmarks/corpora.py [--lines N] [--rounds N]
    python benchmarks/corpora.py --memory [--lines N]

Text of ../shared/data (lohelp and pydocs) and the vocabulary of XNLI-15. All sides run on one
thread, in turn within each round, with tokenizers that have seen no text:

- ours: the loop of `xlm tokenize --to corpus`;
- transformers: `tokenizer.tokenize(line)` of 4.57's XLMTokenizer, told the language (which
  `tokenize` does not hand on), its subwords written with "@@", then index_data of the original's
  preprocess.py and torch.save;
- the original's whole chain, if its programs are given: Moses' scripts (XLM_BENCH_MOSES, a checkout
  of mosesdecoder), lowercase_and_remove_accent.py, fastBPE (XLM_BENCH_FASTBPE, the program), then
  preprocess.py's. The programs run at the same time in a pipe: their CPU seconds are added up.

Opening vocabularies is in no time. The ids of the first two are compared. Bar: 4 times.

--memory prints how much the commands hold at their peak, as processes of their own, for text of N
lines, ten times this text, and ten times as much different text: what grows is the counts of words.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import logging
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from conversion.tokenize.files import tokenize_files  # noqa: E402
from conversion.tokenize.options import Options  # noqa: E402
from tests.support import corpora  # noqa: E402
from xlm_core import XLMTokenizer  # noqa: E402
from xlm_core.corpus import Corpus  # noqa: E402

BAR = 4.0
# A process counts what the one that it was forked from held: this one is small.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
_MOSES = ("replace-unicode-punctuation", "normalize-punctuation", "remove-non-printing-char")


def texts(language: str, count: int) -> list[str]:
    """Lines of real text, each once, the same for every run."""
    found: dict[str, None] = {}
    for table in ("lohelp/lohelp.tsv.xz", "pydocs/pydocs.tsv.xz"):
        found |= dict.fromkeys(x for x in corpora.columns(table).get(language, []) if x.strip())
    lines = [*found]
    step = max(1, len(lines) // count)
    return lines[::step][:count]


def original_dictionary() -> Any:
    """The class of the original that indexes text.

    Raises:
        SystemExit: If no checkout is named.
    """
    checkout = os.environ.get("XLM_BENCH_ORIGINAL")
    if not checkout:
        sys.exit("XLM_BENCH_ORIGINAL names no checkout of the original code")
    sys.path.insert(0, checkout)
    dictionary = importlib.import_module("xlm.data.dictionary")
    logging.disable(logging.WARNING)
    dictionary.print = lambda *_: None  # what it says of empty lines
    return dictionary.Dictionary


class Sides:
    """The three ways from a file of text to ids on disk.

    Args:
        folder: For what they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = corpora.vocabulary("xnli_15")
        self.dictionary = original_dictionary()
        self.words = self.dictionary.read_vocab(str(self.files.words))
        if self.files.max_vocab is not None:
            self.words.max_vocab(self.files.max_vocab)

    def ours(self, text: Path, language: str) -> Callable[[], Path]:
        """The loop of `xlm tokenize --to corpus`."""
        tokenizer = XLMTokenizer(self.files.vocab_file, self.files.merges_file)
        tokenizer("Load what loads at first.", lang=language)
        tokenizer.clear_cache()
        target = self.folder / f"ours.{language}"

        def run() -> Path:
            options = Options(language, "corpus")
            tokenize_files(tokenizer, [str(text)], str(target), options, overwrite=True)
            return target

        return run

    def transformers(self, text: Path, language: str) -> Callable[[], Path]:
        """Its tokenizer, then what preprocess.py does."""
        from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

        tokenizer = Peer(str(self.files.vocab_file), str(self.files.merges_file))
        tokenizer._tokenize = functools.partial(tokenizer._tokenize, lang=language)
        tokenizer.tokenize("Load what loads at first.")
        tokenizer.cache.clear()
        target = self.folder / f"transformers.{language}"

        def run() -> Path:
            with text.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
                for line in lines:
                    pieces = tokenizer.tokenize(line.rstrip("\n"))
                    out.write(
                        " ".join(
                            piece[:-4] if piece.endswith("</w>") else f"{piece}@@"
                            for piece in pieces
                        )
                        + "\n"
                    )
            return self.index(target)

        return run

    def index(self, text: Path) -> Path:
        """What preprocess.py does with text of subwords."""
        written = text.with_name(f"{text.name}.pth")
        written.unlink(missing_ok=True)
        self.dictionary.index_data(str(text), str(written), self.words)
        return written

    def chain(self, text: Path, language: str) -> Callable[[], float] | None:
        """The original's programs: returns CPU seconds; None without them."""
        moses, fast = (os.environ.get(f"XLM_BENCH_{name}") for name in ("MOSES", "FASTBPE"))
        if not (moses and fast) or language in ("zh", "th", "ja"):
            return None
        scripts = Path(moses) / "scripts" / "tokenizer"
        lower = Path(os.environ["XLM_BENCH_ORIGINAL"]) / "tools" / "lowercase_and_remove_accent.py"
        commands = [["perl", str(scripts / f"{name}.perl")] for name in _MOSES]
        commands[1] += ["-l", language]
        tokenizer = str(scripts / "tokenizer.perl")
        commands += [["perl", tokenizer, "-q", "-no-escape", "-threads", "1", "-l", language]]
        commands += [[sys.executable, str(lower)]]
        line = f"{' | '.join(map(shlex.join, commands))} < {shlex.quote(str(text))}"
        words, target = (self.folder / f"{kind}.{language}" for kind in ("words", "chain"))
        codes = [fast, "applybpe", str(target), str(words), str(self.files.codes)]

        def run() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(["bash", "-c", f"{line} > {shlex.quote(str(words))}"], check=True)
            subprocess.run(codes, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            self.index(target)
            programs = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            return programs + time.perf_counter() - start

        return run


def same(corpus: Path, binarised: Path) -> bool:
    """Whether the ids of a corpus are those of a file of the original."""
    ours = Corpus.open(corpus)
    theirs = torch.load(binarised, weights_only=False)
    return np.array_equal(ours.sentences, theirs["sentences"]) and np.array_equal(
        ours.positions, theirs["positions"]
    )


def compare(arguments: argparse.Namespace) -> int:
    """Print a line for each language; whether the bar is reached in all."""
    reached = True
    with tempfile.TemporaryDirectory(prefix="xlm-bench-") as name:
        folder = Path(name)
        sides = Sides(folder)
        for language in arguments.languages:
            lines = texts(language, arguments.lines)
            text = folder / f"text.{language}"
            text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            times: dict[str, list[float]] = {"ours": [], "transformers": [], "chain": []}
            for _ in range(arguments.rounds):
                written = []
                for side in ("ours", "transformers"):
                    run = getattr(sides, side)(text, language)
                    gc.collect()
                    start = time.perf_counter()
                    written.append(run())
                    times[side].append(time.perf_counter() - start)
                if (chain := sides.chain(text, language)) is not None:
                    times["chain"].append(chain())
            equal = "equal" if same(*written) else "DIFFERENT"
            pairs = zip(times["transformers"], times["ours"], strict=True)
            ratio = statistics.median(theirs / mine for theirs, mine in pairs)
            whole = "its programs are not here"
            if times["chain"]:
                by_chain = statistics.median(times["chain"])
                whole = f"{by_chain:.2f} s ({by_chain / statistics.median(times['ours']):.1f} x)"
            print(
                f"{language}: {len(lines):,} lines, {len(''.join(lines)):,} characters, ids "
                f"{equal}; ours {statistics.median(times['ours']):.2f} s, transformers and "
                f"preprocess.py {statistics.median(times['transformers']):.2f} s, ratio "
                f"{ratio:.2f} (bar {BAR:.0f}); the original's whole chain: {whole}",
                flush=True,
            )
            reached &= ratio >= BAR and equal == "equal"
    return 0 if reached else 1


def memory(arguments: argparse.Namespace) -> int:
    """Print the most that each command holds, in MB."""
    with tempfile.TemporaryDirectory(prefix="xlm-bench-") as name:
        folder = Path(name)
        lines = texts("en", arguments.lines * 10)
        part = lines[:: max(1, len(lines) // arguments.lines)][: arguments.lines]
        times = max(1, len(lines) // len(part))
        sizes = {"text": part, f"{times} x the text": part * times, f"{times} x as much": lines}
        print(
            f"{'MB at the peak':22}{'lines':>10}"
            f"{'learn-bpe':>12}{'build-vocab':>14}{'tokenize':>12}"
        )
        for title, given in sizes.items():
            text, codes, tokenizer, corpus = (
                folder / each for each in ("text", "codes", "tokenizer", "corpus")
            )
            text.write_text("".join(f"{line}\n" for line in given), encoding="utf-8")
            most = ["--overwrite", "--quiet"]
            commands = [
                ["learn-bpe", f"en={text}", "-o", codes, "--merges", "2000", *most],
                ["build-vocab", codes, f"en={text}", "-o", tokenizer, *most],
                [
                    *("tokenize", tokenizer, text, "--lang", "en", "--to", "corpus"),
                    *("-o", corpus, *most),
                ],
            ]
            peaks = [peak([str(each) for each in command]) for command in commands]
            print(f"{title:22}{len(given):10,}{peaks[0]:12.0f}{peaks[1]:14.0f}{peaks[2]:12.0f}")
    return 0


def peak(command: list[str]) -> float:
    """The most memory of `xlm COMMAND`, in MB.

    Raises:
        SystemExit: If it fails.
    """
    launched = [sys.executable, "-c", _LAUNCHER, sys.executable, "-m", "conversion", *command]
    done = subprocess.run(launched, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"xlm {shlex.join(command)} failed")
    return int(done.stdout) / 1024


def main() -> int:
    """Run the comparison or measure memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=20_000, help="of each language")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--languages", nargs="+", default=["en", "fr", "zh"])
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    return (memory if arguments.memory else compare)(arguments)


if __name__ == "__main__":
    sys.exit(main())
