"""What transformers' users pass to load and save, in both families; files of other tools."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

import xlm_tf
import xlm_torch
from xlm_core import CheckpointError, ConfigError, UnknownArgumentError, XLMConfig, XLMWarning
from xlm_core.checkpoints import open_checkpoint

IDS = np.array([[0, 14, 15, 16, 17, 1]])
CONFIG = {"vocab_size": 60, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "num_labels": 3}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return xlm_torch.XLMWithLMHeadModel(XLMConfig(**CONFIG)).eval()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("saved")
    model.save_pretrained(place / "a")
    return place


@pytest.fixture(params=[xlm_torch, xlm_tf], ids=["torch", "tf"])
def family(request: pytest.FixtureRequest) -> ModuleType:
    return request.param  # type: ignore[no-any-return]


def lm_class(family: ModuleType) -> Any:
    return family.MODEL_CLASSES["XLMWithLMHeadModel"]


def logits(opened: Any) -> np.ndarray[Any, Any]:
    ids = torch.tensor(IDS) if isinstance(opened, torch.nn.Module) else IDS
    return np.asarray(opened(ids).logits.detach() if ids is not IDS else opened(ids).logits)


def same(opened: Any, model: Any) -> None:
    np.testing.assert_allclose(logits(opened), logits(model), atol=1e-5)


def test_arguments_that_change_nothing(family: ModuleType, folder: Path, model: Any) -> None:
    arguments = {
        "trust_remote_code": True,
        "low_cpu_mem_usage": True,
        "attn_implementation": "eager",
        "device_map": "auto",
        "token": "hf_secret",
        "cache_dir": "elsewhere",
        "force_download": True,
        "use_safetensors": True,
        "from_tf": False,
        "from_pt": True,
        "torchscript": False,
        "proxies": None,
        "_from_auto": True,
    }
    opened = lm_class(family).from_pretrained(
        pretrained_model_name_or_path=folder / "a", **arguments
    )
    same(opened, model)
    assert not {"token", "cache_dir"} & {*opened.config.to_dict()}
    assert opened.config.name_or_path == str(folder / "a")
    same(family.from_pretrained(folder, subfolder="a"), model)


def test_arguments_that_cannot_be_followed(family: ModuleType, folder: Path) -> None:
    opening = family.from_pretrained, lm_class(family).from_pretrained
    for open_model in opening:
        for name, value, message in (
            ("load_in_8bit", True, "call quantize"),
            ("from_flax", True, "Flax"),
            ("gguf_file", "x.gguf", "docs/layouts.md"),
            ("attn_implementation", "flash_attention_2", "'eager' or 'sdpa'"),
            ("droput", 0.1, "Did you mean 'dropout'"),
        ):
            with pytest.raises(UnknownArgumentError, match=f"{name}.*{message}"):
                open_model(folder / "a", **{name: value})
        with pytest.raises(UnknownArgumentError, match="a path twice"):
            open_model(folder / "a", pretrained_model_name_or_path=folder)
        with pytest.raises(UnknownArgumentError, match="no path"):
            open_model()
        with pytest.raises(OSError, match="no folder at"):
            open_model(folder / "absent")
        with pytest.raises(OSError, match="none of the weights that were asked for"):
            open_model(folder / "a", use_safetensors=False)
        with pytest.raises(ConfigError, match="device_map"):
            open_model(folder / "a", device_map={"transformer": "cpu", "pred_layer": "meta"})


def test_configurations_that_are_given(family: ModuleType, folder: Path, model: Any) -> None:
    theirs = model.config.to_transformers(transformers.XLMConfig)
    for config in (model.config, theirs, folder / "a", str(folder / "a" / "config.json")):
        same(family.from_pretrained(folder / "a", config=config), model)
    causal = lm_class(family).from_pretrained(folder / "a", config=model.config, causal=True)
    assert causal.config.causal and not model.config.causal  # noqa: PT018


def test_tensors_that_are_given(family: ModuleType, model: Any) -> None:
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for tensors in (state, {f"module.{name}": array for name, array in state.items()}):
        opened = lm_class(family).from_pretrained(None, config=model.config, state_dict=tensors)
        same(opened, model)


def test_information(family: ModuleType, folder: Path) -> None:
    with pytest.warns(XLMWarning, match="started fresh"):
        _, info = family.MODEL_CLASSES["XLMForSequenceClassification"].from_pretrained(
            folder / "a", output_loading_info=True
        )
    assert info["missing_keys"] == [
        "sequence_summary.summary.weight",
        "sequence_summary.summary.bias",
    ]
    assert info["unexpected_keys"] == ["pred_layer.proj.bias"]
    assert info["mismatched_keys"] == info["error_msgs"] == []


def test_information_in_place_of_a_refusal(family: ModuleType, folder: Path, model: Any) -> None:
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    lost = "transformer.attentions.0.q_lin.weight"
    partial = {"another.tensor": state.pop(lost)} | state
    with pytest.raises(CheckpointError, match=rf"missing \(1\): {lost[12:]}"):
        lm_class(family).from_pretrained(None, config=model.config, state_dict=partial)
    with pytest.warns(XLMWarning, match=r"started fresh.*q_lin.*unknown here: another\.tensor"):
        opened, info = lm_class(family).from_pretrained(
            None, config=model.config, state_dict=partial, output_loading_info=True
        )
    assert info == {
        "missing_keys": [lost],
        "unexpected_keys": ["another.tensor"],
        "mismatched_keys": [],
        "error_msgs": [],
    }
    assert np.isfinite(logits(opened)).all()
    with pytest.raises(CheckpointError, match="misshapen"):
        lm_class(family).from_pretrained(
            None, config=model.config, vocab_size=50, state_dict=partial, output_loading_info=True
        )


def test_other_sizes(family: ModuleType, folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"misshapen \(2\)"):
        lm_class(family).from_pretrained(folder / "a", vocab_size=50)
    with pytest.warns(XLMWarning, match="started fresh"):
        tagger = family.MODEL_CLASSES["XLMForTokenClassification"].from_pretrained(folder / "a")
    tagger.save_pretrained(folder / "tagger")
    with pytest.warns(
        XLMWarning, match=r"classifier.weight \(\(3, 16\) in the file, \(5, 16\) here"
    ):
        opened, info = family.from_pretrained(
            folder / "tagger",
            num_labels=5,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    assert logits(opened).shape == (1, 6, 5)
    assert info["missing_keys"] == []
    assert info["mismatched_keys"] == [
        ("classifier.weight", (3, 16), (5, 16)),
        ("classifier.bias", (3,), (5,)),
    ]


def test_saving(family: ModuleType, folder: Path, model: Any, tmp_path: Path) -> None:
    opened = family.from_pretrained(folder / "a")
    opened.save_pretrained(tmp_path / "absent", is_main_process=False)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(UnknownArgumentError, match="uploads nothing"):
        opened.save_pretrained(tmp_path, push_to_hub=True)
    with pytest.raises(UnknownArgumentError, match=r"'max_shard_sise'.*max_shard_size"):
        opened.save_pretrained(tmp_path, max_shard_sise="1GB")

    for name, value in (("signatures", {"a": 1}), ("saved_model", True)):
        if name == "signatures" or family is xlm_torch:
            with pytest.raises(UnknownArgumentError, match=rf"take {name}=.*export\(folder\)"):
                opened.save_pretrained(tmp_path, **{name: value})

    opened.save_pretrained(save_directory=tmp_path, push_to_hub=False, token=None, repo_id="a/b")
    # In several files: the single one from before is not what opens.
    opened.save_pretrained(tmp_path, max_shard_size=3000, variant=None)
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "model.safetensors.index.json").exists()
    same(family.from_pretrained(tmp_path), model)
    same(transformers.XLMWithLMHeadModel.from_pretrained(tmp_path).eval(), model)
    opened.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]

    opened.save_pretrained(tmp_path / "v", variant="fp16", max_shard_size="3KB")
    same(family.from_pretrained(tmp_path / "v", variant="fp16"), model)
    opened.save_pretrained(tmp_path / "other", safe_serialization=False)
    file = "pytorch_model.bin" if family is xlm_torch else "tf_model.h5"
    assert (tmp_path / "other" / file).exists()
    same(family.from_pretrained(tmp_path / "other", use_safetensors=False), model)
    with pytest.raises(ValueError, match=r"model\.safetensors, which would be opened in place"):
        opened.save_pretrained(tmp_path, safe_serialization=False)

    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    opened.save_pretrained(tmp_path / "s", state_dict={n: 2 * a for n, a in state.items()})
    saved = safetensors.torch.load_file(tmp_path / "s" / "model.safetensors")
    name = "transformer.layer_norm_emb.weight"
    np.testing.assert_array_equal(saved[name], 2 * state[name])
    del state[name]
    with pytest.raises(ValueError, match=f"lack 1 of XLMWithLMHeadModel: {name}"):
        opened.save_pretrained(tmp_path / "s", state_dict=state)


def test_one_of_two_tied_names(model: Any, family: ModuleType, tmp_path: Path) -> None:
    model.config.save_pretrained(tmp_path)
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    same(family.from_pretrained(tmp_path), model)
    (note,) = open_checkpoint(tmp_path).notes
    assert note == "transformer.embeddings.weight is stored as pred_layer.proj.weight"


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "net.model."]
)
def test_a_prefix_before_all_names(
    model: Any, family: ModuleType, tmp_path: Path, prefix: str
) -> None:
    model.config.save_pretrained(tmp_path)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    original = {prefix + n.removeprefix("transformer."): tensor for n, tensor in state.items()}
    safetensors.torch.save_file(wrapped, tmp_path / "model.safetensors")
    torch.save(wrapped, tmp_path / "other.bin")
    params = {"n_words": 60, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "gelu_activation": True}
    torch.save({"model": original, "params": params}, tmp_path / "original.pth")
    for name in ("model.safetensors", "other.bin", "original.pth"):
        same(family.from_pretrained(tmp_path / name), model)
        assert repr(prefix) in open_checkpoint(tmp_path / name).notes[0]


def test_fairseq_is_named(family: ModuleType, tmp_path: Path) -> None:
    tensors = {
        "encoder.sentence_encoder.embed_tokens.weight": torch.zeros(4, 2),
        "encoder.sentence_encoder.layers.0.self_attn.k_proj.weight": torch.zeros(2, 2),
    }
    torch.save({"args": None, "cfg": {}, "model": tensors, "extra_state": {}}, tmp_path / "m.pt")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    for place in (tmp_path / "m.pt", tmp_path):
        with pytest.raises(ValueError, match="layout of fairseq"):
            family.from_pretrained(place)
