"""docs/glossary.md: one entry for each word, in alphabetical order, each with a meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def entries() -> list[list[str]]:
    """The cells of each line of the table: word, meaning, where."""
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines if "|" in line]
    assert cells[0] == ["word", "meaning", "where"]
    return cells[2:]


def test_words_are_in_order_and_stand_once() -> None:
    words = [word for word, *_ in entries()]
    assert words == sorted({*words}, key=str.lower)


def test_every_word_has_a_meaning_and_a_place() -> None:
    for word, meaning, where in entries():
        assert meaning.endswith("."), word
        assert where.startswith("`"), word


def places(where: str) -> Iterator[str]:
    """The paths that a cell names; those of both families where it says `xlm_*`."""
    for path in re.findall(r"`([^`]+)`", where):
        for family in ("xlm_torch", "xlm_tf") if path.startswith("xlm_*/") else ("",):
            yield path.replace("xlm_*", family)


def test_every_place_exists() -> None:
    found = {path for *_, where in entries() for path in places(where)}
    assert len(found) > 40
    assert sorted(path for path in found if not (ROOT / path).exists()) == []
    for path in found:
        assert (ROOT / path).is_dir() == path.endswith("/"), path
