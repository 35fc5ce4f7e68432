"""Which file of a folder is opened, what it is taken for, and what it needs beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from tests.support.layout_models import assert_same, make, write_all
from xlm_core import CheckpointError, ConfigError, UnknownArgumentError, XLMConfig, XLMWarning
from xlm_core.checkpoints import LAYOUTS, LazyTensor, match_checkpoint, open_checkpoint
from xlm_core.checkpoints.shards import shard_size, split
from xlm_core.checkpoints.writing import write_folder
from xlm_core.containers.safetensors import read_safetensors, write_safetensors
from xlm_core.weights import ENCODER_DECODER

ORDER = ("safetensors", "torch", "tf", "keras")
LM = "XLMWithLMHeadModel"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return write_all(tmp_path / "all", make(LM, "2 languages"))


def test_the_order_in_a_folder(places: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in reversed(ORDER):
        shutil.copytree(places[name], folder, dirs_exist_ok=True)
        assert open_checkpoint(folder).layout == name
    shutil.copy(places["facebook"] / "checkpoint.pth", folder)
    assert open_checkpoint(folder).layout == "safetensors"
    assert open_checkpoint(folder / "checkpoint.pth").layout == "facebook"
    assert open_checkpoint(folder / "tf_model.h5").layout == "tf"


def test_several_candidates_are_not_guessed(places: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        shutil.copy(places["facebook"] / "checkpoint.pth", tmp_path / name)
    with pytest.raises(CheckpointError, match=r"several checkpoints: a\.pth, b\.pth\. Name"):
        open_checkpoint(tmp_path)
    assert open_checkpoint(tmp_path / "b.pth").layout == "facebook"


def test_folders_of_runs_hold_their_models(places: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(places["safetensors"], tmp_path / "run" / "model")
    with pytest.raises(
        CheckpointError, match=r"run holds no weights: its model is in .*run/model\."
    ):
        open_checkpoint(tmp_path / "run")
    (tmp_path / "run" / "model").rename(tmp_path / "run" / "best")
    with pytest.raises(
        CheckpointError, match=r"run holds no weights: its model is in .*run/best\."
    ):
        open_checkpoint(tmp_path / "run")


@pytest.mark.parametrize("layout", ["torch", "tf", "keras", "facebook"])
def test_names_do_not_matter_to_a_file_that_is_named(places: dict[str, Path], layout: str) -> None:
    file = next(file for file in places[layout].iterdir() if file.suffix in (".bin", ".h5", ".pth"))
    renamed = file.rename(file.with_name("weights.of.last.year"))
    assert open_checkpoint(renamed).layout == layout
    assert open_checkpoint(renamed).architecture == LM


def test_a_name_that_promises_safetensors_keeps_it(places: dict[str, Path]) -> None:
    """A pickle is never taken from a file that says it is none."""
    file = places["torch"] / "pytorch_model.bin"
    file.rename(places["torch"] / "model.safetensors")
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        open_checkpoint(places["torch"])


def test_configurations(places: dict[str, Path]) -> None:
    for name, place in places.items():
        carried = name in ("facebook",)
        (place / "config.json").unlink(missing_ok=True)
        if carried:
            assert open_checkpoint(place).config.emb_dim == 12
            continue
        with pytest.raises((CheckpointError, ConfigError), match=r"config\.json"):
            open_checkpoint(place)


def test_overrides(places: dict[str, Path]) -> None:
    for place in places.values():
        assert open_checkpoint(place, causal=True, n_words=53).config.causal
        with pytest.raises(UnknownArgumentError, match="'casual'"):
            open_checkpoint(place, casual=True)
        with pytest.raises(CheckpointError, match="tied is 'both'"):
            open_checkpoint(place, tied="both")


def test_folders_without_a_class(places: dict[str, Path]) -> None:
    """As of 2019: the tensors say what it is."""
    for name, place in places.items():
        if name == "facebook":
            continue
        values = json.loads((place / "config.json").read_text())
        del values["architectures"]
        (place / "config.json").write_text(json.dumps(values))
        assert open_checkpoint(place).architecture == LM, name


@pytest.mark.parametrize("layout", ["safetensors", "tf", "keras", "torch"])
def test_absurd_configurations_end_quickly(places: dict[str, Path], layout: str) -> None:
    place = places[layout]
    open_checkpoint(place).config.copy(n_layers=10**9).save_pretrained(place)
    with pytest.raises(CheckpointError, match="n_layers=1000000000, but there are only"):
        open_checkpoint(place)


@pytest.mark.parametrize(
    ("name", "causal"),
    [("xlm-clm-enfr-1024", True), ("xlm-clm-ende-1024", True), ("xlm-mlm-enfr-1024", False)],
)
def test_published_causal_models(places: dict[str, Path], name: str, causal: bool) -> None:
    """Their config.json says that they are not."""
    place = places["torch"].rename(places["torch"].with_name(name))
    if causal:
        with pytest.warns(XLMWarning, match="opened with causal=True"):
            assert open_checkpoint(place).config.causal
    else:
        assert not open_checkpoint(place).config.causal
    assert not open_checkpoint(place, causal=False).config.causal


def test_encoders_of_translation_models(tmp_path: Path) -> None:
    for place in write_all(tmp_path, make(ENCODER_DECODER, "2 languages")).values():
        checkpoint = open_checkpoint(place)
        assert checkpoint.architecture == ENCODER_DECODER
        assert not checkpoint.config.is_encoder
        model = checkpoint.as_model()
        assert (model.architecture, model.config.is_encoder) == (LM, True)
        assert {f"encoder.{name}" for name in model.tensors} == {
            name for name in checkpoint.tensors if name.startswith("encoder.")
        }
        assert checkpoint.as_model(ENCODER_DECODER) is checkpoint
        with pytest.raises(CheckpointError, match="is an encoder alone, without a decoder"):
            model.as_model(ENCODER_DECODER)


@pytest.mark.parametrize("field", ["n_layers", "encoder_layers", "decoder_layers"])
def test_a_depth_that_no_file_has_is_refused_at_once(tmp_path: Path, field: str) -> None:
    place = write_all(tmp_path, make(ENCODER_DECODER, "2 languages"))["keras"]
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {field: 10**12}))
    with pytest.raises(CheckpointError, match=f"says {field}=1000000000000"):
        open_checkpoint(place)


@given(
    arrays=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from(["float64", "float32", "float16", "int64", "int8", "bool"]),
            st.lists(st.integers(0, 4), max_size=3),
        ),
        max_size=6,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_safetensors_both_ways(tmp_path_factory: Any, arrays: Any, metadata: Any) -> None:
    path = tmp_path_factory.mktemp("safe") / "model.safetensors"
    values = {name: np.ones(shape, dtype) for name, (dtype, shape) in arrays.items()}
    write_safetensors(path, {name: LazyTensor.of(a) for name, a in values.items()}, metadata)
    for tensors in (
        safetensors.numpy.load_file(path),
        {name: tensor.read() for name, tensor in read_safetensors(path)[0].items()},
    ):
        assert tensors.keys() == values.keys()
        for name, array in values.items():
            assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)
            assert np.array_equal(tensors[name], array)
    assert read_safetensors(path)[1] == metadata
    safetensors.numpy.save_file(values, path)
    assert {n: t.read().tobytes() for n, t in read_safetensors(path)[0].items()} == {
        n: a.tobytes() for n, a in values.items()
    }


def test_sizes_of_shards() -> None:
    assert [shard_size(text) for text in ("500MB", "2 GB", "3", 4, "1KiB", "7kb")] == [
        500_000_000, 2_000_000_000, 3, 4, 1024, 7000,
    ]  # fmt: skip
    for text in ("", "lots", "0", "-3MB", "1.5GB", "9" * 30):
        with pytest.raises(ConfigError, match="expected a size such as"):
            shard_size(text)
    tensors = {str(n): LazyTensor.of(np.zeros(n, np.uint8)) for n in (3, 5, 9, 1, 1)}
    shards = split(tensors, "model.safetensors", 8)
    assert [[*shard.tensors] for shard in shards] == [["3", "5"], ["9"], ["1"]]
    assert shards[0].file == "model-00001-of-00003.safetensors"
    assert [shard.file for shard in split(tensors, "tf_model.h5", None)] == ["tf_model.h5"]


def test_configurations_of_another_model(places: dict[str, Path]) -> None:
    XLMConfig(vocab_size=60, emb_dim=16, n_heads=4).save_pretrained(places["tf"])
    checkpoint = open_checkpoint(places["tf"])
    assert checkpoint.config.n_layers == 12  # it opens; that it does not fit is said in matching


@pytest.mark.parametrize("model", ["tfxlm_with_lm_head_model_1", "mine", "a_b_7"])
@pytest.mark.parametrize("layout", ["tf", "tf-safetensors"])
def test_models_of_tensorflow_have_any_name(tmp_path: Path, layout: str, model: str) -> None:
    weights = make(LM, "2 languages")
    write_folder(tmp_path, weights, LAYOUTS[layout], largest=4000)
    index = next(tmp_path.glob("*.index.json"))
    text = index.read_text()
    assert "tfxlm_with_lm_head_model/" in text
    index.write_text(text.replace("tfxlm_with_lm_head_model/", f"{model}/"))
    assert_same(weights, tmp_path)
    index.write_text(text.replace("tfxlm_with_lm_head_model/", ""))
    assert_same(weights, tmp_path)


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
def test_lists_of_names_in_hdf5(tmp_path: Path, as_bytes: bool, parts: int) -> None:
    """Bytes in old files, and in parts where they are long."""
    weights = make(LM, "2 languages")
    write_folder(tmp_path, weights, LAYOUTS["tf"])
    with h5py.File(tmp_path / "tf_model.h5", "r+") as file:
        for group in (file, *file.values()):
            for name in ("layer_names", "weight_names"):
                if name in group.attrs:
                    values = [v.decode() if isinstance(v, bytes) else v for v in group.attrs[name]]
                    del group.attrs[name]
                    chosen = [v.encode() for v in values] if as_bytes else values
                    if parts == 1 or len(values) < parts:
                        group.attrs[name] = chosen or np.array([])
                        continue
                    for number in range(parts):
                        group.attrs[f"{name}{number}"] = chosen[number::parts]
    assert_same(weights, tmp_path)


def test_values_that_are_nested_too_deeply(places: dict[str, Path]) -> None:
    deep = "[" * 900 + "]" * 900
    file = places["torch"] / "config.json"
    file.write_text(file.read_text().rstrip()[:-1] + f', "extra": {deep}}}')
    with pytest.raises(ConfigError, match="extra holds values nested too deeply"):
        open_checkpoint(places["torch"])


@pytest.mark.parametrize("path", ["a" * 3000, "a\0b"])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(CheckpointError, match=r"is no path that can be opened|no folder at"):
        open_checkpoint(path)


def test_tables_that_are_not_there_stay_small(tmp_path: Path) -> None:
    weights = make("XLMModel", "sinusoidal")
    write_folder(tmp_path, weights, LAYOUTS["safetensors"])
    tensors, metadata = read_safetensors(tmp_path / "model.safetensors")
    kept = {n: LazyTensor.of(t.read()) for n, t in tensors.items() if "position" not in n}
    write_safetensors(tmp_path / "model.safetensors", kept, metadata)
    assert len(match_checkpoint(open_checkpoint(tmp_path), "XLMModel").found) == len(kept)
    large = open_checkpoint(tmp_path).config.copy(max_position_embeddings=1 << 24)
    large.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"missing \(1\): position_embeddings\.weight"):
        match_checkpoint(open_checkpoint(tmp_path), "XLMModel")


def test_messages_stay_short(tmp_path: Path) -> None:
    weights = make("XLMModel", "2 languages")
    write_folder(tmp_path, weights, LAYOUTS["safetensors"])
    open_checkpoint(tmp_path).config.copy(n_layers=90).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"missing .* and 1308 more") as caught:
        match_checkpoint(open_checkpoint(tmp_path), "XLMModel")
    assert len(str(caught.value)) < 5000
