"""Whatever a conversion does not carry over is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.convert import convert
from conversion.inspection import inspect
from tests.support.layout_models import assert_same, make
from xlm_core import CheckpointError, XLMTokenizer
from xlm_core.checkpoints import LAYOUTS, LazyTensor, open_checkpoint, save_checkpoint
from xlm_core.checkpoints.writing import Weights, write_folder
from xlm_core.containers.safetensors import read_safetensors, write_safetensors
from xlm_core.tokenization.vocabulary import SPECIAL_WORDS, Merges
from xlm_core.weights import ENCODER_DECODER

LM = "XLMWithLMHeadModel"
# A key that nobody knows travels along, and is named when it is opened.
pytestmark = pytest.mark.filterwarnings("ignore:The configuration has keys without effect")
Shared = Callable[[str], Path]


def tokenizer() -> XLMTokenizer:
    """One with settings of its own: a mode, a length, an added token."""
    merges = Merges((("l", "o"), ("lo", "w</w>")))
    subwords = [*SPECIAL_WORDS, "l", "o", "w</w>", "lo", "low</w>", "t</w>"]
    made = XLMTokenizer(
        {subword: i for i, subword in enumerate(subwords)},
        merges,
        lang2id={"en": 0, "fr": 1},
        mode="v5",
        model_max_length=77,
    )
    made.add_tokens(["wow"])
    return made


@pytest.fixture
def weights() -> Weights:
    return make(LM, "2 languages", vocab_size=20)


@pytest.fixture
def source(tmp_path: Path, weights: Weights) -> Path:
    """A folder with everything that may lie in one."""
    place = tmp_path / "source"
    place.mkdir()
    weights.config.extra["my_note"] = "kept"
    write_folder(place, weights, LAYOUTS["safetensors"])
    tokenizer().save_pretrained(place)
    (place / "generation_config.json").write_text('{"max_length": 9}')
    return place


def texts(folder: Path) -> dict[str, bytes]:
    weights = {"model.safetensors", "config.json", "facebook.json"}
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name not in weights}


class TestKerasFiles:
    def test_the_tokenizer_goes_through_one(self, source: Path, tmp_path: Path) -> None:
        there = convert(source, tmp_path / "one.keras", to="keras")
        assert there.dropped == ()
        assert any("vocab.json" in note and "within the file" in note for note in there.notes)
        back = convert(tmp_path / "one.keras", tmp_path / "back", to="safetensors")
        assert back.dropped == ()
        assert texts(tmp_path / "back") == texts(source)
        again = XLMTokenizer.from_pretrained(tmp_path / "back")
        assert (again.mode, again.model_max_length) == ("v5", 77)
        roles = {file.name: file.role for file in inspect(tmp_path / "one.keras").files}
        assert roles["vocab.json"] == "tokenizer"

    def test_from_one_to_another_and_to_a_file_of_the_original(
        self, source: Path, tmp_path: Path
    ) -> None:
        convert(source, tmp_path / "one.keras", to="keras")
        convert(tmp_path / "one.keras", tmp_path / "deeper" / "two.keras", to="keras")
        convert(tmp_path / "deeper" / "two.keras", tmp_path / "back", to="torch")
        assert (tmp_path / "back" / "merges.txt").read_bytes() == (
            source / "merges.txt"
        ).read_bytes()
        convert(tmp_path / "one.keras", tmp_path / "fb", to="facebook")
        assert (tmp_path / "fb" / "codes").read_text() == "l o 0\nlo w</w> 0\n"

    def test_the_originals_data_goes_through_one(self, tmp_path: Path, shared: Shared) -> None:
        source = shared("checkpoints/small_mlm_tlm/facebook")
        convert(source, tmp_path / "one.keras", to="keras")
        convert(tmp_path / "one.keras", tmp_path / "through", to="safetensors")
        convert(source, tmp_path / "direct", to="safetensors")
        for file in (tmp_path / "direct").iterdir():
            assert (tmp_path / "through" / file.name).read_bytes() == file.read_bytes(), file.name

    def test_keras_opens_one(self, source: Path, tmp_path: Path, weights: Weights) -> None:
        keras = pytest.importorskip("keras")
        xlm_tf = pytest.importorskip("xlm_tf")
        convert(source, tmp_path / "one.keras", to="keras")
        model = keras.saving.load_model(tmp_path / "one.keras")
        assert type(model) is xlm_tf.TFXLMWithLMHeadModel
        model.save(tmp_path / "saved.keras")
        assert_same(weights, tmp_path / "saved.keras")

    def test_a_tokenizer_beside_one_without_any(
        self, source: Path, tmp_path: Path, weights: Weights
    ) -> None:
        bare = tmp_path / "bare"
        bare.mkdir()
        write_folder(bare, weights, LAYOUTS["safetensors"])
        convert(bare, tmp_path / "files" / "one.keras", to="keras")
        tokenizer().save_pretrained(tmp_path / "files")
        convert(tmp_path / "files" / "one.keras", tmp_path / "back", to="safetensors")
        assert XLMTokenizer.from_pretrained(tmp_path / "back").mode == "v5"

    def test_what_compile_left_is_named(self, tmp_path: Path) -> None:
        keras = pytest.importorskip("keras")
        xlm_tf = pytest.importorskip("xlm_tf")
        config = make("XLMModel", "2 languages").config
        model = xlm_tf.TFXLMModel(config, dtype="mixed_bfloat16")
        model.compile(keras.optimizers.SGD(), loss="mse")
        model.save(tmp_path / "compiled.keras")
        dropped = " ".join(convert(tmp_path / "compiled.keras", tmp_path / "t", to="tf").dropped)
        for what in ("compile_config", "mixed_bfloat16", "optimizer state"):
            assert what in dropped


class TestFilesOfTheOriginal:
    def test_settings_and_codes_are_named(self, source: Path, tmp_path: Path) -> None:
        alone = convert(source, tmp_path / "a.pth", to="facebook").dropped
        folder = convert(source, tmp_path / "folder", to="facebook").dropped
        named = {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}
        assert named <= {each.partition(":")[0] for each in folder}
        assert "merges.txt" not in " ".join(folder)
        assert named | {"merges.txt"} <= {each.partition(":")[0] for each in alone}
        assert "vocab.json" not in {each.partition(":")[0] for each in (*alone, *folder)}

    def test_codes_beside_a_file(self, tmp_path: Path, shared: Shared) -> None:
        source = shared("checkpoints/small_mlm_tlm/facebook")
        assert convert(source, tmp_path / "folder", to="facebook").dropped == ()
        (lost,) = convert(source, tmp_path / "a.pth", to="facebook").dropped
        assert lost.startswith("codes: ")

    def test_keys_of_the_configuration_travel_through_one(
        self, source: Path, tmp_path: Path
    ) -> None:
        convert(source, tmp_path / "a.pth", to="facebook")
        convert(tmp_path / "a.pth", tmp_path / "back", to="torch")
        assert open_checkpoint(tmp_path / "back").config.extra["my_note"] == "kept"

    def test_a_vocabulary_that_makes_no_dictionary(self, source: Path, tmp_path: Path) -> None:
        vocabulary = json.loads((source / "vocab.json").read_text())
        vocabulary["extra</w>"] = 99
        (source / "vocab.json").write_text(json.dumps(vocabulary))
        summary = convert(source, tmp_path / "a.pth", to="facebook")
        assert any("makes no dictionary" in note for note in summary.notes)
        assert "vocab.json" in {each.partition(":")[0] for each in summary.dropped}


class TestTensors:
    def test_the_decoder_of_a_translation_model(self, tmp_path: Path) -> None:
        weights = make(ENCODER_DECODER, "2 languages")
        (tmp_path / "mt").mkdir()
        write_folder(tmp_path / "mt", weights, LAYOUTS["safetensors"])
        for head in (LM, "XLMModel"):
            lost = convert(tmp_path / "mt", tmp_path / head, to="tf", head=head).dropped
            assert lost[0].startswith("the decoder (")
        assert any("pred_layer.proj.bias" in each for each in lost)

    def test_another_head(self, source: Path, tmp_path: Path) -> None:
        (lost,) = convert(source, tmp_path / "e", to="torch", head="XLMModel").dropped
        assert lost == "another head than XLMModel's: pred_layer.proj.bias"

    def test_buffers_and_tied_values(self, tmp_path: Path) -> None:
        weights = make(LM, "2 languages")
        tensors: dict[str, Any] = {
            f"transformer.{spec.path}" if spec.in_encoder else spec.path: tensor.read()
            for spec, tensor in weights.tensors
        }
        tensors["transformer.position_ids"] = np.arange(19)[None]
        tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"] + 1
        save_checkpoint(tmp_path / "a", weights.config, tensors)
        dropped = convert(tmp_path / "a", tmp_path / "b", to="tf", tied="output").dropped
        assert dropped == (
            "buffers without meaning for the model: transformer.position_ids",
            "the values of embeddings.weight, which differ from those that it is tied to",
        )

    @pytest.mark.parametrize("largest", [None, "4KB"])
    def test_metadata(self, source: Path, tmp_path: Path, largest: str | None) -> None:
        convert(source, tmp_path / "a", to="safetensors", largest=largest)
        for file in (tmp_path / "a").glob("*.safetensors"):
            tensors = {name: tensor.read() for name, tensor in read_safetensors(file)[0].items()}
            lazy = {name: LazyTensor.of(array) for name, array in tensors.items()}
            tied = {"pred_layer.proj.weight": "transformer.embeddings.weight"}
            alias = tied if largest is None else {}
            write_safetensors(file, lazy, {"format": "pt", "author": "somebody", **alias})
        dropped = convert(tmp_path / "a", tmp_path / "b", to="tf").dropped
        assert dropped == ("metadata of the file: author",)


class TestFolders:
    def test_what_is_no_part_of_a_checkpoint(self, source: Path, tmp_path: Path) -> None:
        shutil.copy(source / "model.safetensors", source / "pytorch_model.bin")
        (source / "README.md").write_text("about")
        notes = convert(source, tmp_path / "t", to="tf").notes
        assert "no part of the checkpoint, so not copied: README.md, pytorch_model.bin" in notes

    @pytest.mark.parametrize("to", ["safetensors", "facebook", "keras"])
    def test_a_mode_that_decides_nothing(self, source: Path, tmp_path: Path, to: str) -> None:
        notes = convert(source, tmp_path / "t", to=to, mode="original").notes
        assert any(note.startswith("mode='original' was not used: ") for note in notes)

    def test_several_files_of_codes(self, tmp_path: Path, shared: Shared) -> None:
        folder = shared("checkpoints/small_mlm_tlm/facebook")
        place = tmp_path / "copy"
        shutil.copytree(folder, place)
        shutil.copy(place / "codes", place / "codes_xnli_15")
        notes = convert(place, tmp_path / "t", to="torch").notes
        assert any("(codes, codes_xnli_15). Give them (codes=)" in note for note in notes)


def test_every_layout_keeps_or_names(source: Path, tmp_path: Path) -> None:
    """Of each text file of the folder, the target has it, or the summary names it."""
    for name, layout in LAYOUTS.items():
        targets = [tmp_path / name]
        if layout.alone is not None:
            targets.append(tmp_path / f"{name}{layout.alone}")
        for target in targets:
            summary = convert(source, target, to=name)
            convert(target, tmp_path / f"{target.name} back", to="safetensors")
            back = texts(tmp_path / f"{target.name} back")
            said = " ".join((*summary.dropped, *summary.notes))
            for file, content in texts(source).items():
                becomes_the_originals = name == "facebook" and file in ("vocab.json", "merges.txt")
                kept = back.get(file) == content or becomes_the_originals
                assert kept or file in said, (target, file)


def with_tokenizer(folder: Path, weights: Weights) -> Path:
    folder.mkdir()
    write_folder(folder, weights, LAYOUTS["torch"])
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("to", ["safetensors", "facebook"])
@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("merges.txt", "the list\na value\n", "holds no merges"),
        ("merges.txt", "", "holds no merges"),
        ("vocab.json", "[1]", "JSON list"),
        ("vocab.json", '{"a": 0, "b": 0}', "same id"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_not_passed_on(
    tmp_path: Path, weights: Weights, to: str, name: str, text: str, what: str
) -> None:
    source = with_tokenizer(tmp_path / "source", weights)
    (source / name).write_text(text)
    with pytest.raises(CheckpointError, match=what):
        convert(source, tmp_path / "target", to=to)
    assert not (tmp_path / "target").exists()


def test_codes_are_not_made_of_another_classs_tokenizer(tmp_path: Path, weights: Weights) -> None:
    """Nothing in them would say whose they are; a copy says it as before."""
    source = with_tokenizer(tmp_path / "source", weights)
    config = source / "tokenizer_config.json"
    config.write_text(config.read_text().replace("XLMTokenizer", "FlaubertTokenizer"))
    convert(source, tmp_path / "copy", to="safetensors")
    assert (tmp_path / "copy" / config.name).read_text() == config.read_text()
    with pytest.raises(CheckpointError, match="another class"):
        convert(source, tmp_path / "original", to="facebook")


@pytest.mark.parametrize("to", ["safetensors", "keras"])
def test_half_a_tokenizer_is_named(tmp_path: Path, weights: Weights, to: str) -> None:
    source = with_tokenizer(tmp_path / "source", weights)
    (source / "merges.txt").unlink()
    dropped = convert(source, tmp_path / "target", to=to).dropped
    assert [each.partition(":")[0] for each in dropped][:2] == [
        "vocab.json",
        "tokenizer_config.json",
    ]
    assert "merges.txt are both there" in dropped[0]
