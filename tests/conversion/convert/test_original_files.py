"""Checkpoints of the original: whole folders from them, and back with all that they held."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion.convert import convert, weights_of
from tests.support.golden import ENCODER_CASES, MT_CASES
from tests.support.layout_models import assert_same, make
from xlm_core import CheckpointError, XLMTokenizer
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from xlm_core.checkpoints.writing import saved_config, write_folder

TRAINING = "training_checkpoint_module_prefix"


def load(file: Path) -> dict[str, Any]:
    """What a trusted file holds."""
    content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
    return content


def golden(shared: Callable[[str], Path], name: str) -> Path:
    return next(shared(f"golden/facebook/{name}").glob("*.pth"))


def same(one: Any, other: Any) -> bool:
    """Equal, in type too, arrays and tensors included."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        pairs = zip(one, other, strict=True)
        return type(one) is type(other) and all(same(a, b) for a, b in pairs)
    return type(one) is type(other) and bool(one == other)


def test_a_trained_model_becomes_a_whole_folder(
    tmp_path: Path, shared: Callable[[str], Path]
) -> None:
    """One command: the folder that transformers wrote, tensor by tensor and id by id."""
    source, theirs = (shared(f"checkpoints/small_mlm_tlm/{name}") for name in ("facebook", "hf"))
    convert(source, tmp_path / "ours", to="safetensors")
    ours, reference = (weights_of(open_checkpoint(p)) for p in (tmp_path / "ours", theirs))
    assert ours.architecture == reference.architecture
    for (spec, one), (_, other) in zip(ours.tensors, reference.tensors, strict=True):
        assert one.read().tobytes() == other.read().tobytes(), spec.path
    assert ours.config.lang2id == reference.config.lang2id
    tokenizers = [XLMTokenizer.from_pretrained(place) for place in (tmp_path / "ours", theirs)]
    with np.load(shared("checkpoints/small_mlm_tlm/expected.npz")) as arrays:
        sentences = arrays["sentences"].tolist()
        expected = arrays["input_ids"]
    ids = [np.array(t(sentences, padding=True)["input_ids"]) for t in tokenizers]
    assert np.array_equal(ids[0], ids[1])
    assert np.array_equal(np.where(expected == 5, 5, ids[0]), expected)  # some were masked since
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert tokenizers[0].lang2id == tokenizers[1].lang2id
    assert (tmp_path / "ours" / "merges.txt").read_bytes() == (theirs / "merges.txt").read_bytes()


@pytest.mark.parametrize("to", ["safetensors", "torch", "tf", "keras"])
def test_and_back_with_codes_and_counts(
    tmp_path: Path, shared: Callable[[str], Path], to: str
) -> None:
    source = shared("checkpoints/small_mlm_tlm/facebook")
    convert(source, tmp_path / "there", to=to)
    convert(tmp_path / "there", tmp_path / "back", to="facebook")
    one, other = load(source / "mlm_tlm_small.pth"), load(tmp_path / "back" / "checkpoint.pth")
    assert {*other} - {*one} == {"config"}
    for name in one:
        if name == "params":
            assert same(one[name], {key: other[name][key] for key in one[name]})
        else:
            assert same(dict(one[name]), dict(other[name])), name
    assert (tmp_path / "back" / "codes").read_bytes() == (source / "codes").read_bytes()
    again = XLMTokenizer.from_pretrained(tmp_path / "back", mode="v4")
    assert again.get_vocab() == XLMTokenizer.from_pretrained(tmp_path / "there").get_vocab()


