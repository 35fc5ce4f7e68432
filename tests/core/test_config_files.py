"""Every published spelling of config.json, both directions to transformers, and the writing."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.conftest import make_config
from tests.support.cases import random_config
from xlm_core import ConfigError, XLMConfig, XLMWarning
from xlm_core.weights import ARCHITECTURES

# What transformers 4 derives by itself or keeps twice; each has a test of its own.
NOT_COMPARED = {"eos_token_id", "pad_token_id", "bos_token_id", "transformers_version", "dtype"}
# Fields of the models that transformers' class only has if a file or a caller gave them.
UNDECLARED = {"asm_cutoffs", "asm_div_value", "summary_last_dropout", "lang2id", "id2lang"}


def random_values(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    values = random_config(rng, list(ARCHITECTURES)[seed % len(ARCHITECTURES)], 8)
    values |= {"unk_index": 4, "mask_index": 6, "lang_id": 1, "max_vocab": 99, "nested": {"a": [1]}}
    if values["n_langs"] > 1:
        values["lang2id"] = {f"l{i}": i for i in range(values["n_langs"])}
        values["id2lang"] = {i: f"l{i}" for i in range(values["n_langs"])}
    return values


def same_as_transformers(ours: XLMConfig, theirs: transformers.XLMConfig) -> None:
    for name, value in ours.to_dict().items():
        if name in UNDECLARED and not hasattr(theirs, name):
            assert value == getattr(XLMConfig(), name), name
        elif name not in NOT_COMPARED:
            found = getattr(theirs, name)
            if name in ("id2lang", "pruned_heads") and found is not None:
                found = {str(key): entry for key, entry in found.items()}
            if name == "id2label":
                found = {str(key): entry for key, entry in found.items()}
            assert found == value, name


@pytest.mark.parametrize("seed", range(20))
def test_transformers_reads_what_is_written(tmp_path: Path, seed: int) -> None:
    ours = XLMConfig(**random_values(seed))
    ours.save_pretrained(tmp_path)
    theirs = transformers.XLMConfig.from_pretrained(tmp_path)
    same_as_transformers(ours, theirs)
    assert theirs.pad_token_id == theirs.pad_index == ours.pad_index
    assert theirs.eos_token_id == theirs.eos_index == ours.eos_index


@pytest.mark.parametrize("seed", range(20))
def test_what_transformers_writes_is_read_whole(tmp_path: Path, seed: int) -> None:
    values = random_values(seed)
    theirs = transformers.XLMConfig(**values)
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.warns(XLMWarning, match="'nested': no field of XLMConfig"):
        ours = XLMConfig.from_pretrained(tmp_path / "theirs")
    same_as_transformers(ours, theirs)
    for name, value in values.items():
        assert getattr(ours, name) == value, name
    # And back: the keys that transformers wrote are all there, with their values.
    ours.save_pretrained(tmp_path / "ours")
    before = json.loads((tmp_path / "theirs" / "config.json").read_text())
    after = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert before.keys() <= after.keys()
    assert {name: after[name] for name in before if name not in NOT_COMPARED} == {
        name: before[name] for name in before if name not in NOT_COMPARED
    }


def test_version_5_has_token_ids_only(tmp_path: Path) -> None:
    written = {
        "model_type": "xlm",
        "vocab_size": 70,
        "emb_dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "pad_token_id": 7,
        "eos_token_id": 8,
        "bos_token_id": 9,
        "dtype": "float16",
    }
    (tmp_path / "config.json").write_text(json.dumps(written))
    config = XLMConfig.from_pretrained(tmp_path)
    assert (config.pad_index, config.eos_index, config.bos_index) == (7, 8, 9)
    assert config.dtype == "float16"
    assert config.to_dict() | written == config.to_dict()


def test_version_4_pad_index_wins_over_its_unset_token_id(tmp_path: Path) -> None:
    theirs = transformers.XLMConfig(vocab_size=70, emb_dim=24, n_heads=3, pad_index=7)
    assert theirs.pad_token_id == 2  # what its models do not use
    theirs.save_pretrained(tmp_path)
    assert XLMConfig.from_pretrained(tmp_path).pad_index == 7


def test_published_shapes(shared: Callable[[str], Path]) -> None:
    published = json.loads(shared("reference/published_configs.json").read_text())
    assert len(published) == 10
    for name, values in published.items():
        tokenizer = values.pop("tokenizer")
        values |= {key: tokenizer[key] for key in ("lang2id", "id2lang") if key in tokenizer}
        ours, theirs = XLMConfig.from_dict(values), transformers.XLMConfig(**values)
        same_as_transformers(ours, theirs)
        for key, value in values.items():
            expected = {int(i): v for i, v in value.items()} if key == "id2lang" else value
            assert getattr(ours, key) == expected, (name, key)
        assert ours.has_lang_embeddings == (name[-4:] == "1024"), name


def test_dump_of_all_parameters_is_read_and_kept(tmp_path: Path) -> None:
    """The 17- and 100-language checkpoints ship the whole command line as config.json."""
    dump = {
        "accumulate_gradients": 4,
        "amp": 2,
        "asm": False,
        "asm_cutoffs": "8000,20000",
        "asm_div_value": 4,
        "attention_dropout": 0.1,
        "batch_size": 16,
        "beam_size": 1,
        "bptt": 256,
        "clm_steps": [],
        "command": "python train.py --emb_dim 1280",
        "early_stopping": False,
        "emb_dim": 1280,
        "fp16": True,
        "id2lang": {"0": "ar", "1": "de"},
        "lang2id": {"ar": 0, "de": 1},
        "length_penalty": 1,
        "lg_sampling_factor": 0.7,
        "max_vocab": 200000,
        "mlm_steps": [["ar", None], ["de", None]],
        "n_heads": 16,
        "n_langs": 2,
        "n_layers": 16,
        "n_words": 200000,
        "optimizer": "adam_inverse_sqrt,lr=0.00005,beta2=0.999",
        "para_dataset": {},
        "share_inout_emb": True,
        "use_lang_emb": False,
        "word_pred": 0.15,
    }
    (tmp_path / "config.json").write_text(json.dumps(dump))
    config = XLMConfig.from_pretrained(tmp_path)
    assert (config.vocab_size, config.emb_dim, config.n_layers) == (200000, 1280, 16)
    assert not config.has_lang_embeddings
    assert config.asm_cutoffs == [8000, 20000]
    config.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    renamed = {"n_words": "vocab_size"}
    for name, value in dump.items():
        expected = [8000, 20000] if name == "asm_cutoffs" else value
        assert again[renamed.get(name, name)] == expected, name


ENCODERS = [
    "adaptive_softmax",
    "clm_causal",
    "mlm_langs",
    "mono_one_language",
    "no_lang_emb",
    "sinusoidal_relu",
    "tlm_positions",
    "training_checkpoint_module_prefix",
    "untied_output",
]


@pytest.mark.parametrize("as_namespace", [False, True])
@pytest.mark.parametrize("case", ENCODERS)
def test_parameters_of_original_checkpoints(
    shared: Callable[[str], Path], tmp_path: Path, case: str, as_namespace: bool
) -> None:
    file = shared(f"golden/facebook/{case}/checkpoint.pth")
    params = torch.load(file, weights_only=False)["params"]
    config = XLMConfig.from_facebook(argparse.Namespace(**params) if as_namespace else params)
    assert config.vocab_size == params["n_words"]
    assert config.tie_word_embeddings is params["share_inout_emb"]
    assert config.causal is False  # params do not say how the model was called
    assert not any(hasattr(value, "shape") for value in config.extra.values())
    for name in params.keys() - {"mask_scores", "n_words"}:
        assert getattr(config, name) == params[name], name
    config.save_pretrained(tmp_path)
    assert XLMConfig.from_pretrained(tmp_path).to_json_string() == config.to_json_string()


def test_causal_steps_alone_make_a_causal_model() -> None:
    assert XLMConfig.from_facebook({"clm_steps": [("en", None)], "mlm_steps": []}).causal
    assert not XLMConfig.from_facebook({"clm_steps": [("en", None)], "mlm_steps": [("en",)]}).causal
    assert not XLMConfig.from_facebook({"clm_steps": [("en", None)]}, causal=False).causal


def test_original_parameters_with_language_pairs_as_keys_can_be_written(tmp_path: Path) -> None:
    """The original's `para_dataset` is keyed by tuples, which JSON cannot hold."""
    XLMConfig.from_facebook({"para_dataset": {("en", "fr"): {"train": "x"}}}).save_pretrained(
        tmp_path
    )
    assert XLMConfig.from_pretrained(tmp_path).vocab_size == 30145


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.json"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[1]", "holds a list: expected a JSON object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"model_type": "bert"}', "model_type is 'bert'"),
        (b'{"emb_dim": "wide"}', "emb_dim is 'wide'"),
        (b'{"dropout": NaN}', "dropout is nan"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content)
    for path in (tmp_path, file):
        with pytest.raises(ConfigError, match=message) as caught:
            XLMConfig.from_pretrained(path)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("failing", ["write", "rename", "content"])
def test_a_failed_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    make_config(causal=True).save_pretrained(tmp_path)
    old = (tmp_path / "config.json").read_bytes()

    def half(self: Path, text: str, **options: object) -> int:
        self.write_bytes(text[: len(text) // 2].encode())
        raise OSError("disk full")

    def no_rename(*args: object) -> None:
        raise OSError("disk full")

    new = make_config(causal=False)
    if failing == "write":
        monkeypatch.setattr(Path, "write_text", half)
    elif failing == "rename":
        monkeypatch.setattr(os, "replace", no_rename)
    else:
        new.unwritable = object()
    with pytest.raises((OSError, ConfigError)):
        new.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_bytes() == old


def test_folder_is_made_and_old_file_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_config(causal=True).save_pretrained(folder)
    make_config(n_layers=1).save_pretrained(str(folder))
    assert XLMConfig.from_pretrained(folder) == make_config(n_layers=1)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    """No shape depends on some of them, such as n_heads: one of the two would be a silent guess."""
    (tmp_path / "config.json").write_text('{"model_type": "xlm", "n_heads": 2, "n_heads": 4}')
    with pytest.raises(ConfigError, match=r"config\.json is damaged: 'n_heads' comes twice"):
        XLMConfig.from_pretrained(tmp_path)
