"""Calls of `xlm tokenize`, and what they should give."""

from __future__ import annotations

from typing import Any

import pytest

from conversion.cli import main
from xlm_core import XLMTokenizer

# Only "\n" ends a line; the last one has none.
LINES = ["abc de", "", "<special1> h, ab", "x abc\r", "fg\u2028a\u0085b\x0bc", "ÀBC"]
TEXT = "\n".join(LINES)


def run(*arguments: Any) -> int:
    return main(["tokenize", *map(str, arguments), "--lang", "en"])


def lines_of(capsys: Any) -> list[str]:
    out = capsys.readouterr().out
    assert out.endswith("\n") or not out
    return out.split("\n")[:-1]


def ids(tokenizer: XLMTokenizer, lines: list[str] = LINES, **more: Any) -> list[str]:
    more = {"add_special_tokens": False, "lang": "en", **more}
    return [" ".join(map(str, tokenizer.encode(line, **more))) for line in lines]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line.removeprefix("xlm tokenize: ")
