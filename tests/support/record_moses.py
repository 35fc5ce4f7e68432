"""Records what the Perl scripts of Moses and the published XLM scripts make of lines of text.

By hand, with a checkout of Moses at the commit that the published models' preparation used:

    .venv/bin/python -m tests.support.record_moses MOSES --commit COMMIT [--outputs FOLDER]

Of every line, after the four scripts of the published pipeline, four bytes of BLAKE2b are kept,
and four more after its lowercasing and removal of accents; with --outputs the lines themselves are
written too, to look up what a digest stands for. The scripts stay where they are: neither they nor
their words are part of the project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.corpora import ROOT, ntrex, udhr, udhr_language
from tests.support.fuzz_text import fuzz_texts

FIXTURES = ROOT / "tests" / "core" / "tokenization" / "fixtures"
# The published pipeline gives these languages to other programs.
SEGMENTED = ("zh", "th", "ja")
FUZZ_LANGUAGES = (
    *("en", "de", "fr", "ga", "it", "so", "fi"),
    *("sv", "cs", "hi", "ro", "ru", "ta", "ko"),
)
FUZZ_COUNT = 20_000
FUZZ_SEED = 2019
CORPORA = ("ntrex", "udhr", "fuzz")
SCRIPTS = (
    "replace-unicode-punctuation.perl",
    "normalize-punctuation.perl -l LANG",
    "remove-non-printing-char.perl",
    "tokenizer.perl -q -no-escape -l LANG",
)

Digests = np.ndarray[Any, np.dtype[np.uint32]]


def lines_of(corpus: str) -> dict[str, tuple[str, list[str]]]:
    """Name of a text -> its language and its lines.

    Of the generated strings, string i is of language i modulo the number of languages, and
    without the characters that end a line.
    """
    if corpus == "ntrex":
        texts = {code: (code, lines) for code, lines in ntrex().items()}
    elif corpus == "udhr":
        texts = {name: (udhr_language(name), lines) for name, lines in udhr().items()}
    else:
        every = [
            text.replace("\n", "").replace("\r", "") for text in fuzz_texts(FUZZ_COUNT, FUZZ_SEED)
        ]
        step = len(FUZZ_LANGUAGES)
        texts = {code: (code, every[i::step]) for i, code in enumerate(FUZZ_LANGUAGES)}
    return {name: text for name, text in texts.items() if text[0] not in SEGMENTED}


def digest(line: str) -> int:
    """Four bytes for a line."""
    return int.from_bytes(hashlib.blake2b(line.encode("utf-8"), digest_size=4).digest(), "little")


def digests(lines: Iterable[str]) -> Digests:
    """The digests of lines of words, between which it is no matter how much blank stands."""
    return np.fromiter((digest(" ".join(line.split())) for line in lines), np.uint32)


def whole(lines: Iterable[str]) -> Digests:
    """One digest for all lines together, blanks included: do two sides speak of the same text?"""
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    return np.frombuffer(hashlib.blake2b(text, digest_size=8).digest(), np.uint32)


def without_accents(line: str) -> str:
    """Lowercase, then without nonspacing marks, as the published script does to a line."""
    decomposed = unicodedata.normalize("NFD", line.rstrip().lower())
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn").lower()


def run_scripts(folder: Path, language: str, lines: list[str]) -> list[str]:
    """The lines after the pipeline of the language."""
    command = " | ".join(
        f"perl {shlex.quote(str(folder))}/{script.replace('LANG', shlex.quote(language))}"
        for script in SCRIPTS
    )
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        input="".join(f"{line}\n" for line in lines).encode("utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    output = done.stdout.decode("utf-8").split("\n")
    if output.pop() != "" or len(output) != len(lines):
        raise RuntimeError(f"{language}: {len(lines)} lines became {len(output)}")
    return output


def record(corpus: str, folder: Path, commit: str, outputs: Path | None) -> Path:
    """Record a corpus; write its fixture and, if asked, all lines."""
    texts = lines_of(corpus)
    by_language: dict[str, list[str]] = {}
    for name, (language, _) in texts.items():
        by_language.setdefault(language, []).append(name)
    results: dict[str, list[str]] = {}
    for language, names in by_language.items():
        found = iter(run_scripts(folder, language, [ln for n in names for ln in texts[n][1]]))
        for name in names:
            results[name] = [next(found) for _ in texts[name][1]]

    if outputs is not None:
        write_outputs(outputs / corpus, texts, results)
    perl_version = "use Unicode::UCD; print join ' ', $^V, Unicode::UCD::UnicodeVersion()"
    perl = subprocess.run(["perl", "-e", perl_version], capture_output=True, text=True, check=True)
    about = {
        "corpus": corpus,
        "moses_commit": commit,
        "scripts": SCRIPTS,
        "perl": perl.stdout.split()[0],
        "perl_unicode": perl.stdout.split()[1],
        "python": sys.version.split()[0],
        "unicode": unicodedata.unidata_version,
        "seed": FUZZ_SEED if corpus == "fuzz" else None,
        "texts": [[name, language, len(results[name])] for name, (language, _) in texts.items()],
    }
    given = [line for _, lines in texts.values() for line in lines]
    made = [line for name in texts for line in results[name]]
    path = FIXTURES / f"moses_2019_{corpus}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        about=np.array(json.dumps(about)),
        given=whole(given),
        cased=digests(made),
        lowercased=digests(map(without_accents, made)),
    )
    return path


def write_outputs(
    folder: Path,
    texts: Mapping[str, tuple[str, list[str]]],
    results: Mapping[str, list[str]],
) -> None:
    """Write NAME.LANGUAGE.given, .cased and .lowercased, in UTF-8, line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (language, lines) in texts.items():
        columns = {
            "given": lines,
            "cased": results[name],
            "lowercased": [without_accents(line) for line in results[name]],
        }
        for kind, column in columns.items():
            content = "".join(f"{line}\n" for line in column)
            (folder / f"{name}.{language}.{kind}").write_bytes(content.encode("utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("moses", type=Path, help="the folder of a checkout, with scripts/ in it")
    parser.add_argument("--commit", required=True, help="the commit of the checkout")
    parser.add_argument("--outputs", type=Path, help="a folder for the lines themselves")
    options = parser.parse_args()
    for corpus in CORPORA:
        path = record(corpus, options.moses / "scripts/tokenizer", options.commit, options.outputs)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
