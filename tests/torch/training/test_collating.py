"""Collated examples in a DataLoader and in transformers' Trainers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.support.translation import small_config
from xlm_core import XLMConfig
from xlm_core.objectives import Collator
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch.training import ObjectiveCollator

SIZES: dict[str, Any] = {"vocab_size": 40, "emb_dim": 16, "n_layers": 1, "n_heads": 2}
LANGS: dict[str, Any] = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}


def rows(count: int = 12) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    return [
        {"input_ids": [1, *draw.integers(14, 40, 3 + at % 5).tolist(), 1], "index": at}
        for at in range(count)
    ]


def of_loader(collator: Any, **more: Any) -> list[dict[str, torch.Tensor]]:
    loader = torch.utils.data.DataLoader(rows(), batch_size=4, collate_fn=collator, **more)  # type: ignore[arg-type]
    return list(loader)


def same(first: list[dict[str, torch.Tensor]], second: list[dict[str, torch.Tensor]]) -> bool:
    return all(
        torch.equal(one[name], two[name])
        for one, two in zip(first, second, strict=True)
        for name in one
    )


def test_any_number_of_workers_makes_the_same_batches() -> None:
    config = XLMConfig(**SIZES, **LANGS)
    collator = ObjectiveCollator(config, "mlm", "fr", seed=4)
    expected = [
        Collator(config, "mlm", "fr", seed=4).arrays(rows()[at : at + 4]) for at in (0, 4, 8)
    ]
    for workers in (0, 2):
        for found, batch in zip(of_loader(collator, num_workers=workers), expected, strict=True):
            assert {name: x.tolist() for name, x in found.items()} == {
                name: x.tolist() for name, x in batch.items()
            }
            assert {x.dtype for x in found.values()} == {torch.int64}


def test_without_a_seed_torch_s_decides() -> None:
    collator = ObjectiveCollator(XLMConfig(**SIZES), "mlm")
    torch.manual_seed(0)
    first, second = of_loader(collator), of_loader(collator)
    torch.manual_seed(0)
    assert same(first, of_loader(collator))
    assert not same(first, second)


@pytest.mark.parametrize("objective", ["mlm", "clm"])
def test_trainer(tmp_path: Path, objective: str) -> None:
    model = XLMWithLMHeadModel(XLMConfig(**SIZES, **LANGS, causal=objective == "clm"))
    collator = ObjectiveCollator(model.config, objective, "fr", seed=0)
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=30,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            remove_unused_columns=False,
            report_to=[],
            save_strategy="no",
            logging_steps=10,
            use_cpu=True,
        ),
        train_dataset=rows(),  # type: ignore[arg-type]
        eval_dataset=rows(),  # type: ignore[arg-type]
        data_collator=collator,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert np.isfinite(trainer.evaluate()["eval_loss"])


@pytest.mark.parametrize("module", ["xlm_torch", "xlm_torch.for_transformers"])
def test_labels_that_trainer_smooths_are_not_shifted(tmp_path: Path, module: str) -> None:
    """It shifts those of classes that are causal by the table of their names."""
    kind = importlib.import_module(module).XLMWithLMHeadModel
    model = kind(XLMConfig(**SIZES, **LANGS)).eval()
    batch = ObjectiveCollator(model.config, "mlm", "fr", seed=0)(rows())
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path), label_smoothing_factor=0.1, report_to=[], use_cpu=True
        ),
        train_dataset=rows(),  # type: ignore[arg-type]
    )
    with torch.no_grad():
        logits = model(**{name: x for name, x in batch.items() if name != "labels"})["logits"]
        found = trainer.compute_loss(model, {**batch})
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"].flatten(), label_smoothing=0.1
    )
    torch.testing.assert_close(found, expected)


def translations() -> tuple[XLMConfig, list[dict[str, Any]]]:
    """Of sentences by themselves, and a configuration of an encoder-decoder without dropout."""
    config = small_config(vocab_size=40, dropout=0.0, attention_dropout=0.0, **LANGS)
    return config, [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in rows()]


@pytest.mark.parametrize("module", ["xlm_torch", "xlm_torch.for_transformers"])
def test_translations_that_trainer_smooths(tmp_path: Path, module: str) -> None:
    """It takes the labels away from the model, whose decoder reads its inputs then."""
    kind = importlib.import_module(module).XLMForConditionalGeneration
    config, data = translations()
    torch.manual_seed(0)
    model = kind(config)
    collator = ObjectiveCollator(config, "mt", ("en", "fr"))
    trainer = transformers.Seq2SeqTrainer(
        model=model,
        args=transformers.Seq2SeqTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=1,
            label_smoothing_factor=0.1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        ),
        train_dataset=data,  # type: ignore[arg-type]
        eval_dataset=data,  # type: ignore[arg-type]
        data_collator=collator,
    )
    batch = collator(data)
    assert torch.equal(
        batch["decoder_input_ids"], model.prepare_decoder_input_ids_from_labels(batch["labels"])
    )
    with torch.no_grad():
        output = model(**batch)
        found = trainer.compute_loss(model, {**batch})
    labels = batch["labels"].flatten()
    expected = torch.nn.functional.cross_entropy(
        output["logits"].flatten(0, 1), labels, label_smoothing=0.1
    )
    torch.testing.assert_close(found, expected)
    trainer.train()
    assert np.isfinite(trainer.evaluate()["eval_loss"])


def test_seq2seq_trainer(tmp_path: Path) -> None:
    """Examples as a tokenizer gives them, framed on both sides; predictions beside labels."""
    torch.manual_seed(0)
    config, data = translations()
    model = XLMForConditionalGeneration(config)
    seen: list[Any] = []

    def metrics(prediction: Any) -> dict[str, float]:
        seen.append(prediction.label_ids)
        return {"rows": float(len(prediction.label_ids))}

    trainer = transformers.Seq2SeqTrainer(
        model=model,
        args=transformers.Seq2SeqTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        ),
        train_dataset=data,  # type: ignore[arg-type]
        eval_dataset=data,  # type: ignore[arg-type]
        data_collator=ObjectiveCollator(config, "mt", ("en", "fr")),
        compute_metrics=metrics,
    )
    trainer.train()
    assert trainer.evaluate()["eval_rows"] == len(data)
    assert [label for label in seen[0][0].tolist() if label != -100] == data[0]["labels"][1:]
