"""The Python examples of docs/tokenizer.md run, in order, as one program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_tokenizer import write_folder, write_original

PAGE = Path(__file__).resolve().parents[3] / "docs" / "tokenizer.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "my-xlm", lang2id={"en": 0, "fr": 1})
    write_original(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/tokenizer.md", "exec"), names)
        if block is blocks[0]:
            assert names["tokenizer"].mode == "original"
    assert names["batch"]["input_ids"].shape[:2] == (2, 2)
