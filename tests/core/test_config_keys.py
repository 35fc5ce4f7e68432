"""Keys beside the fields: refused where they change the computation, named where nobody knows."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.layout_models import make, write_all
from xlm_core import CheckpointError, ConfigError, XLMConfig, XLMWarning
from xlm_core.checkpoints import open_checkpoint
from xlm_core.config_keys import COMPUTING, HARMLESS, WITHOUT_EFFECT

SMALL = {"vocab_size": 60, "emb_dim": 16, "n_layers": 2, "n_heads": 2}
REFUSED = [
    ("pre_norm", True),
    ("pre_norm", 1),
    ("pre_norm", "True"),
    ("encoder_normalize_before", True),
    ("use_memory", True),
    ("mem_enc_positions", [[1, "in"]]),
    ("mem_enc_positions", "1+"),
    ("english_only", True),
    ("n_enc_layers", 3),
    ("n_layers_encoder", 6),
    ("emb_dim_encoder", 32),
    ("use_adapters", True),
    ("tokenization_mode", "roberta"),
    ("quantization_config", {"load_in_8bit": True}),
    ("hidden_act", "relu"),
    ("intermediate_size", 48),
    ("position_embedding_type", "relative_key"),
    ("layer_norm_epsilon", 1e-6),
    ("n_layer", 6),
    ("rope_theta", 10000.0),
    ("norm_first", True),
    ("layer_norm_first", "true"),
    ("activation_fn", "relu"),
    ("activation", "swish"),
    ("d_inner", 32),
    ("encoder_embed_dim", 1024),
    ("encoder_learned_pos", False),
    ("no_token_positional_embeddings", True),
    ("n_positions", 128),
    ("num_hidden_groups", 1),
    ("type_vocab_size", 2),
    ("no_scale_embedding", False),
    ("layernorm_embedding", False),
    ("max_relative_positions", 64),
    ("attention_type", "block_sparse"),
    ("local_attention", 128),
    ("use_bias", False),
    ("num_experts", 8),
]
AGREEING = [
    ("pre_norm", False),
    ("pre_norm", None),
    ("use_memory", False),
    ("mem_enc_positions", ""),
    ("n_enc_layers", 2),
    ("emb_dim_encoder", 0),
    ("hidden_act", "gelu"),
    ("intermediate_size", 64),
    ("position_embedding_type", "absolute"),
    ("layer_norm_epsilon", 1e-12),
    ("n_layer", 2),
    ("activation", "gelu"),
    ("encoder_learned_pos", True),
    ("n_positions", 512),
    ("num_hidden_groups", 2),
    ("type_vocab_size", 0),
    ("max_relative_positions", -1),
    ("attention_type", "original_full"),
    ("use_bias", True),
    ("num_experts", None),
]
WITHOUT = [
    ("layerdrop", 0.1),
    ("n_dec_layers", 3),
    ("attention_setting", "v2"),
    ("hidden_dropout_prob", 0.5),
    ("resid_pdrop", 0.3),
    ("activation_dropout", 0.1),
    ("decoder_layers", 6),
]


def written(folder: Path, **keys: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(SMALL | keys))
    return folder


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_keys_that_change_the_computation_are_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    for make_config in (
        lambda: XLMConfig(**SMALL, **{key: value}),
        lambda: XLMConfig.from_pretrained(written(tmp_path, **{key: value})),
        lambda: XLMConfig.from_facebook(SMALL | {key: value}),
    ):
        with pytest.raises(ConfigError, match=f"{key}=.*XLM computes something else"):
            make_config()


def test_a_key_that_is_set_later_is_refused_by_the_model() -> None:
    config = XLMConfig(**SMALL)
    config.pre_norm = True
    with pytest.raises(ConfigError, match="pre_norm=True"):
        config.validate()


@pytest.mark.parametrize(("key", "value"), AGREEING)
def test_keys_that_say_what_xlm_computes_are_silent(
    tmp_path: Path, key: str, value: object
) -> None:
    assert getattr(XLMConfig.from_pretrained(written(tmp_path, **{key: value})), key) == value
    XLMConfig(**SMALL, **{key: value})


@pytest.mark.parametrize(("key", "value"), WITHOUT)
def test_keys_without_effect_on_an_encoder_are_named(
    tmp_path: Path, key: str, value: object
) -> None:
    with pytest.warns(XLMWarning, match=f"{key}="):
        XLMConfig.from_pretrained(written(tmp_path, **{key: value}))


def test_memories_that_are_switched_off_are_none(tmp_path: Path) -> None:
    XLMConfig.from_pretrained(written(tmp_path, use_memory=False, mem_enc_positions="4"))


def test_options_of_training_are_silent(tmp_path: Path) -> None:
    options = {name: "x" for name in HARMLESS if name not in ("share_inout_emb", "torchscript")}
    config = XLMConfig.from_pretrained(written(tmp_path, **options, mem_knn=3, _commit_hash="a"))
    assert config.command == "x"
    assert not {*COMPUTING} & {*HARMLESS}
    assert not {*WITHOUT_EFFECT} & {*HARMLESS}


def test_one_warning_names_all_unknown_keys(tmp_path: Path) -> None:
    folder = written(tmp_path, n_hedas=2, colour="blue", layerdrop=0.2)
    with pytest.warns(XLMWarning) as caught:
        config = XLMConfig.from_pretrained(folder)
    (warning,) = caught
    text = str(warning.message)
    assert "'colour'" in text
    assert "'n_hedas' (did you mean 'n_heads'?)" in text
    assert "layerdrop=0.2" in text
    assert config.colour == "blue"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert config.copy().colour == "blue"  # copies are not files


def test_a_caller_keeps_keys_and_is_told_of_typos() -> None:
    assert XLMConfig(my_note=1).my_note == 1
    with pytest.warns(XLMWarning, match=r"'num_lables' \(did you mean 'num_labels'\?\)"):
        XLMConfig(num_lables=3)


def test_flauberts_epsilon() -> None:
    with pytest.warns(XLMWarning, match="do not say layer_norm_eps: 1e-12"):
        assert XLMConfig.from_facebook(SMALL | {"pre_norm": False}).layer_norm_eps == 1e-12
    followed = XLMConfig.from_facebook(SMALL | {"pre_norm": False, "layer_norm_eps": 1e-6})
    assert followed.layer_norm_eps == 1e-6


def test_every_layout_refuses(tmp_path: Path) -> None:
    places = write_all(tmp_path, make("XLMWithLMHeadModel", "2 languages"))
    for name, place in places.items():
        config = place / "config.json"
        if config.exists():
            config.write_text(json.dumps(json.loads(config.read_text()) | {"pre_norm": True}))
        else:
            file = place / "checkpoint.pth"
            content = torch.load(file, weights_only=False)
            content["params"]["pre_norm"] = True
            content.pop("config", None)
            torch.save(content, file)
        with pytest.raises((ConfigError, CheckpointError), match="pre_norm=True"):
            open_checkpoint(place)
        assert name


def test_arguments_of_loading_are_no_fields(tmp_path: Path) -> None:
    for name in ("token", "cache_dir", "revision", "subfolder", "use_auth_token"):
        with pytest.raises(ConfigError, match=f"{name} is an argument of from_pretrained"):
            XLMConfig(**{name: "hf_secret"})
    with pytest.warns(XLMWarning, match="arguments of loading: revision, token") as caught:
        config = XLMConfig.from_pretrained(written(tmp_path, token="hf_secret", revision="x"))
    assert "hf_secret" not in str(caught[0].message)
    config.save_pretrained(tmp_path)
    assert "hf_secret" not in (tmp_path / "config.json").read_text()
