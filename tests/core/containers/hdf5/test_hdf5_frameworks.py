"""What Keras 3 and transformers write: each file opens and holds what h5py reads from it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
import transformers

from tests.conftest import make_config
from tests.core.containers.hdf5.hdf5_files import assert_same, groups, read, tensors
from xlm_core.containers.hdf5 import read_hdf5
from xlm_core.containers.sources import FileSource, PartSource
from xlm_tf import TFXLMModel, TFXLMWithLMHeadModel

# Lists of more than eight layers split nodes.
LAYERS = 12


@pytest.fixture(scope="module")
def model() -> TFXLMWithLMHeadModel:
    keras.utils.set_random_seed(0)
    model = TFXLMWithLMHeadModel(make_config(n_layers=LAYERS))
    model(np.ones((1, 4), np.int32), langs=np.ones((1, 4), np.int32))
    return model


def test_weights(model: TFXLMWithLMHeadModel, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    found = read(path)
    with h5py.File(path) as file:
        assert assert_same(file, found) == len(model.weights)
    names = {group.attributes["name"] for group in groups(found) if "name" in group.attributes}
    assert {"q_lin", "layer_norm_emb"} <= names


def test_archive(model: TFXLMWithLMHeadModel, tmp_path: Path) -> None:
    """The file lies inside of another, where all addresses are shifted."""
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        part = archive.getinfo("model.weights.h5")
        assert part.compress_type == zipfile.ZIP_STORED
        copy = Path(archive.extract(part, tmp_path))
    offset = path.read_bytes().index(copy.read_bytes())
    found = read_hdf5(PartSource(FileSource(path), offset, part.file_size, part.filename))
    with h5py.File(copy) as file:
        assert assert_same(file, found) == len(model.weights)


def test_shards(model: TFXLMWithLMHeadModel, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.json"
    model.save_weights(path, max_shard_size=40e-6)
    weights = json.loads(path.read_text())["weight_map"].values()
    shards = {name for names in weights for name in ([names] if isinstance(names, str) else names)}
    assert len(shards) > 2
    count = 0
    for name in shards:
        with h5py.File(tmp_path / name) as file:
            count += assert_same(file, read(tmp_path / name))
    assert count == len(model.weights)


def test_bfloat16(tmp_path: Path) -> None:
    model = TFXLMModel(make_config(n_layers=1), dtype="bfloat16")
    model(np.ones((1, 4), np.int32), langs=np.ones((1, 4), np.int32))
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    found = tensors(read(path))
    assert {tensor.dtype for tensor in found.values()} == {"bfloat16"}
    with h5py.File(path) as file:
        assert_same(file, read(path))
        # As Keras reads it.
        for name, tensor in found.items():
            expected = np.array(file[name], dtype=ml_dtypes.bfloat16)
            assert tensor.read().dtype == expected.dtype
            assert tensor.read().tobytes() == expected.tobytes()


@pytest.mark.parametrize("shard_size", ["10GB", "20KB"])
def test_transformers(tmp_path: Path, shard_size: str) -> None:
    sizes = {"vocab_size": 53, "emb_dim": 12, "n_layers": LAYERS, "n_heads": 4, "n_langs": 5}
    config = transformers.XLMConfig(**sizes, max_position_embeddings=19)
    model = transformers.TFXLMWithLMHeadModel(config)
    model.build_in_name_scope()
    model.save_pretrained(tmp_path, safe_serialization=False, max_shard_size=shard_size)
    files = sorted(tmp_path.glob("*.h5"))
    assert (len(files) > 2) == (shard_size == "20KB")
    names: list[str] = []
    for path in files:
        found = read(path)
        with h5py.File(path) as file:
            assert_same(file, found)
        if len(files) == 1:
            for layer in found.attributes["layer_names"]:
                # transformers gives a layer without weights an empty array of numbers.
                names += list(found.groups[layer].attributes["weight_names"])
        else:
            names += found.attributes["layer_names"]
            assert [f"/{name}" for name in sorted(found.attributes["layer_names"])] == sorted(
                tensors(found)
            )
    expected = {weight.name.partition("/")[2] for weight in model.weights}
    prefix = 0 if len(files) > 1 else 1
    assert {"/".join(name.split("/")[prefix:]) for name in names} == expected
