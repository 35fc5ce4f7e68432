"""What `XLMTokenizer` shows: every public name, what kind of thing it is, and its signature."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from tests.core.tokenization.conftest import new_ours
from xlm_core import XLMTokenizer

RECORDED = Path(__file__).with_name("fixtures") / "public_surface.json"
MAGIC = ("__init__", "__call__", "__len__", "__repr__")


def surface() -> dict[str, str]:
    """Name -> "read", "read and written", or the signature of what is called."""
    tokenizer = new_ours()
    public = {name for name in dir(tokenizer) if not name.startswith("_")}
    return {name: described(tokenizer, name) for name in sorted({*public, *MAGIC})}


def described(tokenizer: XLMTokenizer, name: str) -> str:
    found = inspect.getattr_static(XLMTokenizer, name, None)
    if isinstance(found, classmethod | staticmethod):
        kind = type(found).__name__
        return f"{kind} {inspect.signature(found.__func__)}"
    if callable(found):
        return str(inspect.signature(found))
    try:
        setattr(tokenizer, name, getattr(tokenizer, name))
    except AttributeError:
        return "read"
    return "read and written"


def test_names_and_signatures_are_those_recorded() -> None:
    recorded: dict[str, Any] = json.loads(RECORDED.read_text())
    assert surface() == recorded


def test_attributes_that_are_written_are_read() -> None:
    for name, kind in surface().items():
        if kind == "read and written":
            tokenizer = new_ours(model_input_names=["input_ids"], lang2id={"en": 0, "fr": 1})
            value = getattr(tokenizer, name)
            setattr(tokenizer, name, value)
            assert getattr(tokenizer, name) == value, name


def test_it_holds_its_parts_and_inherits_from_nothing() -> None:
    assert XLMTokenizer.__mro__ == (XLMTokenizer, object)
