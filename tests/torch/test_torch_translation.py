"""`XLMForConditionalGeneration`: the original's outputs, calls, training, and bad input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xlm_torch
from tests.support.golden import MT_CASES
from tests.support.parity import assert_all_close, assert_close_to_largest, assert_equal
from tests.support.torch_reference import as_tensors
from tests.support.translation import assert_golden, golden_batch, small_batch, small_config
from xlm_core import ConfigError, InputError, UnknownArgumentError, XLMWarning
from xlm_core.errors import CheckpointError
from xlm_torch import (
    KeyValueCache,
    XLMForConditionalGeneration,
    XLMWithLMHeadModel,
    formulas_only,
    quantize,
)

BATCH = as_tensors(small_batch())
PATHS = pytest.mark.parametrize("path", [contextlib.nullcontext, formulas_only])


def small_model(**fields: Any) -> XLMForConditionalGeneration:
    torch.manual_seed(0)
    model = XLMForConditionalGeneration(small_config(**fields)).double().eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    return model


@PATHS
@pytest.mark.parametrize("name", MT_CASES)
def test_the_original(name: str, path: Any, shared: Callable[[str], Path]) -> None:
    file, batch, expected = golden_batch(name, shared)
    model = xlm_torch.from_pretrained(file, dtype="float64")
    assert type(model) is XLMForConditionalGeneration
    with path(), torch.no_grad():
        output = model(**as_tensors(batch), output_hidden_states=True)
    assert_golden(output, batch, expected, 1e-10)


@pytest.mark.parametrize(
    "name", ["decoder.encoder_attn.1.k_lin.weight", "decoder.layer_norm15.0.bias"]
)
def test_a_wrong_weight_is_seen(name: str, shared: Callable[[str], Path]) -> None:
    file, batch, expected = golden_batch(MT_CASES[0], shared)
    model = XLMForConditionalGeneration.from_pretrained(file, dtype="float64")
    model.get_parameter(name).data.add_(1e-3)
    with torch.no_grad(), pytest.raises(AssertionError, match="differs by"):
        assert_golden(model(**as_tensors(batch), output_hidden_states=True), batch, expected, 1e-10)


def loss_and_gradients(model: Any, **options: Any) -> dict[str, Any]:
    model.zero_grad()
    loss = model(**BATCH, **options).loss
    loss.backward()
    named = model.named_parameters()
    return {"loss": loss.detach()} | {n: p.grad.clone() for n, p in named if p.grad is not None}


@pytest.mark.parametrize("fields", [{}, {"emb_dim": 256}, {"tie_word_embeddings": False}])
def test_fast_paths_formulas_and_recomputation_train_alike(fields: dict[str, Any]) -> None:
    model = small_model(**fields, dropout=0.0, attention_dropout=0.0).train()
    with formulas_only():
        expected = loss_and_gradients(model)
    assert "decoder.encoder_attn.0.k_lin.weight" in expected
    assert "encoder.embeddings.weight" in expected
    assert_all_close(loss_and_gradients(model), expected, 1e-12, one_scale=True)
    assert_all_close(
        loss_and_gradients(model, output_logits=False), expected, 1e-12, one_scale=True
    )
    model.gradient_checkpointing_enable()
    assert_all_close(loss_and_gradients(model), expected, 1e-12, one_scale=True)


def test_decoder_inputs_are_the_labels_behind_the_end_of_a_sentence() -> None:
    model = small_model()
    labels = torch.tensor([[7, 8, 1, -100], [9, 1, -100, -100]])
    found = model.prepare_decoder_input_ids_from_labels(labels)
    assert found.tolist() == [[1, 7, 8, 1], [1, 9, 1, 2]]
    with torch.no_grad():
        given = model(**BATCH)
        ids = model.prepare_decoder_input_ids_from_labels(BATCH["labels"])
        rest = {name: x for name, x in BATCH.items() if name != "labels"}
        assert_equal(model(**rest, decoder_input_ids=ids).logits, given.logits)


@PATHS
def test_outputs_and_what_the_encoder_returned_before(path: Any) -> None:
    model = small_model(decoder_layers=3)
    with path(), torch.no_grad():
        output = model(**BATCH, output_hidden_states=True, output_attentions=True)
        assert len(output.decoder_hidden_states) == 4
        assert len(output.encoder_hidden_states) == 3
        assert [x.shape for x in output.cross_attentions] == [(4, 4, 7, 9)] * 3
        assert output.decoder_attentions[0].shape == (4, 4, 7, 7)
        padding = BATCH["input_ids"] == 2
        weights = output.cross_attentions[0].sum((1, 2))
        assert not weights[padding].any()
        encoded = model.get_encoder()(BATCH["input_ids"], langs=BATCH["langs"])
        given = {**BATCH, "input_ids": None, "attention_mask": (~padding).long()}
        for outputs in (encoded, encoded.to_tuple(), dict(encoded), encoded.last_hidden_state):
            again = model(**given, encoder_outputs=outputs)
            assert_close_to_largest(again.logits, output.logits, 1e-12)
        as_tuple = model(**BATCH, return_dict=False)
        assert_close_to_largest(as_tuple[0], output.loss, 1e-12)


@PATHS
def test_steps_with_a_cache_are_one_call(path: Any) -> None:
    model = small_model()
    decoder, ids = model.get_decoder(), torch.arange(6, 20).view(2, 7)
    langs, mask = torch.ones_like(ids), BATCH["input_ids"][:2] != 2
    with path(), torch.no_grad():
        encoded = model.encoder(BATCH["input_ids"][:2], langs=BATCH["langs"][:2])[0]
        source = {"encoder_hidden_states": encoded, "encoder_attention_mask": mask}
        whole = decoder(ids, langs=langs, **source)[0]
        cache = KeyValueCache()
        calls = [
            decoder(ids[:, :end], langs=langs[:, :end], cache=cache, **source)[0]
            for end in (3, 4, 7)
        ]
        assert_close_to_largest(torch.cat(calls, 1), whole, 1e-12)
        assert cache.cross(1) is not None
        cache, steps = KeyValueCache(), []
        for start, end in ((0, 4), (4, 5), (5, 6), (6, 7)):
            new = (ids[:, start:end], torch.arange(start, end).expand(2, -1), langs[:, start:end])
            tokens = torch.ones(2, end, dtype=torch.bool)
            hidden = encoded if start == 0 else None
            steps.append(decoder.step(*new, tokens, cache, hidden, mask))
        assert_close_to_largest(torch.cat(steps, 1), whole, 1e-12)


def test_sizes_names_and_ties(tmp_path: Path) -> None:
    model = small_model()
    assert model.config.is_encoder_decoder
    assert model.get_input_embeddings() is model.encoder.embeddings
    assert model.get_output_embeddings() is model.decoder.pred_layer.proj
    for part in (model.encoder, model.decoder):
        assert part.pred_layer.proj.weight is part.embeddings.weight
    model.resize_token_embeddings(64)
    with torch.no_grad():
        assert model(**BATCH).logits.shape[-1] == 64
        with pytest.warns(XLMWarning, match="langs was not given"):
            assert model(**model.dummy_inputs).logits.shape[-1] == 64
    model.save_pretrained(tmp_path)
    again = XLMForConditionalGeneration.from_pretrained(tmp_path, dtype="float64")
    assert_all_close(again.state_dict(), model.state_dict(), 0.0)
    again.load_state_dict(model.state_dict(), assign=True)
    assert again.decoder.pred_layer.proj.weight is again.decoder.embeddings.weight
    with pytest.raises(ConfigError, match="cannot be pruned"):
        model.prune_heads({0: [1]})
    model.encoder.resize_token_embeddings(70)
    with pytest.raises(ConfigError, match="resize_token_embeddings"):
        model(**BATCH)


def test_int8_covers_both_parts() -> None:
    model = small_model().float()
    with torch.no_grad():
        expected = model(**BATCH).logits
        quantize(model)
        found = model(**BATCH).logits
    assert type(model.decoder.encoder_attn[1].k_lin).__name__ == "QuantizedLinear"
    assert_close_to_largest(found, expected, 0.2)
    assert (found != expected).any()


def test_an_exported_model(shared: Callable[[str], Path]) -> None:
    model = small_model()
    batch = {name: x for name, x in BATCH.items() if name != "labels"}
    batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(BATCH["labels"])
    with torch.no_grad():
        exported = torch.export.export(model, (), batch).module()
        assert_close_to_largest(exported(**batch).logits, model(**batch).logits, 1e-12)


def test_a_decoder_from_an_encoder(tmp_path: Path) -> None:
    config = small_config(is_encoder=True, is_encoder_decoder=False, lang2id={"en": 0, "fr": 1})
    source = XLMWithLMHeadModel(config)
    source.save_pretrained(tmp_path)
    with pytest.warns(XLMWarning, match="started fresh, to be trained") as warned:
        model, info = XLMForConditionalGeneration.from_pretrained(
            encoder=tmp_path, decoder=tmp_path, decoder_layers=1, output_loading_info=True
        )
    assert len(warned) == 1
    assert len(info["missing_keys"]) == 10
    assert_equal(model.decoder.ffns[0].lin1.weight, source.transformer.ffns[0].lin1.weight)
    assert (len(model.encoder.ffns), len(model.decoder.ffns)) == (2, 1)
    torch.manual_seed(0)
    with pytest.warns(XLMWarning, match="lang_embeddings.weight of ro"):
        wider = XLMForConditionalGeneration.from_pretrained(
            encoder=tmp_path, decoder=tmp_path, lang2id={"en": 0, "ro": 1, "fr": 2}
        )
    table = wider.encoder.lang_embeddings.weight
    assert_equal(table[2], source.transformer.lang_embeddings.weight[1])
    assert 0 < table[1].std() < 1
    for arguments in ({"path": tmp_path}, {"path": tmp_path, "decoder": tmp_path}):
        with pytest.raises((CheckpointError, UnknownArgumentError), match="encoder"):
            XLMForConditionalGeneration.from_pretrained(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "none of decoder_input_ids, decoder_inputs_embeds and labels"),
        ({"labels": BATCH["labels"][0]}, r"labels has shape \(7,\)"),
        (
            {"labels": BATCH["labels"][:3], "decoder_langs": BATCH["decoder_langs"][:3]},
            "encoder_hidden_states has shape",
        ),
        ({"labels": BATCH["labels"].double()}, "labels has a float dtype"),
        ({"labels": BATCH["labels"].clamp(min=0) + 60}, "expected values in"),
        ({"decoder_langs": BATCH["decoder_langs"] + 1}, "langs holds 2"),
        ({"input_ids": torch.full((4, 9), 2)}, "source 0 of the batch has no token"),
        ({"input_ids": None}, "neither of input_ids and inputs_embeds"),
        ({"output_logits": False, "labels": None}, "no labels to give a loss for"),
        ({"attention_mask": torch.ones(4, 8)}, r"attention_mask has shape \(4, 8\)"),
        ({"encoder_outputs": torch.ones(4, 9, 3)}, "encoder_hidden_states has shape"),
        ({"encoder_outputs": {}}, "encoder_hidden_states was not given"),
        ({"encoder_output": 1}, "encoder_outputs"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    error = UnknownArgumentError if "encoder_output" in change else InputError
    with torch.no_grad(), pytest.raises(error, match=message):
        small_model()(**{**BATCH, **change})


def test_an_encoders_class_takes_no_pair() -> None:
    with pytest.raises(ConfigError, match="this class is an encoder"):
        XLMWithLMHeadModel(small_config())
    fresh = XLMForConditionalGeneration(small_config(is_encoder=True, is_encoder_decoder=False))
    assert fresh.config.is_encoder_decoder
    assert not np.allclose(fresh.decoder.encoder_attn[0].q_lin.weight.detach(), 0)
