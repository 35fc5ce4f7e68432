"""docs/glossary.md: one entry for each word, in alphabetical order, each with a meaning."""

from __future__ import annotations

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
