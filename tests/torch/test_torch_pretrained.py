"""Opening and saving folders, and what is said when they do not fit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import xlm_torch
from tests.support.cases import Case, random_case
from tests.support.parity import assert_all_close, assert_equal
from tests.support.torch_reference import assert_same_outputs, our_model, pair, run
from xlm_core import CheckpointError, ConfigError, UnknownArgumentError, XLMConfig, XLMWarning
from xlm_core.weights import ARCHITECTURES
from xlm_torch import (
    MODEL_CLASSES,
    XLMForTokenClassification,
    XLMModel,
    XLMPreTrainedModel,
    XLMWithLMHeadModel,
)

HEADS = [name for name in ARCHITECTURES if name != "XLMModel"]
PLAIN = {"num_labels": 2, "problem_type": None, "asm": False}


def _case(architecture: str, seed: int = 4, **values: Any) -> Case:
    return random_case(seed, architecture, **{**PLAIN, **values})


def _equal_states(first: Any, second: Any) -> None:
    assert_all_close(first.state_dict(), second.state_dict(), 0.0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_here_opened_by_transformers(architecture: str, tied: bool, tmp_path: Path) -> None:
    case = _case(architecture, tie_word_embeddings=tied)
    ours = our_model(case, torch.float32)
    ours.save_pretrained(tmp_path)
    theirs, info = getattr(transformers, architecture).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values()), info
    with torch.no_grad():
        actual, expected = (run(model, case, torch.float32) for model in (ours, theirs))
    assert_same_outputs(actual, expected, case, 2e-6)
    again = MODEL_CLASSES[architecture].from_pretrained(tmp_path)
    _equal_states(again, ours)
    with torch.no_grad():
        assert_all_close(run(again, case, torch.float32), actual, 0.0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_by_transformers_opened_here(architecture: str, tied: bool, tmp_path: Path) -> None:
    case = _case(architecture, tie_word_embeddings=tied)
    _, theirs = pair(case, torch.float32)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB" if tied else "1GB")
    ours = xlm_torch.from_pretrained(tmp_path)
    assert type(ours) is MODEL_CLASSES[architecture]
    assert not ours.training
    _equal_states(ours, theirs)
    with torch.no_grad():
        actual, expected = (run(model, case, torch.float32) for model in (ours, theirs))
    assert_same_outputs(actual, expected, case, 2e-6)


def test_adaptive_softmax_both_ways(tmp_path: Path) -> None:
    case = _case(
        "XLMWithLMHeadModel", asm=True, asm_cutoffs=[9, 20], asm_div_value=2.0,
        tie_word_embeddings=False,
    )  # fmt: skip
    ours, theirs = pair(case, torch.float32)
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    _equal_states(XLMWithLMHeadModel.from_pretrained(tmp_path / "theirs"), ours)
    opened = transformers.XLMWithLMHeadModel.from_pretrained(tmp_path / "ours")
    _equal_states(opened, theirs)


@pytest.mark.parametrize("architecture", HEADS)
def test_head_to_base_base_to_head_and_back(architecture: str, tmp_path: Path) -> None:
    case = _case(architecture)
    with_head = our_model(case, torch.float32)
    with_head.save_pretrained(tmp_path / "head")
    base = XLMModel.from_pretrained(tmp_path / "head")
    _equal_states(base, with_head.transformer)
    base.save_pretrained(tmp_path / "base")
    assert isinstance(xlm_torch.from_pretrained(tmp_path / "base"), XLMModel)
    with pytest.warns(XLMWarning, match="started fresh") as caught:
        again = MODEL_CLASSES[architecture].from_pretrained(tmp_path / "base")
    assert len(caught) == 1
    message = str(caught[0].message)
    fresh = [name for name, _ in again.named_parameters() if not name.startswith("transformer.")]
    assert all(name in message for name in fresh)
    _equal_states(again.transformer, base)


@pytest.mark.parametrize("architecture", HEADS)
def test_head_to_another_head(architecture: str, tmp_path: Path) -> None:
    source = "XLMForTokenClassification"
    if architecture == source:
        source = "XLMWithLMHeadModel"
    our_model(_case(source), torch.float32).save_pretrained(tmp_path)
    with pytest.warns(XLMWarning, match="Left out, of another head") as caught:
        model = MODEL_CLASSES[architecture].from_pretrained(tmp_path)
    assert len(caught) == 1
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_a_fresh_head_is_initialised_like_a_new_one(tmp_path: Path) -> None:
    case = _case("XLMModel", init_std=0.5, vocab_size=80, emb_dim=60, n_heads=2, pruned_heads={})
    our_model(case, torch.float32).save_pretrained(tmp_path)
    with pytest.warns(XLMWarning, match="classifier"):
        model = xlm_torch.XLMForTokenClassification.from_pretrained(tmp_path, num_labels=40)
    assert model.config.num_labels == 40
    assert 0.4 < model.classifier.weight.std() < 0.6
    assert (model.classifier.bias == 0).all()


@pytest.mark.parametrize("spelling", ["float64", torch.float64, "torch.float64"])
def test_dtype_as_asked(spelling: Any, tmp_path: Path) -> None:
    our_model(_case("XLMWithLMHeadModel"), torch.float32).save_pretrained(tmp_path)
    model = XLMWithLMHeadModel.from_pretrained(tmp_path, dtype=spelling)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_by_default_and_as_in_the_file(stored: torch.dtype, tmp_path: Path) -> None:
    model = our_model(_case("XLMModel"), stored)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(stored)[6:]
    default = XLMModel.from_pretrained(tmp_path)
    assert default.dtype == torch.float32
    _equal_states(default, model.to(torch.float32))
    assert XLMModel.from_pretrained(tmp_path, dtype="auto").dtype == stored
    theirs = transformers.XLMModel.from_pretrained(tmp_path, dtype="auto")
    assert theirs.dtype == stored
    for unknown in ("float31", torch.int64, "int64", "no such"):
        with pytest.raises(ConfigError, match=r"dtype is .*expected one of float64"):
            XLMModel.from_pretrained(tmp_path, dtype=unknown)


def test_overrides_of_the_configuration(tmp_path: Path) -> None:
    our_model(_case("XLMWithLMHeadModel", causal=False), torch.float32).save_pretrained(tmp_path)
    model = XLMWithLMHeadModel.from_pretrained(
        tmp_path, causal=True, dropout=0.5, hidden_size=_case("XLMModel").config["emb_dim"]
    )
    assert model.config.causal
    assert model.config.dropout == 0.5
    assert xlm_torch.from_pretrained(tmp_path, causal=True).config.causal
    for opener in (XLMWithLMHeadModel.from_pretrained, xlm_torch.from_pretrained):
        with pytest.raises(UnknownArgumentError, match=r"'casual'.*ignore_mismatched_sizes"):
            opener(tmp_path, casual=True)


def test_one_error_lists_everything(tmp_path: Path) -> None:
    our_model(_case("XLMForTokenClassification"), torch.float32).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["transformer.attentions.0.q_lin.bias"]
    del tensors["classifier.bias"]  # half a head is no head that starts fresh
    tensors["transformer.layer_norm_emb.weight"] = torch.ones(3)
    tensors["transformer.attentions.0.r_lin.bias"] = torch.ones(2)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        xlm_torch.from_pretrained(tmp_path)
    message = str(caught.value)
    assert "missing (2): attentions.0.q_lin.bias, classifier.bias" in message
    assert "unexpected (1): transformer.attentions.0.r_lin.bias" in message
    assert "misshapen (1): layer_norm_emb.weight: found (3,), expected" in message
    assert str(tmp_path) in message


def test_what_has_another_size_starts_fresh_only_when_asked(tmp_path: Path) -> None:
    our_model(_case("XLMForTokenClassification"), torch.float32).save_pretrained(tmp_path)
    model_class = xlm_torch.XLMForTokenClassification
    with pytest.raises(CheckpointError, match=r"classifier\.weight: found.*ignore_mismatched"):
        model_class.from_pretrained(tmp_path, num_labels=7)
    with pytest.warns(XLMWarning, match=r"classifier\.weight, classifier\.bias"):
        model = model_class.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert model.classifier.weight.shape[0] == 7
    kept = model_class.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"embeddings\.weight: found"):
        model_class.from_pretrained(tmp_path, vocab_size=7)
    with pytest.warns(XLMWarning, match=r"Of another size: embeddings\.weight \(.*\(7, "):
        model, info = model_class.from_pretrained(
            tmp_path, vocab_size=7, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert [name for name, *_ in info["mismatched_keys"]] == ["transformer.embeddings.weight"]
    embeddings = model.get_input_embeddings().weight
    assert len(embeddings) == 7
    assert not bool(embeddings[model.config.pad_index].any())
    assert_equal(
        model.transformer.attentions[0].q_lin.weight, kept.transformer.attentions[0].q_lin.weight
    )


def test_nothing_there(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "no", "no folder"), (tmp_path, r"config\.json")):
        with pytest.raises((CheckpointError, ConfigError), match=text):
            XLMModel.from_pretrained(path)
    our_model(_case("XLMModel"), torch.float32).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(CheckpointError, match=r"BertModel.*XLMWithLMHeadModel"):
        xlm_torch.from_pretrained(tmp_path)


def test_saving_over_a_folder_and_no_temporary_file_left(tmp_path: Path) -> None:
    first, second = (our_model(_case("XLMModel", seed), torch.float32) for seed in (4, 5))
    for model in (first, second):
        model.save_pretrained(tmp_path / "made" / "anew")
    _equal_states(XLMModel.from_pretrained(tmp_path / "made" / "anew"), second)
    names = sorted(path.name for path in (tmp_path / "made" / "anew").iterdir())
    assert names == ["config.json", "model.safetensors"]


def test_opening_draws_no_random_numbers_and_ties(tmp_path: Path) -> None:
    our_model(_case("XLMWithLMHeadModel", tie_word_embeddings=True), torch.float32).save_pretrained(
        tmp_path
    )
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = XLMWithLMHeadModel.from_pretrained(tmp_path)
    assert_equal(torch.get_rng_state(), state)
    assert model.pred_layer.proj.weight is model.transformer.embeddings.weight
    assert all(parameter.requires_grad for parameter in model.parameters()) or (
        model.config.sinusoidal_embeddings
    )


def test_tensors_that_no_file_holds_are_named(tmp_path: Path) -> None:
    model = our_model(_case("XLMForTokenClassification"), torch.float32)
    model.gate = torch.nn.Linear(3, 2)
    with pytest.warns(XLMWarning, match=r"not saved: gate\.weight, gate\.bias: no class"):
        model.save_pretrained(tmp_path)


def test_adapters_that_were_not_merged_are_named(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = our_model(_case("XLMWithLMHeadModel"), torch.float32)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_lin"]))
    with pytest.warns(XLMWarning, match=r"not saved: .*lora_A.*merge_and_unload"):
        model.save_pretrained(tmp_path)
    adapted.merge_and_unload().save_pretrained(tmp_path)


class _WithLayer(XLMForTokenClassification):
    """A class of a user's, with a layer of its own."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.extra = torch.nn.Linear(3, 3)


