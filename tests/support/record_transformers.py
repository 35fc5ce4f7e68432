"""Records what the tokenizer of an installed transformers makes of real and of generated text.

By hand, from the project's root, once with each version that our tokenizer reproduces:

    PYTHON -m tests.support.record_transformers

It writes tests/core/tokenization/fixtures/transformers_4.json or _5.json, after the version that
PYTHON finds. Of every block of texts eight bytes of BLAKE2b are kept for the ids, for the ids
decoded, and for the ids decoded without special tokens; `--show RUN BLOCK` prints what they stand
for.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import platform
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.support.corpora import ROOT, ntrex, pud, pydocs, vocabulary
from tests.support.fuzz_text import fuzz_texts

FIXTURES = ROOT / "tests" / "core" / "tokenizer" / "fixtures"
BLOCK = 100
SIZE = 8
KINDS = ("ids", "decoded", "decoded_without_special")
# A cache that the tokenizer never empties; it changes no result.
CACHED_WORDS = 500_000


@dataclass(frozen=True)
class Run:
    """Texts and the tokenizer they are given to.

    Attributes:
        corpus: "ntrex", "pud" or "pydocs", all languages one after another; or "fuzz".
        vocabulary: As `corpora.vocabulary` names it.
        lower: `do_lowercase_and_remove_accent`.
        seed: Of generated texts.
        count: Of generated texts.
    """

    corpus: str
    vocabulary: str
    lower: bool
    seed: int | None = None
    count: int | None = None

    @property
    def name(self) -> str:
        return f"{self.corpus}-{self.vocabulary}-{'lower' if self.lower else 'cased'}"


RUNS = (
    *(
        Run(corpus, name, lower)
        for name in ("xnli_15", "enfr", "ende")
        for lower in (True, False)
        for corpus in ("ntrex", "pud", "pydocs")
    ),
    Run("fuzz", "xnli_15", True, seed=1, count=150_000),
    Run("fuzz", "xnli_15", False, seed=2, count=50_000),
)
CORPORA = {"ntrex": ntrex, "pud": pud, "pydocs": pydocs}


def texts_of(run: Run) -> list[str]:
    """The texts of a run, in order."""
    if run.seed is not None and run.count is not None:
        return fuzz_texts(run.count, run.seed)
    return [line for lines in CORPORA[run.corpus]().values() for line in lines]


def blocks_of(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[at : at + BLOCK] for at in range(0, len(texts), BLOCK)]


def digest(items: Iterable[str]) -> bytes:
    """Eight bytes for a sequence of strings; no two sequences write the same."""
    content = json.dumps(list(items), ensure_ascii=True)
    return hashlib.blake2b(content.encode("ascii"), digest_size=SIZE).digest()


def digest_block(ids: Sequence[Sequence[int]], *decoded: Iterable[str]) -> tuple[bytes, ...]:
    """The digests of a block, in the order of KINDS."""
    return digest(" ".join(map(str, row)) for row in ids), *map(digest, decoded)


def results_of(tokenizer: Any, texts: Sequence[str]) -> tuple[bytes, ...]:
    """What a tokenizer of transformers makes of a block."""
    ids = [tokenizer(text)["input_ids"] for text in texts]
    return digest_block(
        ids,
        [tokenizer.decode(row) for row in ids],
        [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
    )


def packed(digests: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(digests)).decode("ascii")


def unpacked(text: str) -> list[bytes]:
    content = base64.b64decode(text)
    return [content[at : at + SIZE] for at in range(0, len(content), SIZE)]


def tokenizer_of(run: Run, peer: type) -> Any:
    """The tokenizer of a run, whose special tokens are gathered once, not once for every id."""
    files = vocabulary(run.vocabulary)
    tokenizer = peer(
        str(files.vocab_file),
        str(files.merges_file),
        do_lowercase_and_remove_accent=run.lower,
    )
    gathered = {
        name: getattr(tokenizer, name) for name in ("all_special_tokens", "all_special_ids")
    }
    tokenizer.__class__ = type(peer.__name__, (peer,), gathered)
    return tokenizer


def show(name: str, block: int, peer: type) -> None:
    """Print the texts of a block and what the tokenizer makes of each, a JSON object a line."""
    [run] = [run for run in RUNS if run.name == name]
    tokenizer = tokenizer_of(run, peer)
    for text in blocks_of(texts_of(run))[block]:
        ids = tokenizer(text)["input_ids"]
        decoded = tokenizer.decode(ids)
        without = tokenizer.decode(ids, skip_special_tokens=True)
        print(json.dumps({"text": text, **dict(zip(KINDS, (ids, decoded, without), strict=True))}))


def record(run: Run, peer: type, share: int) -> dict[str, Any]:
    """One entry of the fixture."""
    tokenizer = tokenizer_of(run, peer)
    texts = texts_of(run)
    texts = texts[: len(texts) // share]
    digests: list[tuple[bytes, ...]] = []
    for block in blocks_of(texts):
        digests.append(results_of(tokenizer, block))
        if len(tokenizer.cache) > CACHED_WORDS:
            tokenizer.cache.clear()
    return {
        **asdict(run),
        "texts": len(texts),
        "given": packed([digest(texts)]),
        **{
            kind: packed(column)
            for kind, column in zip(KINDS, zip(*digests, strict=True), strict=True)
        },
    }


def main() -> None:
    import sacremoses
    import transformers
    from transformers.models.xlm.tokenization_xlm import XLMTokenizer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=1, help="record the first 1/N, to try it out")
    parser.add_argument("--output", help="another file than the fixture")
    parser.add_argument(
        "--show", nargs=2, metavar=("RUN", "BLOCK"), help="record nothing; print one block"
    )
    options = parser.parse_args()
    if options.show:
        show(options.show[0], int(options.show[1]), XLMTokenizer)
        return
    started = time.monotonic()
    runs = []
    for run in RUNS:
        runs.append(record(run, XLMTokenizer, options.share))
        print(run.name, f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    fixture = {
        "transformers": transformers.__version__,
        "sacremoses": sacremoses.__version__,
        "python": platform.python_version(),
        "unicode": unicodedata.unidata_version,
        "block": BLOCK,
        "runs": runs,
    }
    major = transformers.__version__.partition(".")[0]
    path = options.output or FIXTURES / f"transformers_{major}.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(fixture, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
