"""The original's translation models, and what their code wrote with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.shared import shared_path
from xlm_core.checkpoints import open_checkpoint


@dataclass(frozen=True)
class Translations:
    """A golden case as text.

    Attributes:
        model: The file.
        sources: The lines, of subwords as the dictionary of these files has them: "</w>" ends a
            word.
        expected: The arrays of the case.
        words: The word of each id.
    """

    model: Path
    sources: list[str]
    expected: dict[str, Any]
    words: tuple[str, ...]

    def texts(self, name: str) -> list[str]:
        """What the original wrote with some settings, its subwords joined."""
        rows, lengths = self.expected[name].T, self.expected[f"{name}_len"]
        texts = [self.text(row[1 : n - 1]) for row, n in zip(rows, lengths, strict=True)]
        return [text.replace(" ", "").replace("</w>", " ").rstrip() for text in texts]

    def text(self, ids: Any) -> str:
        return " ".join(self.words[i] for i in ids)


def load(name: str) -> Translations:
    (model,) = shared_path(f"golden/facebook/{name}").glob("*.pth")
    original = open_checkpoint(model).original
    assert original is not None
    assert original.words is not None
    with np.load(model.with_name("expected.npz")) as arrays:
        expected = dict(arrays)
    case = Translations(model, [], expected, original.words)
    rows = zip(expected["x"].T, expected["lengths"], strict=True)
    case.sources.extend(case.text(row[1 : n - 1]) for row, n in rows)
    return case


@pytest.fixture(scope="session", params=["mt_encoder_decoder", "mt_encoder_decoder_zip"])
def case(request: Any) -> Translations:
    return load(request.param)


@pytest.fixture(scope="session")
def one_case() -> Translations:
    return load("mt_encoder_decoder")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines to a file."""

    def write(lines: list[str], name: str = "text") -> Path:
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / name

    return write
