"""What a conversion refuses, keeps and says."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.cli import main
from conversion.convert import convert, weights_of
from tests.support.containers import fill, replace_fill
from tests.support.conversion_tools import replace_read_back
from tests.support.layout_models import assert_same, make, write_all
from xlm_core import CheckpointError, ConfigError
from xlm_core.checkpoints import LAYOUTS, LazyTensor, open_checkpoint
from xlm_core.checkpoints.writing import Weights, write_folder

LM = "XLMWithLMHeadModel"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "source", make(LM, "2 languages"))


def written(place: Path, weights: Weights, layout: str = "safetensors") -> Path:
    place.mkdir()
    write_folder(place, weights, LAYOUTS[layout])
    return place


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def changed(weights: Weights, path: str, change: Any) -> Weights:
    """With one tensor changed by a function of its array."""
    tensors = []
    for spec, tensor in weights.tensors:
        array = tensor.read()
        tensors.append((spec, LazyTensor.of(change(array) if spec.path == path else array)))
    return Weights(weights.config, weights.architecture, tensors)


class TestTarget:
    def test_existing_targets_need_a_word(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        convert(source, target, to="torch")
        before = content(target)
        with pytest.raises(
            CheckpointError, match=r"exists already. Replace it with overwrite=True"
        ):
            convert(source, target, to="tf")
        assert content(target) == before
        convert(source, target, to="tf", overwrite=True)
        assert {*content(target)} == {"config.json", "tf_model.h5"}
        (tmp_path / "empty").mkdir()
        convert(source, tmp_path / "empty", to="tf")

    def test_files_too(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "a.pth"
        convert(source, target, to="facebook")
        with pytest.raises(CheckpointError, match="overwrite=True"):
            convert(source, target, to="facebook")
        convert(source, target, to="facebook", overwrite=True)
        with pytest.raises(CheckpointError, match="looks like a file"):
            convert(source, target, to="tf", overwrite=True)
        (tmp_path / "plain").write_text("a file")
        with pytest.raises(CheckpointError, match="is a file already"):
            convert(source, tmp_path / "plain", to="tf", overwrite=True)

    def test_only_folders_of_checkpoints_are_replaced(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        convert(source, target, to="torch")
        (target / "thesis.tex").write_text("years of work")
        (target / "runs").mkdir()
        with pytest.raises(CheckpointError, match=r"runs, thesis\.tex, which is no part"):
            convert(source, target, to="tf", overwrite=True)
        assert (target / "thesis.tex").read_text() == "years of work"

    @pytest.mark.parametrize(
        "name", ["README.md", "train.en.txt", "notes.json", "other.bin", "best-valid.pth", "x.h5"]
    )
    def test_files_of_the_user_are_never_removed(
        self, source: Path, tmp_path: Path, name: str
    ) -> None:
        target = tmp_path / "target"
        convert(source, target, to="torch", largest="4KB")
        (target / name).write_text("mine")
        with pytest.raises(CheckpointError, match="is no part of a checkpoint"):
            convert(source, target, to="tf", overwrite=True)
        (target / name).unlink()
        convert(source, target, to="tf", overwrite=True)

    def test_links_to_nothing(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "absent")
        with pytest.raises(CheckpointError, match="is a link to nothing"):
            convert(source, tmp_path / "link", to="tf")

    def test_the_current_folder(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(CheckpointError, match=r"the target \. has no name of its own"):
            convert(source, Path(), to="torch")

    @pytest.mark.parametrize("where", ["same", "file", "parent", "linked"])
    def test_the_source_is_never_the_target(self, source: Path, tmp_path: Path, where: str) -> None:
        before = content(source)
        target = source
        given: Path = source
        if where == "file":
            given = source / "model.safetensors"
        elif where == "parent":
            given, target = source / "model.safetensors", tmp_path
        elif where == "linked":
            target = tmp_path / "link"
            target.symlink_to(source)
        with pytest.raises(CheckpointError, match="is or contains the source"):
            convert(given, target, to="tf", overwrite=True)
        assert content(source) == before

    def test_names_that_mislead(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="looks like a file: safetensors needs"):
            convert(source, tmp_path / "model.safetensors", to="safetensors")
        with pytest.raises(CheckpointError, match=r"a folder, or a file \.keras"):
            convert(source, tmp_path / "model.h5", to="keras")
        (tmp_path / "plain").write_text("a file")
        with pytest.raises(CheckpointError, match=r"plain is a file: .* cannot be made in it"):
            convert(source, tmp_path / "plain" / "deep" / "target", to="tf")
        with pytest.raises(ConfigError, match="layout is 'onnx': expected one of safetensors"):
            convert(source, tmp_path / "target", to="onnx")

    @pytest.mark.parametrize(("to", "name"), [("tf", "target"), ("keras", "target.keras")])
    def test_missing_folders_are_made(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, name: str
    ) -> None:
        convert(source, tmp_path / "a" / "b" / name, to=to)
        assert_same(weights_of(open_checkpoint(source)), tmp_path / "a" / "b" / name)

        def fail(*arguments: Any) -> list[str]:
            raise CheckpointError("different")

        replace_read_back(monkeypatch, fail)
        with pytest.raises(CheckpointError, match="different"):
            convert(source, tmp_path / "c" / "d" / name, to=to)
        assert not (tmp_path / "c").exists()

    def test_mistyped_words_get_the_nearest(self, source: Path, tmp_path: Path) -> None:
        for arguments, said in (
            ({"to": "safetensor"}, "Did you mean 'safetensors'?"),
            ({"to": "tf", "dtype": "flot16"}, "Did you mean 'float16'?"),
            ({"to": "tf", "head": "XLMWithLMHead"}, "Did you mean 'XLMWithLMHeadModel'?"),
            ({"to": "tf", "mode": "orginal"}, "Did you mean 'original'?"),
            ({"to": "tf", "tied": "outputs"}, "Did you mean 'output'?"),
        ):
            with pytest.raises((CheckpointError, ConfigError)) as caught:
                convert(source, tmp_path / "target", **arguments)
            assert str(caught.value).endswith(said)
        with pytest.raises(CheckpointError, match=r"Did you mean '.*source'\?"):
            convert(tmp_path / "sorce", tmp_path / "target", to="tf")

    def test_nothing_is_left_after_a_failure(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "target"
        convert(source, target, to="torch")
        before = content(target)

        def fail(*arguments: Any) -> list[str]:
            raise CheckpointError("different")

        replace_read_back(monkeypatch, fail)
        with pytest.raises(CheckpointError, match="different"):
            convert(source, target, to="tf", overwrite=True)
        with pytest.raises(CheckpointError, match="different"):
            convert(source, tmp_path / "new", to="tf")
        assert content(target) == before
        assert {file.name for file in tmp_path.iterdir()} == {"source", "target"}

    def test_no_room(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil._ntuple_diskusage(100, 99, 1)  # type: ignore[attr-defined]
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(CheckpointError, match=r"MB free, .* are needed: make room"):
            convert(source, tmp_path / "target", to="tf")


class TestTensors:
    def test_dtype(self, source: Path, tmp_path: Path) -> None:
        original = weights_of(open_checkpoint(source))
        convert(source, tmp_path / "half", to="torch", dtype="float16")
        half = weights_of(open_checkpoint(tmp_path / "half"))
        assert half.config.dtype == "float16"
        for (_, one), (_, other) in zip(half.tensors, original.tensors, strict=True):
            assert np.array_equal(one.read(), other.read().astype(np.float16))
        with pytest.raises(ConfigError, match="dtype is 'int8': expected one of float64"):
            convert(source, tmp_path / "int", to="torch", dtype="int8")

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_values_beyond_a_dtype(self, tmp_path: Path, dtype: str) -> None:
        large = make(LM, "2 languages")
        large = changed(large, "layer_norm_emb.bias", lambda a: a * 0 + 3.4e38)
        place = written(tmp_path / "large", large)
        with pytest.raises(CheckpointError, match=f"beyond the range of {dtype}"):
            convert(place, tmp_path / "half", to="torch", dtype=dtype, check=False)
        assert not (tmp_path / "half").exists()

    def test_values_of_bfloat16_beyond_float16(self, tmp_path: Path) -> None:
        """Both have two bytes, and not one range."""
        large = make(LM, "2 languages")
        large = changed(large, "layer_norm_emb.bias", lambda a: a * 0 + 1e5)
        place = written(tmp_path / "large", large)
        convert(place, tmp_path / "bfloat16", to="torch", dtype="bfloat16")
        with pytest.raises(CheckpointError, match="beyond the range of float16"):
            convert(tmp_path / "bfloat16", tmp_path / "half", to="torch", dtype="float16")
        assert not (tmp_path / "half").exists()

    def test_languages_that_were_renamed_since(self, tmp_path: Path) -> None:
        """config.json decides, as it does of every other field."""
        original = written(tmp_path / "original", make(LM, "2 languages"), "facebook")
        convert(original, tmp_path / "folder", to="safetensors")
        file = tmp_path / "folder" / "config.json"
        values = json.loads(file.read_text())
        values |= {"lang2id": {"de": 0, "fr": 1}, "id2lang": {"0": "de", "1": "fr"}}
        file.write_text(json.dumps(values | {"dropout": 0.3}))
        convert(tmp_path / "folder", tmp_path / "again.pth", to="facebook")
        again = open_checkpoint(tmp_path / "again.pth").config
        assert (again.lang2id, again.dropout) == ({"de": 0, "fr": 1}, 0.3)

    def test_head(self, source: Path, tmp_path: Path) -> None:
        convert(source, tmp_path / "encoder", to="tf", head="TFXLMModel")
        encoder = weights_of(open_checkpoint(tmp_path / "encoder"))
        assert encoder.architecture == "XLMModel"
        assert len(encoder.tensors) == len(weights_of(open_checkpoint(source)).tensors) - 1
        with pytest.raises(CheckpointError, match=r"does not hold classifier\.weight.*make up"):
            convert(source, tmp_path / "tags", to="tf", head="XLMForTokenClassification")
        with pytest.raises(CheckpointError, match=r"does not hold pred_layer\.proj\.bias"):
            convert(tmp_path / "encoder", tmp_path / "lm", to="tf", head=LM)
        with pytest.raises(ConfigError, match="head is 'XLNet': expected one of XLMModel"):
            convert(source, tmp_path / "tags", to="tf", head="XLNet")

    def test_heads_of_other_classes_are_not_lost_in_silence(self, tmp_path: Path) -> None:
        weights = make(LM, "2 languages")
        config = weights.config.copy(architectures=["XLMModel"])
        place = written(tmp_path / "odd", weights)
        config.save_pretrained(place)
        with pytest.raises(CheckpointError, match=r"holds pred_layer\.proj\.bias of another head"):
            convert(place, tmp_path / "target", to="tf")
        convert(place, tmp_path / "target", to="tf", head=LM)
        assert_same(weights, tmp_path / "target")

    def test_unknown_classes(self, tmp_path: Path) -> None:
        weights = make(LM, "2 languages")
        place = written(tmp_path / "odd", weights)
        weights.config.copy(architectures=["XLNetModel"]).save_pretrained(place)
        with pytest.raises(CheckpointError, match=r"none of which is known. Name one"):
            convert(place, tmp_path / "target", to="tf")
        weights.config.copy(architectures=None).save_pretrained(place)
        convert(place, tmp_path / "target", to="tf")
        assert_same(weights, tmp_path / "target")

    def test_tied_tensors_that_differ(self, tmp_path: Path) -> None:
        place = written(tmp_path / "odd", make(LM, "untied"), "torch")
        open_checkpoint(place).config.copy(tie_word_embeddings=True).save_pretrained(place)
        with pytest.raises(CheckpointError, match=r"hold different|holds different values"):
            convert(place, tmp_path / "target", to="tf")
        tensors = open_checkpoint(place).tensors
        for tied, name in (
            ("embeddings", "transformer.embeddings.weight"),
            ("output", "pred_layer.proj.weight"),
        ):
            convert(place, tmp_path / tied, to="tf", tied=tied)
            found = open_checkpoint(tmp_path / tied).tensors["transformer.embeddings.weight"]
            assert np.array_equal(found.read(), tensors[name].read())

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite(self, tmp_path: Path, value: float) -> None:
        def spoil(array: Any) -> Any:
            array[1, :3] = value
            return array

        weights = changed(make(LM, "2 languages"), "embeddings.weight", spoil)
        summary = convert(written(tmp_path / "odd", weights), tmp_path / "target", to="keras")
        assert summary.notes == ("embeddings.weight has 3 values that are NaN or infinite",)
        assert_same(weights, tmp_path / "target")

    @pytest.mark.parametrize("layout", ["safetensors", "tf", "facebook", "keras"])
    def test_a_faulty_disk_is_seen(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
    ) -> None:
        containers = {"facebook": "torch", "safetensors": "safetensors"}

        def faulty(descriptor: int, jobs: Any, progress: Any = None) -> None:
            fill(descriptor, jobs, progress)
            os.pwrite(descriptor, b"\x77\x77", jobs[7].offset)

        replace_fill(monkeypatch, containers.get(layout, "hdf5"), faulty)
        with pytest.raises(CheckpointError, match=r"came back different in 1 of|tied by the conf"):
            convert(source, tmp_path / "target", to=layout)
        assert not (tmp_path / "target").exists()


class TestCommand:
    def test_it_says_what_it_did(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "target"
        assert main(["convert", str(source), str(target), "--to", "tf"]) == 0
        text = capsys.readouterr()
        assert text.out == ""
        assert "(safetensors) -> " in text.err
        assert "(tf): XLMWithLMHeadModel, 38 tensors" in text.err
        assert "2 files, 0.1 MB: config.json, tf_model.h5" in text.err
        assert re.search(r"read back and equal bit by bit; .* total \d+\.\d\d s", text.err)
        for dtype, said in (
            ("float16", "every tensor read back and equal after rounding to float16; "),
            ("float64", "every tensor read back and equal in every value, as float64; "),
            ("float32", "every tensor read back and equal bit by bit; "),
        ):
            other = ["convert", str(source), str(target), "--to", "tf", "--overwrite"]
            assert main([*other, "--dtype", dtype]) == 0
            assert said in capsys.readouterr().err
        assert "\r" not in text.err  # no bar where there is no terminal

    def test_options(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = str(tmp_path / "target")
        options = ["--dtype", "bfloat16", "--head", "XLMModel", "--shard-size", "2KB"]
        run = ["convert", str(source), target, "--to", "torch", *options, "--no-check", "--quiet"]
        assert main(run) == 0
        assert capsys.readouterr() == ("", "")
        found = open_checkpoint(target)
        assert (found.architecture, found.config.dtype) == ("XLMModel", "bfloat16")
        assert (tmp_path / "target" / "pytorch_model.bin.index.json").is_file()

    def test_errors_are_one_line(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for run in (
            [str(source), str(source), "--to", "tf"],
            [str(tmp_path / "absent"), str(tmp_path / "t"), "--to", "tf"],
            [str(source), str(tmp_path / "t"), "--to", "tf", "--shard-size", "lots"],
            [str(source), str(tmp_path / "t"), "--to", "facebook", "--shard-size", "1MB"],
        ):
            assert main(["convert", *run]) == 2
            assert capsys.readouterr().err.startswith("xlm convert: ")
            assert not (tmp_path / "t").exists()


def test_every_layout_of_one_model_is_a_source(tmp_path: Path) -> None:
    weights = make("XLMForSequenceClassification", "2 languages")
    for name, place in write_all(tmp_path / "all", weights).items():
        convert(place, tmp_path / name, to="safetensors")
        assert_same(weights, tmp_path / name)
