"""Public names of a class of transformers: each is here too, or in docs/transformers-names.md."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "transformers-names.md"


def public(*things: object) -> set[str]:
    """Public names of classes and objects."""
    return {name for thing in things for name in dir(thing) if not name.startswith("_")}


def explained(title: str) -> set[str]:
    """The names in the table under a heading of the page, whose rows each give a reason."""
    page = _PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if section is None:
        return set()
    names: set[str] = set()
    for row in section[1].splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if row.startswith("| `"):
            assert all(cells[1:2]), f"a row without a reason: {row}"
            names |= set(re.findall(r"`([^`]+)`", cells[0]))
    return names


def assert_complete(title: str, theirs: set[str], ours: object) -> None:
    """Every name of theirs is an attribute of ours, or else explained; and no other is explained.

    Args:
        title: The heading of the table that explains.
        theirs: Public names of transformers' class.
        ours: The class of this library, or an object of it where attributes are found only there.
    """
    listed = explained(title)
    absent = {name for name in theirs if not hasattr(ours, name)}
    assert sorted(absent - listed) == [], f"neither here nor explained under {title!r}"
    assert sorted(listed - absent) == [], f"explained under {title!r}, though it need not be"