class _WithHead(XLMPreTrainedModel):
    """What transformers' documentation shows: an encoder, and a head of one's own."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.transformer = XLMModel(config)
        self.head = torch.nn.Linear(config.emb_dim, 2)
        self.post_init()


def test_layers_of_a_subclass_have_values(tmp_path: Path) -> None:
    model = our_model(_case("XLMForTokenClassification"), torch.float32)
    model.save_pretrained(tmp_path)
    opened = _WithLayer.from_pretrained(tmp_path)
    assert not any(tensor.is_meta for tensor in (*opened.parameters(), *opened.buffers()))
    assert_equal(opened.classifier.weight, model.classifier.weight)
    with pytest.warns(XLMWarning, match=r"not saved: extra\.weight, extra\.bias: no class"):
        opened.save_pretrained(tmp_path / "again", state_dict=opened.state_dict())


def test_a_head_of_one_s_own(tmp_path: Path) -> None:
    encoder = our_model(_case("XLMModel"), torch.float32)
    encoder.save_pretrained(tmp_path)
    opened = _WithHead.from_pretrained(tmp_path)
    assert_equal(opened.transformer.embeddings.weight, encoder.embeddings.weight)
    assert not opened.head.weight.is_meta
    opened.resize_token_embeddings(encoder.config.vocab_size + 3)
    with pytest.warns(XLMWarning, match=r"not saved: head\.weight"):
        opened.save_pretrained(tmp_path / "again")
    with pytest.warns(XLMWarning, match=r"not saved: head\.weight, head\.bias: no class"):
        opened.save_pretrained(tmp_path / "state", state_dict=opened.state_dict())
    for folder in ("again", "state"):
        again = XLMModel.from_pretrained(tmp_path / folder)
        assert_equal(again.embeddings.weight, opened.transformer.embeddings.weight)
