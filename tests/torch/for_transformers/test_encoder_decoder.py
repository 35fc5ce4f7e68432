"""The encoder-decoder of transformers' kind: files, Seq2SeqTrainer, adapters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

import xlm_torch
from tests.support.parity import assert_equal
from tests.support.translation import small_batch, small_config
from xlm_core import XLMConfig, XLMTokenizer

BATCH = {name: torch.from_numpy(array) for name, array in small_batch().items()}
SOURCES = torch.tensor([[1, 7, 8, 9, 1], [1, 9, 8, 1, 2]])
CALL: dict[str, Any] = {"src_lang": "en", "tgt_lang": "fr", "max_length": 9}


def config_of(kind: Any, **fields: Any) -> Any:
    named: dict[str, Any] = {"lang2id": {"en": 0, "fr": 1}}
    return kind.XLMConfig.from_transformers(small_config(**named | fields))


@pytest.mark.parametrize("tied", [True, False])
def test_both_kinds_and_the_same_numbers(kind: Any, tmp_path: Path, tied: bool) -> None:
    config = config_of(kind, tie_word_embeddings=tied)
    torch.manual_seed(0)
    model = kind.XLMForConditionalGeneration(config).eval()
    torch.manual_seed(0)
    plain = xlm_torch.XLMForConditionalGeneration(XLMConfig.from_dict(config.to_dict())).eval()
    assert isinstance(model, xlm_torch.XLMForConditionalGeneration)
    assert isinstance(model, transformers.PreTrainedModel)
    assert type(model.generation_config) is transformers.GenerationConfig
    found, expected = (each(**BATCH) for each in (model, plain))
    assert type(found) is transformers.modeling_outputs.Seq2SeqLMOutput
    for name in expected:
        assert_equal(found[name], expected[name])
    for way in ({}, {"num_beams": 3}, {"do_sample": True, "seed": 1}):
        assert_equal(model.generate(SOURCES, **CALL, **way), plain.generate(SOURCES, **CALL, **way))
    given = transformers.GenerationConfig(num_beams=3, length_penalty=0.5)
    beams = plain.generate(SOURCES, **CALL, num_beams=3, length_penalty=0.5)
    assert_equal(model.generate(SOURCES, generation_config=given, **CALL), beams)

    model.generation_config.num_beams = 3
    model.generation_config.length_penalty = 0.5
    model.save_pretrained(tmp_path)
    for package in (kind, xlm_torch):
        again = package.XLMForConditionalGeneration.from_pretrained(tmp_path)
        assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
        assert_equal(again.generate(SOURCES, **CALL), beams)


def of_one_language(kind: Any, folder: Path) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Tokenizer, configuration and rows: transformers' Trainer has no src_lang and tgt_lang."""
    tokenizer = kind.XLMTokenizer.from_pretrained(folder)
    config = kind.XLMConfig.from_pretrained(
        folder, n_layers=1, emb_dim=16, n_heads=2, n_langs=1, lang2id={"en": 0}, dropout=0.0
    )
    texts = ["The function returns a list.", "A value", "Each key"]
    rows = [dict(tokenizer(t, framing="sentence", return_token_type_ids=False)) for t in texts]
    return tokenizer, config, [{**row, "labels": row["input_ids"][1:]} for row in rows]


def test_seq2seq_trainer(kind: Any, folder: Path, tmp_path: Path) -> None:
    """Padded by the tokenizer, saved, the best one opened again, and asked to translate."""
    tokenizer, config, rows = of_one_language(kind, folder)
    torch.manual_seed(0)
    model = kind.XLMForConditionalGeneration(config)
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=4,
            save_steps=2,
            eval_steps=2,
            eval_strategy="steps",
            load_best_model_at_end=True,
            metric_for_best_model="loss",
            per_device_train_batch_size=3,
            learning_rate=1e-2,
            predict_with_generate=True,
            generation_max_length=6,
            generation_num_beams=2,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    )
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    predicted = trainer.predict(rows).predictions
    opened = xlm_torch.XLMForConditionalGeneration.from_pretrained(best)
    assert all(map(torch.equal, opened.state_dict().values(), model.state_dict().values()))
    assert XLMTokenizer.from_pretrained(best)("A list") == tokenizer("A list")
    sources = tokenizer.pad([{"input_ids": r["input_ids"]} for r in rows], return_tensors="pt")
    expected = opened.generate(**sources, max_length=6, num_beams=2)
    assert torch.equal(torch.from_numpy(predicted)[:, : expected.shape[1]], expected)


def test_labels_that_seq2seq_trainer_smooths(kind: Any, folder: Path, tmp_path: Path) -> None:
    """transformers' collator asks the model for what its decoder reads."""
    tokenizer, config, rows = of_one_language(kind, folder)
    torch.manual_seed(0)
    model = kind.XLMForConditionalGeneration(config).eval()
    collator = DataCollatorForSeq2Seq(tokenizer, model=model)
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir=str(tmp_path), label_smoothing_factor=0.1, report_to=[], use_cpu=True
        ),
        train_dataset=rows,
        data_collator=collator,
    )
    batch = collator(rows)
    with torch.no_grad():
        found = trainer.compute_loss(model, dict(batch))
        del batch["decoder_input_ids"]
        logits = model(**batch).logits
    labels = batch["labels"].flatten()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, label_smoothing=0.1)
    torch.testing.assert_close(found, expected)


# Later PEFT compares the decoder's output matrix with the encoder's embeddings.
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")
def test_lora(kind: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = kind.XLMForConditionalGeneration(config_of(kind)).eval()
    lora = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q_lin", "v_lin"])
    model = peft.get_peft_model(copy.deepcopy(base), lora)
    loss = model(**BATCH).loss
    loss.backward()
    assert torch.allclose(loss, base(**BATCH).loss, atol=1e-6)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            assert parameter.grad is not None
            torch.nn.init.normal_(parameter, std=0.5)
    model.eval()
    found = model.generate(input_ids=SOURCES, **CALL)
    merged = model.merge_and_unload()
    assert isinstance(merged, kind.XLMForConditionalGeneration)
    merged.save_pretrained(tmp_path)
    plain = xlm_torch.XLMForConditionalGeneration.from_pretrained(tmp_path)
    assert_equal(plain.generate(SOURCES, **CALL), found)
