"""Damaged and malicious files: each gives one CheckpointError, and nothing outside is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers

from tests.conftest import make_config
from xlm_core import CheckpointError
from xlm_core.checkpoints import open_checkpoint

SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "emb_dim": 12,
    "n_layers": 2,
    "n_heads": 3,
    "n_langs": 5,
    "max_position_embeddings": 19,
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model as transformers writes it."""
    folder = tmp_path_factory.mktemp("reference")
    torch.manual_seed(0)
    transformers.XLMWithLMHeadModel(transformers.XLMConfig(**SIZES)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(reference: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(reference, tmp_path / "copy"))


def damage(folder: Path, kind: str) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "cut in the header":
        file.write_bytes(content[: 8 + length // 2])
    elif kind == "cut in the data":
        file.write_bytes(content[:-1])
    elif kind == "longer":
        file.write_bytes(content + b"\0")
    elif kind == "header length":
        file.write_bytes((2**63).to_bytes(8, "little") + content[8:])
    elif kind == "flipped header":
        file.write_bytes(content[:8] + bytes(255 - byte for byte in content[8:40]) + content[40:])
    elif kind == "not safetensors":
        file.write_bytes(b"\x80\x04K\x01." * 100)
    else:
        name = next(name for name in header if name != "__metadata__")
        if kind == "offsets":
            header[name]["data_offsets"][1] += 8
        elif kind == "shape":
            header[name]["shape"] = [10**9, *header[name]["shape"]]
        else:
            header[name]["dtype"] = kind
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "cut in the header",
        "cut in the data",
        "longer",
        "header length",
        "flipped header",
        "not safetensors",
        "offsets",
        "shape",
        "F99",
    ],
)
def test_damaged_file(folder: Path, kind: str) -> None:
    damage(folder, kind)
    with pytest.raises(CheckpointError, match="damaged or no safetensors file") as caught:
        open_checkpoint(folder)
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "not an index of shards"),
        ("[]", "not an index of shards"),
        ("{}", "not an index of shards"),
        ('{"weight_map": ["a"]}', "not an index of shards"),
        ('{"weight_map": {"a": ["x"]}}', "not an index of shards"),
        ('{"weight_map": {"a": 5}}', "not an index of shards|no file beside it"),
        ('{"weight_map": {"a": null}}', "not an index of shards|no file beside it"),
        ('{"weight_map": {"a": ""}}', "no file beside it"),
        ('{"weight_map": {"a": "."}}', "no file beside it"),
        ('{"weight_map": {"a": "absent.safetensors"}}', "no file beside it"),
        ('{"weight_map": {"a": "../secret.safetensors"}}', "no file beside it"),
        ('{"weight_map": {"a": "SECRET"}}', "no file beside it"),
        ('{"weight_map": {"a": "shard.safetensors", "b": "shard.safetensors"}}', "differ in"),
        ('{"weight_map": {"b": "shard.safetensors"}}', "differ in"),
        ('{"weight_map": {"a": "shard.safetensors\\u0000"}}', "no file beside it"),
    ],
)
def test_bad_index(tmp_path: Path, index: str, message: str) -> None:
    """A path that leaves the folder is refused, even where the file exists."""
    array = {"a": np.zeros(2, np.float32)}
    secret = tmp_path / "secret.safetensors"
    folder = tmp_path / "model"
    make_config().save_pretrained(folder)
    safetensors.numpy.save_file(array, secret)
    safetensors.numpy.save_file(array, folder / "shard.safetensors")
    content = index.replace("SECRET", str(secret))
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)
