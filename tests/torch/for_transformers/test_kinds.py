"""What the classes are: the library's and transformers' at once, with the library's numbers."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import xlm_torch
from conversion.convert import convert
from tests.support.torch_fast_paths import take_fast_paths
from xlm_core import ConfigError, XLMConfig, XLMWarning
from xlm_core.tokenization.tokenizer import XLMTokenizer

NAMES = [
    "XLMModel",
    "XLMWithLMHeadModel",
    "XLMForSequenceClassification",
    "XLMForMultipleChoice",
    "XLMForTokenClassification",
    "XLMForQuestionAnswering",
    "XLMForQuestionAnsweringSimple",
]
IDS = torch.tensor([[0, 14, 15, 16, 1], [0, 17, 18, 1, 2]])


def small_config(**fields: Any) -> XLMConfig:
    sizes = {"vocab_size": 60, "emb_dim": 12, "n_layers": 2, "n_heads": 3}
    return XLMConfig(**{**sizes, "max_position_embeddings": 32} | fields)


@pytest.mark.parametrize("name", NAMES)
def test_both_kinds_and_the_same_numbers(kind: Any, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = getattr(xlm_torch, name)(small_config()).eval()
    torch.manual_seed(0)
    model = getattr(kind, name)(small_config()).eval()
    assert isinstance(model, getattr(xlm_torch, name))
    assert isinstance(model, transformers.PreTrainedModel)
    assert isinstance(model.base_model, kind.XLMModel)
    assert isinstance(model.config, transformers.PretrainedConfig)
    assert model.can_generate() is (name == "XLMWithLMHeadModel")

    ids = IDS[None] if name == "XLMForMultipleChoice" else IDS
    outputs = [each(ids, attention_mask=ids != 2) for each in (plain, model)]
    assert isinstance(outputs[1], transformers.utils.ModelOutput)
    assert type(outputs[1]).__name__ == type(outputs[0]).__name__
    assert list(outputs[0]) == list(outputs[1])
    assert all(map(torch.equal, outputs[0].values(), outputs[1].values()))
    assert isinstance(model(ids, return_dict=False), tuple)

    model.save_pretrained(tmp_path)
    again = getattr(kind, name).from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    assert again.config.architectures == [name]
    assert "_attn_implementation_internal" not in (tmp_path / "config.json").read_text()


def test_a_damaged_config_beside_a_file_of_the_original(kind: Any, tmp_path: Path) -> None:
    kind.XLMModel(small_config()).save_pretrained(tmp_path / "a")
    (tmp_path / "b").mkdir()
    convert(tmp_path / "a", tmp_path / "b" / "model.pth", to="facebook")
    (tmp_path / "b" / "config.json").write_text('{"eos_token_id": ')
    with pytest.raises(ConfigError, match=r"config\.json is not valid JSON"):
        kind.XLMModel.from_pretrained(tmp_path / "b" / "model.pth")


def test_the_fast_paths_serve_them(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder inside counts as unmodified: only the labelled rows of the last layer run."""
    taken = take_fast_paths(monkeypatch)
    ids = torch.randint(5, 60, (3, 11))
    labels = torch.full_like(ids, -100)
    labels[:, 2] = 7
    seen = []
    for package in (xlm_torch, kind):
        torch.manual_seed(0)
        model = package.XLMWithLMHeadModel(small_config())
        before = copy.copy(vars(taken))
        model(ids, labels=labels, output_logits=False).loss.backward()
        seen.append({name: value for name, value in vars(taken).items() if value != before[name]})
    assert seen[0].keys() == seen[1].keys()
    assert seen[0]


def test_the_configuration(kind: Any, folder: Path) -> None:
    config = kind.XLMConfig.from_pretrained(folder)
    plain = XLMConfig.from_pretrained(folder)
    assert isinstance(config, XLMConfig)
    assert config.name_or_path == str(folder)
    assert {**config.to_dict(), "eos_token_id": 1} == plain.to_dict()
    assert kind.XLMConfig.from_transformers(config) is config
    for other in (plain, transformers.XLMConfig.from_pretrained(folder)):
        converted = kind.XLMConfig.from_transformers(other)
        assert type(converted) is kind.XLMConfig
        assert converted.n_layers == config.n_layers
    for copied in (copy.deepcopy(config), config.copy(), pickle.loads(pickle.dumps(config))):
        assert type(copied) is kind.XLMConfig
        assert copied == config
        assert copied.name_or_path == config.name_or_path
    assert config.hidden_size == config.emb_dim
    assert config.is_encoder_decoder is False
    assert config.get_text_config(decoder=True) is config


