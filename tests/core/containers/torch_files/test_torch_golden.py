"""Checkpoints of the original code are read, and written again, as torch reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.core.containers.torch_files.torch_files import assert_same
from xlm_core.containers.torch_files import read_torch, write_torch

CASES = [
    "golden/facebook/adaptive_softmax/checkpoint.pth",
    "golden/facebook/clm_causal/checkpoint.pth",
    "golden/facebook/mlm_langs/checkpoint.pth",
    "golden/facebook/mono_one_language/checkpoint.pth",
    "golden/facebook/mt_encoder_decoder/best-valid_en-fr_mt_bleu.pth",
    "golden/facebook/mt_encoder_decoder_zip/best-valid_en-fr_mt_bleu.pth",
    "golden/facebook/no_lang_emb/checkpoint.pth",
    "golden/facebook/sinusoidal_relu/checkpoint.pth",
    "golden/facebook/tlm_positions/checkpoint.pth",
    "golden/facebook/training_checkpoint_module_prefix/checkpoint.pth",
    "golden/facebook/untied_output/checkpoint.pth",
    "checkpoints/small_mlm_tlm/facebook/mlm_tlm_small.pth",
]


@pytest.mark.parametrize("case", CASES)
def test_read(shared: Callable[[str], Path], case: str) -> None:
    path = shared(case)
    assert_same(read_torch(path), torch.load(path, weights_only=False))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_written_again(
    shared: Callable[[str], Path], tmp_path: Path, case: str, legacy: bool
) -> None:
    path, copy = shared(case), tmp_path / "copy.pth"
    write_torch(copy, read_torch(path), legacy=legacy)
    theirs = torch.load(copy, weights_only=False)
    assert_same(read_torch(path), theirs)
    assert_same(read_torch(copy), theirs)


def test_tied_weights_stay_tied(shared: Callable[[str], Path], tmp_path: Path) -> None:
    path = shared("golden/facebook/mlm_langs/checkpoint.pth")
    ours = read_torch(path)["model"]
    assert ours["embeddings.weight"].place == ours["pred_layer.proj.weight"].place
    write_torch(tmp_path / "x", read_torch(path))
    theirs = torch.load(tmp_path / "x", weights_only=False)["model"]
    assert theirs["embeddings.weight"].data_ptr() == theirs["pred_layer.proj.weight"].data_ptr()
