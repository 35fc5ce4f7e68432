"""A small tokenizer and a small text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conversion.tokenize.tokenize_command import TEXT
from tests.support.small_tokenizer import write_folder
from xlm_core import XLMTokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tokenizer")


@pytest.fixture
def tokenizer(folder: Path) -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "text"
    file.write_bytes(TEXT.encode())
    return file