def test_where_generation_stops(kind: Any) -> None:
    """As in transformers: at eos_token_id where it was given, else never."""
    config = kind.XLMConfig()
    assert (config.eos_index, config.eos_token_id) == (1, None)
    assert "eos_token_id" not in config.to_dict()
    config.eos_token_id = 7
    assert (config.eos_index, config.to_dict()["eos_token_id"]) == (7, 7)
    assert kind.XLMConfig(eos_token_id=1).copy().eos_token_id == 1


def test_the_tokenizer(kind: Any, folder: Path, tmp_path: Path) -> None:
    plain = XLMTokenizer.from_pretrained(folder)
    tokenizer = kind.XLMTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, transformers.PreTrainedTokenizerBase)
    text = ["The function returns a list.", "A value"]
    assert dict(tokenizer(text, padding=True)) == dict(plain(text, padding=True))
    tokenizer.pad_token = "<unk>"
    assert tokenizer.pad_token_id == 3
    tokenizer.save_pretrained(tmp_path)
    assert XLMTokenizer.from_pretrained(tmp_path).pad_token == "<unk>"
    assert pickle.loads(pickle.dumps(tokenizer))(text) == tokenizer(text)
    assert not hasattr(tokenizer, "no_such_attribute")


def test_what_another_configuration_gets(kind: Any) -> None:
    config = transformers.XLMConfig(
        vocab_size=60, emb_dim=12, n_layers=1, n_heads=2, max_position_embeddings=32
    )
    model = kind.XLMModel(config)
    assert type(model.config) is kind.XLMConfig
    assert model.config.n_layers == 1


def test_untied_and_adaptive(kind: Any, tmp_path: Path) -> None:
    for fields in (
        {"tie_word_embeddings": False},
        {"asm": True, "asm_cutoffs": [20, 40], "asm_div_value": 2.0},
    ):
        model = kind.XLMWithLMHeadModel(small_config(**fields))
        model.save_pretrained(tmp_path)
        again = kind.XLMWithLMHeadModel.from_pretrained(tmp_path)
        assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))


def test_resized_and_pruned(kind: Any, tmp_path: Path) -> None:
    model = kind.XLMWithLMHeadModel(small_config())
    model.resize_token_embeddings(71)
    model.prune_heads({0: [1]})
    assert model.pred_layer.proj.weight is model.transformer.embeddings.weight
    model.save_pretrained(tmp_path)
    again = xlm_torch.XLMWithLMHeadModel.from_pretrained(tmp_path)
    assert torch.equal(again(IDS).logits, model.eval()(IDS).logits)


def test_new_rows_are_close_to_the_mean_as_in_transformers(kind: Any) -> None:
    model = kind.XLMModel(small_config())
    new = model.resize_token_embeddings(70).weight[60:]
    assert model.vocab_size == 70
    assert torch.allclose(new, model.embeddings.weight[:60].mean(0).expand_as(new), atol=1e-3)


def test_embeddings_of_another_width_are_refused_at_the_next_call(kind: Any) -> None:
    model = kind.XLMModel(small_config())
    model.set_input_embeddings(torch.nn.Embedding(60, 10))
    with pytest.raises(ConfigError, match=r"\(60, 10\).*set_input_embeddings"):
        model(IDS)


def test_weights_are_not_read_onto_the_meta_device(kind: Any, tmp_path: Path) -> None:
    kind.XLMModel(small_config()).save_pretrained(tmp_path)
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta device"):
        kind.XLMModel.from_pretrained(tmp_path)


def test_a_key_beside_the_fields_can_be_deleted() -> None:
    config = small_config(gradient_checkpointing=True)
    del config.gradient_checkpointing
    assert "gradient_checkpointing" not in config.to_dict()


def test_a_multiple_that_is_no_integer_is_refused(kind: Any) -> None:
    # Both our words and the sentence of transformers.
    words = r"pad_to_multiple_of is 1\.3: expected an integer.*multiple of `1\.3`, which is not and"
    with pytest.raises(ConfigError, match=words):
        kind.XLMModel(small_config()).resize_token_embeddings(70, pad_to_multiple_of=1.3)


def test_sizes_that_start_afresh_are_in_the_log_of_transformers(
    kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.XLMForTokenClassification(small_config(num_labels=3)).save_pretrained(tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with pytest.warns(XLMWarning, match="Of another size"):
        kind.XLMForTokenClassification.from_pretrained(
            tmp_path, num_labels=5, ignore_mismatched_sizes=True
        )
    assert "classifier.weight is newly initialized because the shapes did not match" in caplog.text