@pytest.mark.parametrize("name", [*ENCODER_CASES, *MT_CASES])
def test_what_the_original_held_travels_along(
    tmp_path: Path, shared: Callable[[str], Path], name: str
) -> None:
    source = golden(shared, name)
    summary = convert(source, tmp_path / "there", to="safetensors")
    convert(tmp_path / "there", tmp_path / "back.pth", to="facebook")
    one, other = load(source), load(tmp_path / "back.pth")
    assert summary.dropped == (("optimizer state (model_optimizer)",) if name == TRAINING else ())
    assert one.keys() - other.keys() == ({"model_optimizer"} if name == TRAINING else set())
    for key in one.keys() & other.keys():
        if key == "params":
            assert same(one[key], {entry: other[key][entry] for entry in one[key]})
        elif key == "model" and name == TRAINING:
            assert same({k.removeprefix("module."): t for k, t in one[key].items()}, other[key])
        elif isinstance(one[key], dict):
            assert same(dict(one[key]), dict(other[key])), key
        else:
            assert same(one[key], other[key]), key


def test_a_file_by_itself(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    """Given the codes by name, or none: then no tokenizer, which is said."""
    folder = shared("checkpoints/small_mlm_tlm/facebook")
    alone = tmp_path / "alone.pth"
    alone.write_bytes((folder / "mlm_tlm_small.pth").read_bytes())
    summary = convert(alone, tmp_path / "without", to="safetensors")
    assert any("Give them (codes=)" in note for note in summary.notes)
    assert not (tmp_path / "without" / "vocab.json").exists()
    convert(alone, tmp_path / "with", to="safetensors", codes=folder / "codes", mode="original")
    assert XLMTokenizer.from_pretrained(tmp_path / "with").mode == "original"
    with pytest.raises(CheckpointError, match="no file of BPE codes at"):
        convert(alone, tmp_path / "never", to="safetensors", codes=tmp_path / "absent")


@pytest.mark.parametrize("to", ["safetensors", "facebook"])
def test_codes_that_hold_no_merges(tmp_path: Path, shared: Callable[[str], Path], to: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    model = shared("checkpoints/small_mlm_tlm/facebook/mlm_tlm_small.pth")
    (source / "model.pth").symlink_to(model)
    (source / "codes").write_bytes(b"")
    with pytest.raises(CheckpointError, match="codes holds no merges"):
        convert(source / "model.pth", tmp_path / "out", to=to)
    (tmp_path / "vocab").write_text("the 9\nof 8\n")
    with pytest.raises(CheckpointError, match="vocab holds no merges"):
        convert(source / "model.pth", tmp_path / "out", to=to, codes=tmp_path / "vocab")
    assert not (tmp_path / "out").exists()


def test_the_dictionary_of_a_folder(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    """Into a file as into a folder; a resized vocabulary has none."""
    source = shared("checkpoints/small_mlm_tlm/hf")
    theirs = load(shared("checkpoints/small_mlm_tlm/facebook/mlm_tlm_small.pth"))
    convert(source, tmp_path / "file.pth", to="facebook")
    convert(source, tmp_path / "folder", to="facebook")
    for file in (tmp_path / "file.pth", tmp_path / "folder" / "checkpoint.pth"):
        assert load(file)["dico_id2word"] == theirs["dico_id2word"]
        assert load(file)["dico_word2id"] == theirs["dico_word2id"]
    summary = convert(source, tmp_path / "bare.pth", to="facebook", head="XLMModel")
    assert any("no output layer" in note for note in summary.notes)
    folder = tmp_path / "with"
    convert(shared("checkpoints/small_mlm_tlm/facebook"), folder, to="safetensors")
    original = open_checkpoint(folder).original
    assert original is not None
    (folder / "facebook.json").write_text(replace(original, words=("a",), counts=(1,)).to_json())
    summary = convert(folder, tmp_path / "resized.pth", to="facebook")
    assert any("was resized since" in note for note in summary.notes)
    assert "dico_id2word" not in load(tmp_path / "resized.pth")


class TestForms:
    """Files as people have them."""

    @pytest.fixture
    def content(self, shared: Callable[[str], Path]) -> dict[str, Any]:
        return load(golden(shared, "mlm_langs"))

    def opened(self, content: Any, tmp_path: Path, **options: Any) -> Any:
        torch.save(content, tmp_path / "file.pth", **options)
        return open_checkpoint(tmp_path / "file.pth")

    @pytest.mark.parametrize("form", ["in the model", "beside it", "in the embedder", "wrapped"])
    def test_classifiers(self, content: dict[str, Any], tmp_path: Path, form: str) -> None:
        model = dict(content["model"])
        head = {"1.weight": torch.randn(3, 16), "1.bias": torch.randn(3)}
        if form == "in the model":
            content["model"] = model | {f"proj.{name}": t for name, t in head.items()}
        elif form == "beside it":
            content["proj"] = head
        elif form == "in the embedder":
            del content["model"]
            content["embedder"] = {f"model.{name}": t for name, t in model.items()}
            content["proj"] = head
        else:
            content["model"] = {f"module.{name}": t for name, t in model.items()}
            content["proj"] = head
        found = self.opened(content, tmp_path)
        weights = weights_of(found)
        assert weights.architecture == "XLMForSequenceClassification"
        assert found.dropped == tuple(
            f"pred_layer.proj.{leaf} (the classifier does not use it)"
            for leaf in ("weight", "bias")
        )
        assert found.config.id2label == {0: "contradiction", 1: "neutral", 2: "entailment"}
        tensors = {spec.path: tensor.read() for spec, tensor in weights.tensors}
        assert np.array_equal(tensors["sequence_summary.summary.weight"], head["1.weight"])
        assert np.array_equal(tensors["embeddings.weight"], model["embeddings.weight"])
        convert(tmp_path / "file.pth", tmp_path / "there", to="tf")
        convert(tmp_path / "there", tmp_path / "back.pth", to="facebook")
        back = load(tmp_path / "back.pth")["model"]
        assert torch.equal(back["proj.1.bias"], head["1.bias"])

    @pytest.mark.parametrize("count", [3, 4])
    def test_names_of_classes_of_our_own(self, tmp_path: Path, count: int) -> None:
        """Three labels that are not XNLI's keep their names."""
        weights = make("XLMForSequenceClassification", "2 languages", num_labels=count)
        names = {index: f"mood {index}" for index in range(count)}
        weights.config.id2label, weights.config.label2id = names, {n: i for i, n in names.items()}
        (tmp_path / "source").mkdir()
        write_folder(tmp_path / "source", weights, LAYOUTS["safetensors"])
        convert(tmp_path / "source", tmp_path / "there.pth", to="facebook")
        convert(tmp_path / "there.pth", tmp_path / "back", to="safetensors")
        assert open_checkpoint(tmp_path / "back").config.id2label == names
        assert_same(weights, tmp_path / "back")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_params_of_2019(self, content: dict[str, Any], tmp_path: Path, zipped: bool) -> None:
        """No indices, no use_lang_emb, no n_words."""
        keep = ("emb_dim", "n_layers", "n_heads", "n_langs", "share_inout_emb", "id2lang",
                "lang2id", "gelu_activation", "sinusoidal_embeddings", "asm", "dropout",
                "attention_dropout", "same_enc_dec", "max_vocab", "min_count")  # fmt: skip
        content["params"] = {name: content["params"].get(name, 0) for name in keep}
        config = self.opened(content, tmp_path, _use_new_zipfile_serialization=zipped).config
        assert (config.vocab_size, config.max_position_embeddings) == (60, 512) or (
            config.max_position_embeddings == len(content["model"]["position_embeddings.weight"])
        )
        assert (config.pad_index, config.mask_index, config.use_lang_emb) == (2, 5, True)

    def test_half_precision(self, content: dict[str, Any], tmp_path: Path) -> None:
        content["model"] = {name: t.half() for name, t in content["model"].items()}
        self.opened(content, tmp_path)
        convert(tmp_path / "file.pth", tmp_path / "there", to="safetensors")
        weights = weights_of(open_checkpoint(tmp_path / "there"))
        assert weights.dtypes == ["float16"]
        assert saved_config(weights).dtype == "float16"

    @pytest.mark.parametrize("how", ["tensors", "params"])
    def test_memory_layers(self, content: dict[str, Any], tmp_path: Path, how: str) -> None:
        if how == "tensors":
            content["model"]["memories.1_in.keys"] = torch.randn(4, 4)
        else:
            content["params"]["use_memory"] = True
        with pytest.raises(CheckpointError, match="product-key memory layers"):
            self.opened(content, tmp_path)

    def test_params_that_cannot_be(self, content: dict[str, Any], tmp_path: Path) -> None:
        content["params"]["n_heads"] = 5
        with pytest.raises(CheckpointError, match=r"params: emb_dim is 16: must be a multiple"):
            self.opened(content, tmp_path)
        content["params"] = 3
        with pytest.raises(CheckpointError, match="params is a int; expected a table"):
            self.opened(content, tmp_path)
        del content["params"]
        with pytest.raises(CheckpointError, match=r"no configuration: put its config\.json"):
            self.opened(content, tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c["dico_id2word"].pop(7), "does not give a word to each id from 0 up"),
            (lambda c: c["dico_id2word"].update({7: "a", 8: "a"}), "another word to each id"),
            (lambda c: c["dico_word2id"].update({"zz": 3}), "contradict each other"),
            (lambda c: c["dico_counts"].popitem(), "dico_counts does not give a number"),
            (lambda c: c["params"].update(n_words=61), "has 60 words, its params say 61"),
            (lambda c: c.update(decoder=c["model"]), "a decoder and no encoder"),
            (lambda c: c["model"].update(extra=3), "model['extra'] is a int; expected a tensor"),
            (lambda c: c.update(model={}), "model is a dict; expected tensors"),
        ],
    )
    def test_contradictions(
        self, content: dict[str, Any], tmp_path: Path, change: Any, message: str
    ) -> None:
        change(content)
        with pytest.raises(CheckpointError) as caught:
            self.opened(content, tmp_path)
        assert message in str(caught.value)

    @pytest.mark.filterwarnings("ignore:The configuration has keys without effect")
    def test_values_of_every_kind(self, content: dict[str, Any], tmp_path: Path) -> None:
        values = [1, -2.5, True, None, "é\ud7ff", (1, ("a", [2])), {1, 2}, frozenset({"x"}),
                  {("en", "fr"): [1.0], 3: float("inf")}, np.float64(0.1), np.int64(7),
                  np.arange(6, dtype=np.float32).reshape(2, 3), torch.arange(5.0), b"\x00\xff",
                  {"__python__": "a trap"}]  # fmt: skip
        content["params"] |= {f"value{number}": value for number, value in enumerate(values)}
        self.opened(content, tmp_path)
        for to in ("safetensors", "keras"):
            convert(tmp_path / "file.pth", tmp_path / to, to=to)
            convert(tmp_path / to, tmp_path / "back.pth", to="facebook", overwrite=True)
            params = load(tmp_path / "back.pth")["params"]
            for number, value in enumerate(values):
                assert same(params[f"value{number}"], value), value


def test_every_golden_file_in_every_layout(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    """Where it has a place; what is refused is refused with a reason."""
    refused = []
    for name, to in itertools.product([*ENCODER_CASES, *MT_CASES], ("torch", "tf", "keras")):
        target = tmp_path / name / to
        target.parent.mkdir(exist_ok=True)
        try:
            convert(golden(shared, name), target, to=to)
        except CheckpointError as error:
            refused.append(name)
            assert "cannot be written as" in str(error)
    assert sorted({*refused}) == [
        "adaptive_softmax",
        "mt_encoder_decoder",
        "mt_encoder_decoder_zip",
        "sinusoidal_relu",
        "untied_output",
    ]
