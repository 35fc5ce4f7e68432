"""The PyTorch examples of docs/generation.md run."""

from __future__ import annotations

import re
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parents[3] / "docs" / "generation.md"


def test_the_examples_of_the_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    torch.manual_seed(0)
    for block in blocks:
        if "tensorflow" not in block:
            exec(compile(block, str(PAGE), "exec"), names)
    translations, texts = names["translations"], names["texts"]
    assert isinstance(translations, torch.Tensor)
    assert isinstance(texts, torch.Tensor)
    assert (translations[:, 0] == 1).all()
    assert texts.shape[0] == 2
