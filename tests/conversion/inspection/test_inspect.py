"""`inspect`: what a checkpoint is said to be and hold; what is off is told and not raised."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.convert import convert
from conversion.inspection import inspect
from conversion.reports.inspection import Inspection
from conversion.reports.inspection_text import json_of, text_of, verdict_of
from tests.conversion import pairs
from tests.conversion.small_checkpoints import write_checkpoint
from xlm_core.checkpoints import LAYOUTS
from xlm_core.weights import ARCHITECTURES, name_of, tensors_of

LAST = "SOUND: nothing missing, unexpected or misshapen"


def changed(folder: Path, change: Callable[[pairs.Tensors], None]) -> Inspection:
    return inspect(pairs.write_pair(folder, change)[1])


def lines_of(found: Inspection) -> list[str]:
    return text_of(found).splitlines()


@pytest.mark.parametrize("layout", [*LAYOUTS])
def test_every_layout_says_the_same(tmp_path: Path, layout: str) -> None:
    write_checkpoint(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "target", to=layout)
    found = inspect(tmp_path / "target")
    assert found.layout == layout
    assert found.architecture == "XLMWithLMHeadModel"
    assert found.problems == ()
    assert lines_of(found)[-1] == LAST
    assert lines_of(found)[1] == f"layout: {layout} ({LAYOUTS[layout].title})"
    assert found.parameters == found.trainable == 6653
    assert found.memory == {"float32": 4 * 6653}
    assert found.files[0].name == LAYOUTS[layout].file
    assert {name for name, reason in found.why_not.items() if reason is None} == {*LAYOUTS}
    by_name = {tensor.name: tensor for tensor in found.tensors}
    kernel = by_name["transformer.ffns.0.lin1.weight"]
    assert (kernel.shape, kernel.dtype, kernel.nbytes) == ((48, 12), "float32", 2304)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES])
def test_every_class(tmp_path: Path, architecture: str) -> None:
    write_checkpoint(tmp_path, architecture)
    found = inspect(tmp_path)
    assert found.architecture == architecture
    assert found.problems == ()
    labels = "labels: LABEL_0, LABEL_1" in text_of(found)
    assert labels == (architecture not in ("XLMModel", "XLMWithLMHeadModel"))


def test_files_and_their_bytes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", to="safetensors", largest="9KB")
    for name in ("vocab.json", "merges.txt", "codes"):
        (tmp_path / "b" / name).write_text("{}")
    found = inspect(tmp_path / "b")
    roles = {file.name: file.role for file in found.files}
    shards = [name for name, role in roles.items() if role == "weights"]
    written = {file.name for file in (tmp_path / "b").glob("model-*.safetensors")}
    assert {*shards} == written
    assert len(written) > 2
    assert roles["model.safetensors.index.json"] == "index"
    assert roles["config.json"] == "configuration"
    assert roles["vocab.json"] == roles["merges.txt"] == roles["codes"] == "tokenizer"
    for file in found.files:
        assert file.nbytes == (tmp_path / "b" / file.name).stat().st_size
    on_disk = sum((tmp_path / "b" / name).stat().st_size for name in shards)
    assert json.loads(json_of(found))["bytes_on_disk"] == on_disk
    assert "tokenizer: vocab.json, merges.txt, codes" in lines_of(found)


def test_a_file_that_carries_its_configuration_needs_none_beside_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    for name, layout in (("x.pth", "facebook"), ("x.keras", "keras")):
        convert(tmp_path, tmp_path / name, to=layout)
        found = inspect(tmp_path / name)
        assert [file.name for file in found.files] == [name]
        assert found.problems == ()


def test_shared_storage_is_marked(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", to="torch")
    found = inspect(tmp_path / "b")
    shared = {tensor.name: tensor.shares for tensor in found.tensors if tensor.shares}
    assert shared == {"pred_layer.proj.weight": "transformer.embeddings.weight"}
    (line,) = [line for line in lines_of(found) if line.startswith("pred_layer.proj.weight")]
    assert line.endswith(
        "tied to embeddings.weight, shares bytes with transformer.embeddings.weight"
    )
    assert not any("stored twice" in note for note in found.notes)


def test_a_copy_is_no_shared_storage(tmp_path: Path) -> None:
    def change(tensors: pairs.Tensors) -> None:
        tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"].copy()

    found = changed(tmp_path, change)
    assert not any(tensor.shares for tensor in found.tensors)
    assert found.problems == ()
    assert found.notes == (
        "pred_layer.proj.weight is stored twice; only its beginning was compared",
    )


class TestWhatIsOff:
    def test_missing_and_unexpected(self, tmp_path: Path) -> None:
        found = changed(tmp_path, pairs.rename)
        assert found.missing == {"attentions.1.q_lin.weight": (12, 12)}
        assert found.unexpected == (pairs.HOSTILE,)
        lines = lines_of(found)
        assert "missing: attentions.1.q_lin.weight (12 x 12)" in lines
        assert lines[-1] == "NOT SOUND: 1 missing, 1 unexpected"
        # Nothing in a name reaches the terminal as it is.
        assert all(character.isprintable() for line in lines for character in line)
        assert json.loads(json_of(found))["unexpected"] == [pairs.HOSTILE]

    def test_misshapen(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            tensors[pairs.QUERY] = np.ones((12, 13), np.float32)
            tensors[pairs.KEY] = np.ones((12, 12), np.int8)

        found = changed(tmp_path, change)
        assert found.misshapen == {
            "attentions.1.q_lin.weight": "found (12, 13), expected (12, 12)",
            "attentions.1.k_lin.weight": "found dtype int8, expected a float",
        }
        assert verdict_of(found) == "NOT SOUND: 2 misshapen"

    def test_a_head_that_is_not_there(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, architectures=["XLMForTokenClassification"])
        found = inspect(tmp_path)
        assert [*found.missing] == ["classifier.weight", "classifier.bias"]
        assert found.left_out == ("pred_layer.proj.bias",)

    def test_tied_tensors_that_differ(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"] + 1

        found = changed(tmp_path, change)
        assert found.differing_ties == (("pred_layer.proj.weight", "embeddings.weight"),)
        assert verdict_of(found) == "NOT SOUND: 1 tied but different"

    def test_a_class_that_is_not_known(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, architectures=["BertModel"])
        found = inspect(tmp_path)
        assert found.problems == ()
        (note,) = found.notes
        assert "['BertModel']" in note
        assert "compared with XLMWithLMHeadModel" in note


class TestWhyNot:
    @pytest.mark.parametrize(
        ("architecture", "values", "refused"),
        [
            ("XLMForQuestionAnswering", {}, {"tf", "tf-safetensors", "facebook"}),
            ("XLMModel", {"pruned_heads": {1: [0]}}, {"tf", "tf-safetensors", "facebook"}),
            ("XLMModel", {"sinusoidal_embeddings": True}, {"tf", "tf-safetensors"}),
            ("XLMWithLMHeadModel", {"tie_word_embeddings": False}, {"tf", "tf-safetensors"}),
        ],
    )
    def test_by_model(
        self, tmp_path: Path, architecture: str, values: dict[str, Any], refused: set[str]
    ) -> None:
        write_checkpoint(tmp_path, architecture, **values)
        found = inspect(tmp_path)
        assert {name for name, why in found.why_not.items() if why} == refused
        for name in refused:
            assert f"not as {name}: {found.why_not[name]}" in lines_of(found)

    def test_by_dtype(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="torch", dtype="bfloat16")
        found = inspect(tmp_path / "b")
        assert found.why_not["tf"] == "it has no bfloat16"
        assert found.memory == {"float32": 4 * 6653, "bfloat16": 2 * 6653}


def test_pruned_and_adaptive_are_described(tmp_path: Path) -> None:
    asm = {"asm": True, "asm_cutoffs": [9, 20], "asm_div_value": 2.0, "pruned_heads": {1: [0, 2]}}
    write_checkpoint(tmp_path, causal=True, gelu_activation=False, **asm)
    text = text_of(inspect(tmp_path))
    for words in ("cutoffs [9, 20]", "div_value 2", "pruned heads: {1: [0, 2]}", "ReLU, causal"):
        assert words in text


def test_json_holds_everything(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    found = inspect(tmp_path)
    values = json.loads(json_of(found), parse_constant=pytest.fail)
    assert values["sound"] is True
    assert values["config"]["emb_dim"] == 12
    assert len(values["tensors"]) == 54
    assert {"name", "shape", "dtype", "nbytes", "note", "shares", "values"} == {
        *values["tensors"][0]
    }
    assert values["layouts"]["keras"] is True
    assert values["parameters"] == 6653
    assert values["original"] is None
    assert values["seconds"]["total"] > 0


def test_nothing_large_is_read(tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path).copy(vocab_size=40_000_000)
    file = tmp_path / "model.safetensors"
    # The file of a larger model: its header, and a hole of 2 GB where the weights would be.
    header, start = {}, 0
    for spec in tensors_of(config, "XLMWithLMHeadModel"):
        if spec.tied_to is None:
            name = str(name_of(spec, "torch", "XLMWithLMHeadModel"))
            place = [start, start := start + 4 * spec.size]
            header[name] = {"dtype": "F32", "shape": [*spec.shape], "data_offsets": place}
    content = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(content).to_bytes(8, "little") + content)
        stream.truncate(8 + len(content) + start)
    config.save_pretrained(tmp_path)
    tracemalloc.start()
    found = inspect(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.memory["float32"] > 2e9
    assert found.problems == ()
    assert most < 5e6


def test_buffers_keep_no_layout_from_holding_a_model(tmp_path: Path) -> None:
    def add(tensors: pairs.Tensors) -> None:
        tensors["transformer.position_ids"] = np.arange(19)[None]

    found = changed(tmp_path, add)
    assert {name for name, reason in found.why_not.items() if reason is None} == {*LAYOUTS}
