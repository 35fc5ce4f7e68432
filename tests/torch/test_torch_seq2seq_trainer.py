"""transformers' plain Seq2SeqTrainer trains an encoder-decoder and predicts with `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.support.translation import small_config
from xlm_torch import XLMForConditionalGeneration


class Reversed(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Sentences and the same words backwards, framed as for translation."""

    def __init__(self) -> None:
        words = np.random.default_rng(0).integers(6, 12, (16, 3))
        self.rows = [
            {"input_ids": [1, *row, 1], "labels": [*row[::-1], 1]} for row in words.tolist()
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


def test_it_trains_and_predicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = small_config(n_langs=1, vocab_size=12, emb_dim=32, dropout=0.0, attention_dropout=0.0)
    model, rows = XLMForConditionalGeneration(config), Reversed()
    seen: list[Any] = []

    def metrics(prediction: Any) -> dict[str, float]:
        seen.append(prediction.predictions)
        return {
            "right": float((prediction.predictions[:, 1:5] == prediction.label_ids[:, :4]).mean())
        }

    trainer = transformers.Seq2SeqTrainer(
        model=model,
        args=transformers.Seq2SeqTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=60,
            per_device_train_batch_size=16,
            learning_rate=5e-3,
            predict_with_generate=True,
            generation_max_length=8,
            report_to=[],
            save_strategy="no",
            logging_steps=30,
            use_cpu=True,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=metrics,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    result = trainer.evaluate()
    assert result["eval_right"] > 0.9
    found = model.generate(torch.tensor([row["input_ids"] for row in rows.rows]), max_length=8)
    width = min(found.shape[1], seen[0].shape[1])
    assert np.array_equal(seen[0][:, :width], found[:, :width].numpy())
