"""Our tokenizer against what others were recorded to make of real and generated text.

tests/support/record_transformers.py and record_moses.py made the fixtures; they hold digests, so
a failure names the texts and shows what we make of them, and the peer is asked for its own.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.conftest import FULL
from tests.support import record_moses, record_transformers
from tests.support.corpora import vocabulary
from xlm_core import XLMTokenizer
from xlm_core.tokenization.text.pipeline import Pipeline

# Of the blocks and lines, one in so many; XLM_FULL=1 takes all.
EVERY = 1 if FULL else 16
SHOWN = 3


def skip_for_another_unicode(recorded: str, what: str) -> None:
    """What category and case a character has, the fixture knows from one version of Unicode."""
    if recorded != unicodedata.unidata_version:
        pytest.skip(
            f"{what} was recorded with Unicode {recorded}, "
            f"and this Python has {unicodedata.unidata_version}"
        )


@functools.cache
def recorded_of_transformers(major: int) -> dict[str, Any]:
    path = record_transformers.FIXTURES / f"transformers_{major}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@functools.cache
def tokenizer(name: str, mode: str, lower: bool) -> XLMTokenizer:
    files = vocabulary(name)
    return XLMTokenizer(
        str(files.vocab_file),
        str(files.merges_file),
        mode=mode,
        do_lowercase_and_remove_accent=lower,
    )


texts_of = functools.lru_cache(maxsize=2)(record_transformers.texts_of)


def results_of(
    tok: XLMTokenizer, texts: Sequence[str]
) -> tuple[list[list[int]], list[str], list[str]]:
    ids = tok(list(texts))["input_ids"]
    return (
        ids,
        [tok.decode(row) for row in ids],
        [tok.decode(row, skip_special_tokens=True) for row in ids],
    )


def difference(
    run: record_transformers.Run, version: str, texts: Sequence[str], tok: XLMTokenizer
) -> str:
    """The first texts of a block that differs; where the same peer is installed, those at fault."""
    peer = peer_of(run, version)
    lines = []
    for text, *ours in zip(texts, *results_of(tok, texts), strict=True):
        if peer is None:
            lines.append(f"  {text!a}\n    ours: {ours}")
            continue
        ids = peer(text)["input_ids"]
        theirs = [ids, peer.decode(ids), peer.decode(ids, skip_special_tokens=True)]
        if ours != theirs:
            lines.append(f"  {text!a}\n    ours:   {ours}\n    theirs: {theirs}")
    return "\n".join(lines[:SHOWN])


def peer_of(run: record_transformers.Run, version: str) -> Any:
    """transformers' own tokenizer, if it is installed in the version that was recorded."""
    if importlib.util.find_spec("transformers") is None:
        return None
    import transformers
    from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

    if transformers.__version__ != version:
        return None
    files = vocabulary(run.vocabulary)
    return Peer(
        str(files.vocab_file),
        str(files.merges_file),
        do_lowercase_and_remove_accent=run.lower,
    )


@pytest.mark.parametrize("run", record_transformers.RUNS, ids=lambda run: run.name)
@pytest.mark.parametrize("major", [4, 5], ids=["v4", "v5"])
def test_same_ids_and_texts_as_transformers(major: int, run: record_transformers.Run) -> None:
    fixture = recorded_of_transformers(major)
    skip_for_another_unicode(fixture["unicode"], f"transformers {fixture['transformers']}")
    assert fixture["block"] == record_transformers.BLOCK
    [recorded] = [r for r in fixture["runs"] if record_transformers.Run(*run_values(r)) == run]
    expected = list(
        zip(
            *(record_transformers.unpacked(recorded[kind]) for kind in record_transformers.KINDS),
            strict=True,
        )
    )

    tok = tokenizer(run.vocabulary, f"v{major}", run.lower)
    texts = texts_of(run)
    given = record_transformers.packed([record_transformers.digest(texts)])
    assert (len(texts), given) == (recorded["texts"], recorded["given"]), (
        "these are not the texts of the recording"
    )

    blocks = record_transformers.blocks_of(texts)
    assert len(blocks) == len(expected)
    wrong = [
        i
        for i in range(0, len(blocks), EVERY)
        if record_transformers.digest_block(*results_of(tok, blocks[i])) != expected[i]
    ]
    if wrong:
        first = wrong[0]
        begin = first * record_transformers.BLOCK
        pytest.fail(
            f"{run}: {len(wrong)} of {len(range(0, len(blocks), EVERY))} blocks differ from "
            f"transformers {fixture['transformers']}; the first is {first}, of texts {begin} to "
            f"{begin + len(blocks[first]) - 1} (with that version, python -m "
            f"tests.support.record_transformers --show {run.name} {first} prints its results):\n"
            + difference(run, fixture["transformers"], blocks[first], tok)
        )


def run_values(recorded: dict[str, Any]) -> list[Any]:
    """The values of `Run` in the order of its attributes."""
    return [recorded[key] for key in ("corpus", "vocabulary", "lower", "seed", "count")]


@functools.cache
def recorded_of_moses(corpus: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known about the recording, and its arrays."""
    with np.load(record_moses.FIXTURES / f"moses_2019_{corpus}.npz") as arrays:
        return json.loads(str(arrays["about"])), dict(arrays)


@pytest.mark.parametrize("lowercase", [False, True], ids=["cased", "lowercased"])
@pytest.mark.parametrize("corpus", record_moses.CORPORA)
def test_same_words_as_the_original_scripts(corpus: str, lowercase: bool) -> None:
    about, arrays = recorded_of_moses(corpus)
    skip_for_another_unicode(about["unicode"], "the original pipeline")
    texts = record_moses.lines_of(corpus)
    lines = [(code, line) for code, given in texts.values() for line in given]
    assert about["texts"] == [[name, code, len(given)] for name, (code, given) in texts.items()]
    given = record_moses.whole(line for _, line in lines)
    assert np.array_equal(given, arrays["given"]), "these are not the lines of the recording"

    expected = arrays["lowercased" if lowercase else "cased"].tolist()
    pipelines = {
        code: Pipeline("original", code, lowercase=lowercase) for code, _ in texts.values()
    }
    wrong = []
    for i in range(0, len(lines), EVERY):
        code, line = lines[i]
        ours = " ".join(pipelines[code].words(line))
        if record_moses.digest(ours) != expected[i]:
            wrong.append(f"  {place(texts, i)}\n    given: {line!a}\n    ours:  {ours!a}")
    assert not wrong, (
        f"{len(wrong)} of {len(range(0, len(lines), EVERY))} lines differ from Perl's "
        "(which record_moses.py writes out with --outputs):\n" + "\n".join(wrong[:SHOWN])
    )


def place(texts: dict[str, tuple[str, list[str]]], index: int) -> str:
    """Text, language and number of a line, from 1, as an editor counts them."""
    for name, (code, lines) in texts.items():
        if index < len(lines):
            return f"{name}, language {code}, line {index + 1}"
        index -= len(lines)
    raise IndexError
