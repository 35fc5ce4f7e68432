"""A small checkpoint with its tokenizer, as transformers wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import shared_path


@pytest.fixture(scope="session")
def folder() -> Path:
    """Two languages, learned positions, a tied output; with the files of its tokenizer."""
    return shared_path("checkpoints/small_mlm_tlm/hf")


@pytest.fixture(scope="session")
def kind() -> Any:
    """The package under test."""
    pytest.importorskip("transformers")
    import xlm_torch.for_transformers

    return xlm_torch.for_transformers


@pytest.fixture(scope="session")
def tiny(kind: Any, folder: Path) -> Any:
    """A configuration of the checkpoint's vocabulary, small enough to train in a moment."""
    return kind.XLMConfig.from_pretrained(folder, n_layers=1, emb_dim=16, n_heads=2, num_labels=3)
