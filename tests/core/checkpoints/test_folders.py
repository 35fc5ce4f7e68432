"""Opening and writing folders: what transformers wrote, what is refused, what is interrupted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers

from tests.conftest import make_config
from tests.support.containers import replace_fill
from xlm_core import CheckpointError, ConfigError, UnknownArgumentError, XLMConfig
from xlm_core.checkpoints import match_checkpoint, open_checkpoint, save_checkpoint
from xlm_core.weights import name_of, tensors_of

SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "emb_dim": 12,
    "n_layers": 2,
    "n_heads": 3,
    "n_langs": 5,
    "max_position_embeddings": 19,
}
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array's bytes, so that NaN and dtypes numpy cannot compare are compared exactly."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_reads_what_transformers_wrote(
    tmp_path: Path, dtype: str, sharded: bool, tied: bool
) -> None:
    config = transformers.XLMConfig(**SIZES, tie_word_embeddings=tied)
    model = transformers.XLMWithLMHeadModel(config).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size="4KB" if sharded else "5GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) is sharded

    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.architecture == "XLMWithLMHeadModel"
    assert checkpoint.source == str(tmp_path)
    assert checkpoint.config.dtype == dtype
    expected = model.state_dict()
    if tied:
        del expected["pred_layer.proj.weight"]
    assert checkpoint.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        lazy = checkpoint.tensors[name]
        array = lazy.read()
        assert lazy.shape == array.shape == tuple(tensor.shape)
        assert lazy.dtype == array.dtype.name == dtype
        assert array.dtype == DTYPES[dtype]
        assert np.array_equal(array.astype(np.float64), tensor.double().numpy()), name


def test_what_is_written_transformers_opens(tmp_path: Path) -> None:
    config = make_config(architectures=["XLMWithLMHeadModel"], num_labels=2)
    rng = np.random.default_rng(0)
    arrays = {
        str(name_of(spec, "torch", "XLMWithLMHeadModel")): rng.normal(size=spec.shape).astype("f4")
        for spec in tensors_of(config, "XLMWithLMHeadModel")
        if spec.tied_to is None
    }
    save_checkpoint(tmp_path, config, arrays)
    theirs = transformers.XLMWithLMHeadModel.from_pretrained(tmp_path).state_dict()
    for name, array in arrays.items():
        assert np.array_equal(theirs[name].numpy(), array), name
    assert np.array_equal(
        theirs["pred_layer.proj.weight"].numpy(), arrays["transformer.embeddings.weight"]
    )


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "bool"]
)
def test_written_arrays_come_back(tmp_path: Path, dtype: str) -> None:
    values = np.array([[0.0, 1, 2], [3, 4, 5]])
    if dtype not in ("int64", "int32", "bool"):
        values[0, 0] = np.nan
    kept = values.astype(getattr(ml_dtypes, dtype, dtype))
    save_checkpoint(tmp_path, make_config(), {"a": kept.T, "b": kept[:, ::2]})
    tensors = open_checkpoint(tmp_path).tensors
    assert (tensors["a"].shape, tensors["a"].dtype) == ((3, 2), dtype)
    assert np.array_equal(bits(tensors["a"].read()), bits(kept.T))
    assert np.array_equal(bits(tensors["b"].read()), bits(kept[:, ::2]))
    assert open_checkpoint(tmp_path).config == make_config()


def test_overrides_of_the_configuration(folder: Path) -> None:
    config = open_checkpoint(folder, causal=True, num_labels=3, n_words=53).config
    assert (config.causal, config.num_labels, config.emb_dim) == (True, 3, 12)
    with pytest.raises(UnknownArgumentError, match="'casual'"):
        open_checkpoint(folder, casual=True)
    with pytest.raises(ConfigError, match="n_heads is 0"):
        open_checkpoint(folder, n_heads=0)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["XLMModel"], "XLMModel"),
        (["TFXLMForTokenClassification"], "XLMForTokenClassification"),
        (["Other", "XLMForQuestionAnswering"], "XLMForQuestionAnswering"),
        (["Other"], None),
        ([], None),
        (None, None),
    ],
)
def test_architecture(tmp_path: Path, names: list[str] | None, expected: str | None) -> None:
    save_checkpoint(tmp_path, make_config(architectures=names), {"a": np.zeros(1)})
    assert open_checkpoint(tmp_path).architecture == expected


def test_file_removed_between_opening_and_reading_keeps_its_tensors(folder: Path) -> None:
    tensors = open_checkpoint(folder).tensors
    (folder / "model.safetensors").unlink()
    assert tensors["transformer.embeddings.weight"].read().shape == (53, 12)


def test_dtypes_that_no_model_has_are_refused(tmp_path: Path) -> None:
    make_config().save_pretrained(tmp_path)
    safetensors.numpy.save_file({"a": np.zeros(2, np.uint8)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.tensors["a"].dtype == "uint8"
    whole = {"embeddings.weight": np.zeros((53, 12), np.int32)}
    safetensors.numpy.save_file(whole, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"embeddings\.weight: found dtype int32, expected"):
        match_checkpoint(open_checkpoint(tmp_path), "XLMModel")


def test_absent_weights(tmp_path: Path) -> None:
    make_config().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        open_checkpoint(tmp_path)


def test_absent_folder_and_configuration(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder at"):
        open_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        open_checkpoint(tmp_path)
    safetensors.numpy.save_file({"a": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("failing", ["write", "rename"])
def test_a_failed_write_leaves_the_old_files_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half(*arguments: Any) -> None:
        raise OSError("disk full")  # when the header is written, and no tensor

    def no_rename(*paths: Any) -> None:
        raise OSError("disk full")

    if failing == "write":
        replace_fill(monkeypatch, "safetensors", half)
    else:
        monkeypatch.setattr(os, "replace", no_rename)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, XLMConfig(), {"a": np.zeros(1)})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_old_index_does_not_hide_a_new_file(tmp_path: Path) -> None:
    """A folder of shards that is written over must not be read as the old shards by anyone."""
    model = transformers.XLMModel(transformers.XLMConfig(**SIZES))
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    config = open_checkpoint(tmp_path).config
    arrays = {name: np.ones_like(t.numpy()) for name, t in model.state_dict().items()}
    save_checkpoint(tmp_path, config, arrays)
    assert np.all(open_checkpoint(tmp_path).tensors["embeddings.weight"].read() == 1)
    theirs = transformers.XLMModel.from_pretrained(tmp_path)
    assert bool((theirs.embeddings.weight == 1).all())
