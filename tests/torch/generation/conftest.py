"""Small random models that generate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xlm_core import XLMConfig
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel

VOCABULARY = 43


def random_model(seed: int, kind: Any = XLMWithLMHeadModel, **fields: Any) -> Any:
    """A float64 model whose logits differ, with a random output matrix of its own."""
    torch.manual_seed(seed)
    values: dict[str, Any] = {
        "vocab_size": VOCABULARY, "emb_dim": 12, "n_layers": 2, "n_heads": 3, "n_langs": 3,
        "lang2id": {"de": 0, "en": 1, "fr": 2}, "max_position_embeddings": 40, "init_std": 0.6,
        "embed_init_std": 1.0, "tie_word_embeddings": False, "causal": True,
    }  # fmt: skip
    model = kind(XLMConfig(**(values | fields))).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(std=0.3)
    return model


def prompts(seed: int, rows: int = 3, length: int = 4) -> torch.Tensor:
    """Ids without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, VOCABULARY, (rows, length), generator=generator)


@pytest.fixture(scope="module")
def causal() -> Any:
    return random_model(1)


@pytest.fixture(scope="module")
def translator() -> Any:
    return random_model(2, XLMForConditionalGeneration, causal=False)
