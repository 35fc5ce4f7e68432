"""`inspect` on files of the original code and of transformers, and on what it must refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.inspection import inspect
from conversion.reports.inspection_text import text_of
from tests.conversion.small_checkpoints import small_config
from xlm_core.checkpoints import LazyTensor
from xlm_core.checkpoints.original_params import params_of
from xlm_core.containers.torch_files import write_torch
from xlm_core.errors import CheckpointError
from xlm_core.weights import ENCODER_DECODER, name_of, tensors_of

CASES = (
    "adaptive_softmax",
    "clm_causal",
    "mlm_langs",
    "mono_one_language",
    "mt_encoder_decoder",
    "mt_encoder_decoder_zip",
    "no_lang_emb",
    "sinusoidal_relu",
    "tlm_positions",
    "training_checkpoint_module_prefix",
    "untied_output",
)
Shared = Callable[[str], Path]


@pytest.mark.parametrize("case", CASES)
def test_files_of_the_original_are_sound(shared: Shared, case: str) -> None:
    file = next(shared(f"golden/facebook/{case}").glob("*.pth"))
    found = inspect(file, values=True)
    assert found.problems == ()
    assert found.layout == "facebook"
    assert [described.name for described in found.files] == [file.name]
    assert found.original is not None
    assert found.original.words == found.config.vocab_size == 60
    assert found.original.counts
    assert "n_layers" in found.original.params
    assert ", a dictionary of 60 words, counts known" in text_of(found)


def test_optimizer_state_is_named(shared: Shared) -> None:
    found = inspect(shared("golden/facebook/training_checkpoint_module_prefix/checkpoint.pth"))
    assert found.dropped == ("optimizer state (model_optimizer)",)
    assert "dropped when it is converted: optimizer state (model_optimizer)" in text_of(found)


def test_translation(shared: Shared) -> None:
    file = next(shared("golden/facebook/mt_encoder_decoder").glob("*.pth"))
    found = inspect(file)
    assert found.architecture == ENCODER_DECODER
    assert found.notes == ()
    text = text_of(found)
    assert "configuration: an encoder of 2 layers and a decoder of 2 layers, width 16" in text
    assert "attends to both sides" not in text
    assert {name for name, why in found.why_not.items() if why is None} == {
        "safetensors",
        "facebook",
        "keras",
    }
    names = [tensor.name for tensor in found.tensors]
    assert "decoder.encoder_attn.1.out_lin.bias" in names
    shares = {tensor.name: tensor.shares for tensor in found.tensors if tensor.shares}
    assert shares == {
        f"{part}.pred_layer.proj.weight": f"{part}.embeddings.weight"
        for part in ("encoder", "decoder")
    }
    # 2 x 60 x 16 embeddings counted once each.
    assert found.parameters == sum(
        spec.size for spec in tensors_of(found.config, ENCODER_DECODER) if spec.tied_to is None
    )


def test_a_fixed_table_is_no_trainable_parameter(shared: Shared) -> None:
    found = inspect(shared("golden/facebook/sinusoidal_relu/checkpoint.pth"))
    assert found.parameters - found.trainable == 512 * 16
    assert "positions (fixed sinusoidal)" in text_of(found)


def test_a_trained_model_in_both_layouts(shared: Shared) -> None:
    hf = inspect(shared("checkpoints/small_mlm_tlm/hf"), values=True)
    facebook = inspect(shared("checkpoints/small_mlm_tlm/facebook/mlm_tlm_small.pth"), values=True)
    assert hf.problems == facebook.problems == ()
    assert hf.parameters == facebook.parameters
    values = [{tensor.name: tensor.values for tensor in found.tensors} for found in (hf, facebook)]
    assert values[0].items() <= values[1].items()
    assert [file.role for file in hf.files].count("tokenizer") == 4
    assert [file.name for file in facebook.files] == ["mlm_tlm_small.pth", "codes"]


# -- what cannot be opened ---------------------------------------------------------------------


def facebook_content(**params: Any) -> dict[str, Any]:
    config = small_config("XLMModel")
    tensors = {
        str(name_of(spec, "facebook")): LazyTensor.of(np.ones(spec.shape, np.float32))
        for spec in tensors_of(config)
    }
    return {"model": tensors, "params": {**params_of(config, "XLMModel"), **params}}


def test_product_key_memory_is_refused_with_its_reason(tmp_path: Path) -> None:
    content = facebook_content(use_memory=True)
    content["model"]["memories.1_in.keys"] = LazyTensor.of(np.ones((4, 3), np.float32))
    write_torch(tmp_path / "pkm.pth", content)
    with pytest.raises(CheckpointError, match="product-key memory"):
        inspect(tmp_path / "pkm.pth")
    write_torch(tmp_path / "plain.pth", facebook_content())
    assert inspect(tmp_path / "plain.pth").problems == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"PK\x03\x04" + bytes(60),
        b"\x89HDF\r\n\x1a\n" + bytes(60),
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
        # os.system("exit") as a pickle: nothing of it runs.
        b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00exitq\x01\x85q\x02Rq\x03.",
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "x.pth", "x.keras"])
def test_damaged_and_hostile_files_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    small_config().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError):
        inspect(tmp_path)
