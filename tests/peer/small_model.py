"""The small model of every class, as the common tests ask for it, and the sizes of its batches."""

from __future__ import annotations

import unittest
from typing import Any


class SmallModel:
    """What the testers of both frameworks share.

    Args:
        parent: The test case.
    """

    config_class: Any

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size, self.seq_length = 13, 7
        self.hidden_size, self.num_hidden_layers, self.num_attention_heads = 32, 2, 4
        self.vocab_size, self.num_choices, self.is_training = 99, 4, True

    def get_config(self) -> Any:
        """A small model with language embeddings; tokens 0 to 2 are special."""
        return self.config_class(
            vocab_size=self.vocab_size,
            emb_dim=self.hidden_size,
            n_layers=self.num_hidden_layers,
            n_heads=self.num_attention_heads,
            n_langs=2,
            dropout=0.1,
            attention_dropout=0.1,
            max_position_embeddings=64,
            num_labels=2,
            bos_token_id=0,
            pad_token_id=2,
        )
