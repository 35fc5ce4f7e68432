"""`XLMConfig` as code written for transformers' `PretrainedConfig` uses it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import transformers

from xlm_core import ConfigError, UnknownArgumentError, XLMConfig
from xlm_core.config_keys import PUBLISHED_DEFAULTS

SMALL = {"vocab_size": 60, "emb_dim": 16, "n_layers": 2, "n_heads": 2}


def test_positional_arguments_are_transformers() -> None:
    names = [*inspect.signature(transformers.XLMConfig.__init__).parameters][1:-1]
    assert [*inspect.signature(XLMConfig).parameters][:-1] == names
    ours, theirs = XLMConfig(50, 32, 3, 4, 0.2), transformers.XLMConfig(50, 32, 3, 4, 0.2)
    for name in names[:5]:
        assert getattr(ours, name) == getattr(theirs, name)
    with pytest.raises(UnknownArgumentError, match="emb_dim by position and by name"):
        XLMConfig(50, 32, emb_dim=8)
    with pytest.raises(UnknownArgumentError, match="33 positional"):
        XLMConfig(*range(40))


def test_attributes_of_every_configuration() -> None:
    ours, theirs = XLMConfig(), transformers.XLMConfig()
    for name, value in PUBLISHED_DEFAULTS.items():
        assert getattr(ours, name) == value == getattr(theirs, name), name
        assert name in ours
        assert name not in ours.to_dict()
    assert (ours.name_or_path, ours.is_composition, ours.sub_configs) == ("", False, {})
    given = XLMConfig(is_decoder=True, tokenizer_class="XLMTokenizer", name_or_path="a/b")
    assert given.is_decoder
    assert given.tokenizer_class == "XLMTokenizer"
    assert given.name_or_path == "a/b" == given.copy().name_or_path
    assert "a/b" not in given.to_json_string()


def test_membership_and_iteration() -> None:
    config = XLMConfig(note=1)
    assert "hidden_size" in config
    assert "note" in config
    assert "nothing" not in config
    assert {"vocab_size", "emb_dim", "note"} <= {*config}
    assert all(hasattr(config, name) for name in config)


def test_update_and_texts() -> None:
    config = XLMConfig()
    config.update({"id2label": {0: "a", 1: "b", 2: "c"}, "lang2id": {"en": 0}, "hidden_size": 64})
    assert config.label2id == {"a": 0, "b": 1, "c": 2}
    assert config.id2lang == {0: "en"}
    config.update_from_string("n_layers=3,dropout=0.2,causal=true,summary_type=mean")
    assert (config.n_layers, config.dropout, config.causal) == (3, 0.2, True)
    assert config.summary_type == "mean"
    for text in ("causal=perhaps", "n_layers=x", "nothing=1", "n_layers", "id2label=1"):
        with pytest.raises(ConfigError):
            config.update_from_string(text)


def test_files_of_its_own(tmp_path: Path) -> None:
    config = XLMConfig(**SMALL, causal=True)
    config.to_json_file(tmp_path / "c.json")
    assert XLMConfig.from_json_file(tmp_path / "c.json") == config
    config.save_pretrained(save_directory=tmp_path / "sub", push_to_hub=False, token="x")
    assert XLMConfig.from_pretrained(tmp_path, subfolder="sub") == config
    read, unused = XLMConfig.get_config_dict(tmp_path / "sub", revision="main", other=1)
    assert read == json.loads((tmp_path / "sub" / "config.json").read_text())
    assert unused == {"other": 1}
    with pytest.raises(UnknownArgumentError, match="uploads nothing"):
        config.save_pretrained(tmp_path, push_to_hub=True)
    with pytest.raises(OSError, match=r"no config\.json"):
        XLMConfig.from_pretrained(tmp_path / "absent")


def test_arguments_that_are_no_fields(tmp_path: Path) -> None:
    XLMConfig(**SMALL).save_pretrained(tmp_path)
    opened = XLMConfig.from_pretrained(
        pretrained_model_name_or_path=tmp_path,
        token="hf_secret",
        cache_dir="x",
        revision="main",
        force_download=True,
        trust_remote_code=True,
        attn_implementation="eager",
        _from_auto=True,
    )
    assert opened == XLMConfig(**SMALL)
    assert opened.name_or_path == str(tmp_path)
    with pytest.raises(UnknownArgumentError, match=r"'n_hedas'.*Did you mean 'n_heads'"):
        XLMConfig.from_pretrained(tmp_path, n_hedas=2)
    config, unused = XLMConfig.from_pretrained(
        tmp_path, causal=True, foo=False, return_unused_kwargs=True
    )
    assert config.causal
    assert unused == {"foo": False}
    assert "foo" not in config


def test_there_and_back(tmp_path: Path) -> None:
    ours = XLMConfig(**SMALL, causal=True, num_labels=3, lang2id={"en": 0}, max_vocab=7)
    theirs = ours.to_transformers(transformers.XLMConfig)
    assert isinstance(theirs, transformers.XLMConfig)
    assert theirs.causal
    assert theirs.num_labels == 3
    assert XLMConfig.from_transformers(theirs) == ours
    with pytest.raises(ConfigError, match="model_type is 'bert'"):
        XLMConfig.from_transformers(transformers.BertConfig())
    with pytest.raises(ConfigError, match="no configuration"):
        XLMConfig.from_transformers(3)


def test_what_differs_from_the_defaults() -> None:
    theirs, ours = {*transformers.XLMConfig().to_diff_dict()}, {*XLMConfig().to_diff_dict()}
    assert theirs ^ ours == {"transformers_version", "eos_token_id"}
    changed = XLMConfig(num_labels=3, return_dict=False, is_decoder=True)
    assert {"id2label", "label2id", "return_dict", "is_decoder"} <= {*changed.to_diff_dict()}
    assert XLMConfig.from_dict(changed.to_diff_dict()).to_diff_dict() == changed.to_diff_dict()
