"""Tokenization beside transformers 4.57's `XLMTokenizer`, in one process and on the same texts.

    python benchmarks/tokenizer.py [--rounds N] [--tokenizer FOLDER --text FILE]

Without arguments: the vocabulary of XNLI-15 and the PUD sentences of 14 languages in
../shared/data. Both are called as their users call them, `tokenizer(list_of_texts)`, in turn
within each round; medians of the rounds are printed, in microseconds a text, and their ratio.
"never seen" is a new tokenizer at every round, "seen" the same texts once more. Bars: 2 and 15
times. Every row first checks that the ids are equal.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer  # noqa: E402
from transformers.utils import logging  # noqa: E402

from xlm_core import XLMTokenizer  # noqa: E402

LANGUAGES = ("ar", "cs", "de", "en", "es", "fi", "fr", "hi", "id", "it", "pl", "pt", "ru", "tr")


def inputs(arguments: argparse.Namespace) -> tuple[Path, list[str]]:
    """The folder of the tokenizer, and the texts."""
    if arguments.tokenizer and arguments.text:
        lines = Path(arguments.text).read_text(encoding="utf-8").split("\n")
        return Path(arguments.tokenizer), [line for line in lines if line]
    from tests.support import corpora

    sentences = corpora.pud()
    texts = [line for language in LANGUAGES for line in sentences[language][:150]]
    return corpora.vocabulary("xnli_15").vocab_file.parent, texts


def microseconds(call: Callable[[], Any], count: int) -> float:
    """Time of one call, for each of `count` texts."""
    gc.collect()
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) / count * 1e6


def main() -> None:
    """Print a line for each way of calling."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokenizer")
    parser.add_argument("--text")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    folder, texts = inputs(arguments)
    files = folder / "vocab.json", folder / "merges.txt"
    sides = {"ours": XLMTokenizer, "peer": Peer}
    ways: dict[str, dict[str, Any]] = {
        "seen": {},
        "seen, padded arrays": {"padding": True, "return_tensors": "np"},
        "seen, 64 tokens at most": {"truncation": True, "max_length": 64},
    }
    times: dict[str, dict[str, list[float]]] = {}
    for _ in range(arguments.rounds):
        new = {name: side(*files) for name, side in sides.items()}
        for name, tokenizer in new.items():
            tokenizer("Load what loads at first: it's 5,000.")
            row = times.setdefault("never seen", {}).setdefault(name, [])
            row.append(microseconds(lambda call=tokenizer: call(texts), len(texts)))
        assert new["ours"](texts)["input_ids"] == new["peer"](texts)["input_ids"]
        for way, options in ways.items():
            for name, tokenizer in new.items():
                row = times.setdefault(way, {}).setdefault(name, [])
                row.append(microseconds(lambda c=tokenizer, o=options: c(texts, **o), len(texts)))
        for name, tokenizer in new.items():
            row = times.setdefault("seen, one by one", {}).setdefault(name, [])
            row.append(microseconds(lambda c=tokenizer: [c(text) for text in texts], len(texts)))
        row = times.setdefault("seen, with offsets (ours alone)", {}).setdefault("ours", [])
        ours = new["ours"]
        ours(texts, return_offsets_mapping=True)
        row.append(microseconds(lambda c=ours: c(texts, return_offsets_mapping=True), len(texts)))
    print(f"{len(texts)} texts, {sum(map(len, texts)) / len(texts):.0f} characters on average")
    print(f"{'':34}{'xlm_core':>10}{'transformers':>14}{'ratio':>8}")
    for way, row in times.items():
        ours_median = statistics.median(row["ours"])
        if "peer" not in row:
            print(f"{way:34}{ours_median:8.1f} us")
            continue
        ratio = statistics.median(p / o for o, p in zip(row["ours"], row["peer"], strict=True))
        print(
            f"{way:34}{ours_median:8.1f} us{statistics.median(row['peer']):11.1f} us{ratio:7.1f}x"
        )


if __name__ == "__main__":
    main()
