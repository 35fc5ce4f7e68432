"""Opening and saving folders, and what is said when they do not fit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

import xlm_tf
import xlm_torch
from tests.support.cases import Case, random_case
from tests.support.parity import assert_all_close, assert_equal
from tests.support.tf_models import run_tf, tf_model
from tests.support.torch_reference import our_model, run
from tests.tf.helpers import HEADS, PLAIN, states, tiny_batch, tiny_model
from xlm_core import CheckpointError, ConfigError, UnknownArgumentError, XLMConfig, XLMWarning
from xlm_core.weights import ARCHITECTURES, name_of
from xlm_tf import (
    MODEL_CLASSES,
    TFXLMForTokenClassification,
    TFXLMModel,
    TFXLMPreTrainedModel,
    TFXLMWithLMHeadModel,
)

BOUND = 2e-6


def _case(architecture: str, seed: int = 4, **values: Any) -> Case:
    return random_case(seed, architecture, **{**PLAIN, "causal": False, **values})


def _without_positions(flat: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flat.items() if not name.endswith("_index")}


def _assert_same_weights(model: Any, torch_model: Any) -> None:
    state = torch_model.state_dict()
    expected = {
        spec.path: state[str(name_of(spec, "torch", model.architecture))].numpy()
        for spec in model.tensor_specs()
        if spec.tied_to is None
    }
    assert_all_close(states(model), expected, 0.0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_here_opened_by_pytorch(architecture: str, tied: bool, tmp_path: Path) -> None:
    case = _case(architecture, tie_word_embeddings=tied)
    model = tf_model(case, "float32")
    model.save_pretrained(tmp_path)
    actual = _without_positions(run_tf(model, case, "float32"))
    theirs, info = getattr(transformers, architecture).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values()), info
    for other in (theirs, xlm_torch.from_pretrained(tmp_path)):
        assert type(other).__name__ == architecture
        _assert_same_weights(model, other)
        with torch.no_grad():
            expected = _without_positions(run(other, case, torch.float32))
        assert_all_close(actual, expected, BOUND)
    again = xlm_tf.from_pretrained(tmp_path)
    assert type(again) is MODEL_CLASSES[architecture]
    assert_all_close(_without_positions(run_tf(again, case, "float32")), actual, 0.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_by_pytorch_opened_here(architecture: str, tmp_path: Path) -> None:
    case = _case(architecture)
    theirs = our_model(case, torch.float32)
    theirs.save_pretrained(tmp_path)
    model = xlm_tf.from_pretrained(tmp_path)
    assert type(model) is MODEL_CLASSES[architecture]
    _assert_same_weights(model, theirs)


def test_adaptive_softmax_goes_to_pytorch_and_back(tmp_path: Path) -> None:
    adaptive = {"asm": True, "asm_cutoffs": [9, 20], "asm_div_value": 2.0}
    case = _case("XLMWithLMHeadModel", **adaptive, tie_word_embeddings=False)
    model = tf_model(case, "float32")
    model.save_pretrained(tmp_path / "tf")
    in_torch = xlm_torch.from_pretrained(tmp_path / "tf")
    in_torch.save_pretrained(tmp_path / "torch")
    again = xlm_tf.from_pretrained(tmp_path / "torch")
    assert_all_close(states(again), states(model), 0.0)
    with torch.no_grad():
        expected = run(in_torch, case, torch.float32)
    assert_all_close(run_tf(again, case, "float32"), expected, BOUND)


@pytest.mark.parametrize("architecture", HEADS)
def test_head_to_base_base_to_head_and_back(architecture: str, tmp_path: Path) -> None:
    with_head = tf_model(_case(architecture), "float32")
    with_head.save_pretrained(tmp_path / "head")
    base = TFXLMModel.from_pretrained(tmp_path / "head")
    assert_all_close(states(base), states(with_head.transformer), 0.0)
    base.save_pretrained(tmp_path / "base")
    assert isinstance(xlm_tf.from_pretrained(tmp_path / "base"), TFXLMModel)
    with pytest.warns(XLMWarning, match="started fresh") as caught:
        again = MODEL_CLASSES[architecture].from_pretrained(tmp_path / "base")
    assert len(caught) == 1
    head = [s for s in again.tensor_specs() if not s.in_encoder and s.tied_to is None]
    assert all(spec.path in str(caught[0].message) for spec in head)
    assert_all_close(states(again.transformer), states(base), 0.0)
    drawn = [s.path for s in head if s.kind.value == "matrix"]
    assert all(np.abs(states(again)[path]).sum() > 0 for path in drawn)


@pytest.mark.parametrize("architecture", HEADS)
def test_head_to_another_head(architecture: str, tmp_path: Path) -> None:
    source = "XLMForTokenClassification"
    if architecture == source:
        source = "XLMWithLMHeadModel"
    tf_model(_case(source), "float32").save_pretrained(tmp_path)
    with pytest.warns(XLMWarning, match="Left out, of another head") as caught:
        model = MODEL_CLASSES[architecture].from_pretrained(tmp_path)
    assert len(caught) == 1
    assert all(np.isfinite(array).all() for array in states(model).values())


def test_a_fresh_head_is_initialised_like_a_new_one(tmp_path: Path) -> None:
    case = _case("XLMModel", init_std=0.5, vocab_size=80, emb_dim=60, n_heads=2, pruned_heads={})
    tf_model(case, "float32").save_pretrained(tmp_path)
    with pytest.warns(XLMWarning, match="classifier"):
        model = xlm_tf.TFXLMForTokenClassification.from_pretrained(tmp_path, num_labels=40)
    assert model.config.num_labels == 40
    assert 0.45 < model.classifier.kernel.numpy().std() < 0.55
    assert (model.classifier.bias.numpy() == 0).all()


def test_overrides_of_the_configuration(tmp_path: Path) -> None:
    tiny_model("XLMWithLMHeadModel").save_pretrained(tmp_path)
    model = TFXLMWithLMHeadModel.from_pretrained(
        tmp_path, causal=True, dropout=0.5, hidden_size=12, output_attentions=True
    )
    assert model.config.causal
    assert model.config.dropout == 0.5
    assert "attentions" in model(tiny_batch())
    assert xlm_tf.from_pretrained(tmp_path, causal=True).config.causal
    for opener in (TFXLMWithLMHeadModel.from_pretrained, xlm_tf.from_pretrained):
        with pytest.raises(UnknownArgumentError, match=r"'casual'.*ignore_mismatched_sizes"):
            opener(tmp_path, casual=True)


def test_one_error_lists_everything(tmp_path: Path) -> None:
    tiny_model("XLMForTokenClassification").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["transformer.attentions.0.q_lin.bias"]
    del tensors["classifier.bias"]  # half a head is no head that starts fresh
    tensors["transformer.layer_norm_emb.weight"] = np.ones(3, np.float32)
    tensors["transformer.attentions.0.r_lin.bias"] = np.ones(2, np.float32)
    save_file(tensors, file, metadata={"format": "pt"})
    messages = []
    for family in (xlm_tf, xlm_torch):
        with pytest.raises(CheckpointError) as caught:
            family.from_pretrained(tmp_path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "missing (2): attentions.0.q_lin.bias, classifier.bias" in messages[0]
    assert "misshapen (1): layer_norm_emb.weight: found (3,), expected" in messages[0]


def test_a_head_of_another_size_starts_fresh_only_when_asked(tmp_path: Path) -> None:
    tiny_model("XLMForTokenClassification").save_pretrained(tmp_path)
    model_class = xlm_tf.TFXLMForTokenClassification
    with pytest.raises(CheckpointError, match=r"classifier\.weight: found.*ignore_mismatched"):
        model_class.from_pretrained(tmp_path, num_labels=7)
    with pytest.warns(XLMWarning, match=r"classifier\.weight, classifier\.bias"):
        model = model_class.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert model.classifier.kernel.shape == (12, 7)
    with pytest.warns(XLMWarning, match=r"(?i)of another size: embeddings"):
        model_class.from_pretrained(tmp_path, vocab_size=7, ignore_mismatched_sizes=True)


def test_nothing_there(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "no", "no folder"), (tmp_path, r"config\.json")):
        with pytest.raises((CheckpointError, ConfigError), match=text):
            TFXLMModel.from_pretrained(path)
    tiny_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(CheckpointError, match=r"BertModel.*XLMWithLMHeadModel"):
        xlm_tf.from_pretrained(tmp_path)


def test_names_of_both_frameworks_in_the_configuration(tmp_path: Path) -> None:
    tiny_model("XLMForTokenClassification").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["XLMForTokenClassification"]
    config["architectures"] = ["TFXLMForTokenClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert type(xlm_tf.from_pretrained(tmp_path)) is xlm_tf.TFXLMForTokenClassification


def test_opening_draws_no_weights_and_leaves_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("XLMWithLMHeadModel")
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(keras.random, "normal", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = xlm_tf.from_pretrained(tmp_path)
    assert_all_close(states(again), states(model), 0.0)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "model.safetensors"]


class _WithLayer(TFXLMForTokenClassification):
    """A class of a user's, with a layer of its own."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.extra = keras.layers.Dense(3)
        self.extra.build((None, 3))


