"""transformers' Trainer, with classes of its kind and with the plain ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import DataCollatorForTokenClassification, Trainer, TrainingArguments

import xlm_torch
from xlm_core import XLMTokenizer

# Of two lengths, so that somebody has to pad.
DATA = [
    {"input_ids": [0, 14, 15, 16, 1], "labels": [-100, 14, 15, 16, -100]},
    {"input_ids": [0, 17, 1], "labels": [-100, 17, -100]},
] * 4
PADDED = [
    {
        "input_ids": torch.tensor([*each["input_ids"], 2, 2][:5]),
        "labels": torch.tensor([*each["labels"], -100, -100][:5]),
    }
    for each in DATA
]

pytestmark = pytest.mark.filterwarnings("ignore:.*langs was not given.*", "ignore::FutureWarning")


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    usual: dict[str, Any] = {
        "per_device_train_batch_size": 2,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
        "learning_rate": 1e-2,
    }
    return TrainingArguments(str(folder), **usual | more)


def test_a_tied_model_is_saved_resumed_and_the_best_comes_back(
    kind: Any, folder: Path, tiny: Any, tmp_path: Path
) -> None:
    tokenizer = kind.XLMTokenizer.from_pretrained(folder, mode="v5")

    def trainer() -> Trainer:
        torch.manual_seed(0)
        return Trainer(
            model=kind.XLMWithLMHeadModel(tiny.copy()),
            args=arguments(
                tmp_path,
                max_steps=4,
                save_steps=2,
                eval_steps=2,
                eval_strategy="steps",
                load_best_model_at_end=True,
            ),
            train_dataset=DATA,
            eval_dataset=DATA,
            processing_class=tokenizer,
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )

    first = trainer()
    first.train()
    best = first.state.best_model_checkpoint
    assert best == str(tmp_path / "checkpoint-4")
    trained = first.model.state_dict()

    weight = first.model.pred_layer.proj.weight
    assert weight is first.model.transformer.embeddings.weight

    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 4
    for name, value in resumed.model.state_dict().items():
        assert torch.allclose(value, trained[name], atol=1e-6), name
    assert resumed.evaluate()["eval_loss"] == pytest.approx(first.evaluate()["eval_loss"], abs=1e-5)
    assert first.predict(DATA).predictions.shape[::2] == (8, tiny.vocab_size)

    first.save_model(str(tmp_path / "final"))
    for saved in ("checkpoint-2", "checkpoint-4", "final"):
        opened = xlm_torch.XLMWithLMHeadModel.from_pretrained(tmp_path / saved)
        again = kind.XLMWithLMHeadModel.from_pretrained(tmp_path / saved)
        assert all(map(torch.equal, opened.state_dict().values(), again.state_dict().values()))
        assert XLMTokenizer.from_pretrained(tmp_path / saved)("A list") == tokenizer("A list")
    assert all(map(torch.equal, trained.values(), again.state_dict().values()))
    if importlib.util.find_spec("tensorflow"):
        import xlm_tf

        batch = torch.stack([each["input_ids"] for each in PADDED])
        keras_model = xlm_tf.TFXLMWithLMHeadModel.from_pretrained(tmp_path / "checkpoint-4")
        logits = again.eval()(batch).logits.detach().numpy()
        assert np.abs(keras_model(batch.numpy()).logits.numpy() - logits).max() < 1e-4


def test_default_collator_pads(kind: Any, folder: Path, tiny: Any, tmp_path: Path) -> None:
    """`processing_class=` alone: Trainer asks whether it is transformers' kind before it pads."""
    tokenizer = kind.XLMTokenizer.from_pretrained(folder)
    data = [{"input_ids": each["input_ids"], "label": 1} for each in DATA]
    trainer = Trainer(
        model=kind.XLMForSequenceClassification(tiny),
        args=arguments(tmp_path, max_steps=1, save_strategy="no", gradient_checkpointing=True),
        train_dataset=data,
        processing_class=tokenizer,
    )
    assert trainer.train().training_loss > 0
    assert trainer.model.gradient_checkpointing
    assert (tmp_path / "runs").exists() is False


@pytest.mark.parametrize("name", ["XLMForTokenClassification", "XLMWithLMHeadModel"])
def test_the_plain_classes_train(tiny: Any, tmp_path: Path, name: str) -> None:
    """Without saving where tensors are shared; what they cannot is in docs/transformers.md."""
    saves = name != "XLMWithLMHeadModel"
    data = [{**each, "labels": each["labels"].clamp(max=2)} for each in PADDED] if saves else PADDED

    def trainer(**more: Any) -> Trainer:
        torch.manual_seed(0)
        return Trainer(
            model=getattr(xlm_torch, name)(xlm_torch.XLMConfig.from_dict(tiny.to_dict())),
            args=arguments(tmp_path, max_steps=2, **more),
            train_dataset=data,
            eval_dataset=data,
        )

    first = trainer(**{"save_steps": 1} if saves else {"save_strategy": "no"})
    first.train()
    assert first.evaluate()["eval_loss"] > 0
    assert first.predict(data).predictions.shape[0] == 8
    if saves:
        resumed = trainer(save_strategy="no")
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
        for name, value in resumed.model.state_dict().items():
            assert torch.allclose(value, first.model.state_dict()[name], atol=1e-6), name


def test_transformers_is_silent_about_it(
    kind: Any, tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Resuming a tied model misses no key: the output matrix is in no file, and is known to be."""
    model = kind.XLMWithLMHeadModel(tiny)
    model.save_pretrained(tmp_path)
    trainer = Trainer(model=model, args=arguments(tmp_path))
    with caplog.at_level("WARNING"):
        transformers.utils.logging.enable_propagation()
        trainer._load_from_checkpoint(str(tmp_path))
        transformers.utils.logging.disable_propagation()
    assert "missing keys" not in caplog.text
