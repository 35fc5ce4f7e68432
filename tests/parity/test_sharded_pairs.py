"""Encoder-decoders in several files: written and read by both families, converted and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import xlm_tf
import xlm_torch
from conversion.cli.command import main
from tests.support.layout_models import make
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from xlm_core.checkpoints.writing import write_folder
from xlm_core.errors import CheckpointError
from xlm_core.weights import ENCODER_DECODER

FAMILIES: dict[str, Any] = {
    "torch": xlm_torch.XLMForConditionalGeneration,
    "tf": xlm_tf.TFXLMForConditionalGeneration,
}


@pytest.fixture(scope="module", params=["tied", "untied"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    fields = {"decoder_layers": 1, "tie_word_embeddings": request.param == "tied"}
    weights = make(ENCODER_DECODER, "2 languages", **fields)
    write_folder(folder, weights, LAYOUTS["safetensors"])
    return folder


def tensors(path: Path) -> dict[str, bytes]:
    return {name: x.read().tobytes() for name, x in open_checkpoint(path).tensors.items()}


@pytest.mark.parametrize("family", ["torch", "tf"])
def test_shards_of_either_family_open_in_both(whole: Path, tmp_path: Path, family: str) -> None:
    model = FAMILIES[family].from_pretrained(whole)
    model.save_pretrained(tmp_path, max_shard_size="6KB")
    assert len([*tmp_path.glob("model-*-of-*.safetensors")]) > 3
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert tensors(tmp_path) == tensors(whole)
    for name, other in FAMILIES.items():
        again = tmp_path / name
        other.from_pretrained(tmp_path).save_pretrained(again)
        assert tensors(again) == tensors(whole), name
    # A decoder is in no file of transformers' own.
    with pytest.raises(CheckpointError, match="has no decoder"):
        model.save_pretrained(tmp_path / "unsafe", max_shard_size="6KB", safe_serialization=False)


def test_shards_are_converted_verified_and_inspected(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, keras, again = (tmp_path / name for name in ("shards", "keras", "again"))
    for source, target, to in (
        (whole, shards, "safetensors"),
        (shards, keras, "keras"),
        (keras, again, "safetensors"),
    ):
        command = ["convert", str(source), str(target), "--to", to, "--quiet"]
        size = ["--shard-size", "6KB"] if to == "safetensors" else []
        assert main([*command, *size]) == 0, capsys.readouterr()
        assert tensors(target) == tensors(whole)
    assert len([*again.glob("model-*-of-*.safetensors")]) > 3
    assert main(["inspect", str(shards)]) == 0
    assert ENCODER_DECODER in capsys.readouterr().out
    assert main(["verify", str(whole), str(again)]) == 0, capsys.readouterr()
    assert main(["verify", str(shards)]) == 0, capsys.readouterr()