class _WithHead(TFXLMPreTrainedModel):
    """An encoder, and a head of one's own."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.transformer = TFXLMModel(config, **self.encoder_options())
        self.head = keras.layers.Dense(2)
        self.post_init()

    def call(self, inputs: Any) -> Any:
        return self.head(self.transformer(inputs).last_hidden_state)


def test_layers_of_a_subclass_have_values(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification")
    model.save_pretrained(tmp_path)
    opened = _WithLayer.from_pretrained(tmp_path)
    assert_equal(opened.classifier.kernel.numpy(), model.classifier.kernel.numpy())
    kernel = opened.extra.kernel.numpy()
    assert 0 < np.abs(kernel).max() < 2  # as Keras draws it
    with pytest.warns(XLMWarning, match=r"not saved: .*kernel, .*bias: no class"):
        opened.save_pretrained(tmp_path / "again")


def test_a_head_of_one_s_own(tmp_path: Path) -> None:
    encoder = tiny_model()
    encoder.save_pretrained(tmp_path)
    opened = _WithHead.from_pretrained(tmp_path)
    table = opened.transformer.embeddings.embeddings.numpy()
    assert_equal(table, encoder.embeddings.embeddings.numpy())
    assert opened(tiny_batch()).shape[-1] == 2
    with pytest.warns(XLMWarning, match=r"not saved: .*kernel, .*bias: no class"):
        opened.save_pretrained(tmp_path / "again")
    again = TFXLMModel.from_pretrained(tmp_path / "again")
    assert_equal(again.embeddings.embeddings.numpy(), table)
