"""ONNX: every head by both exporters gives PyTorch's numbers, at other sizes than exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xlm_core import XLMConfig
from xlm_torch import MODEL_CLASSES

onnxruntime = pytest.importorskip("onnxruntime", reason="run by make test-tools")
pytest.importorskip("onnxscript", reason="run by make test-tools")

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MODEL_CLASSES),
    ("XLMModel", {"causal": True}),
    ("XLMWithLMHeadModel", {"causal": True}),
    ("XLMWithLMHeadModel", {"asm": True, "asm_cutoffs": [20, 40], "asm_div_value": 2.0}),
    ("XLMForQuestionAnswering", {"start_n_top": 5, "end_n_top": 5}),  # more than tokens: ties
]


class _Tensors(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[Any, ...]:
        output: tuple[Any, ...] = self.model(input_ids, attention_mask=attention_mask).to_tuple()
        return output


def _batch(batch: int, sequence: int, choices: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 * batch + sequence)
    ids = torch.randint(6, 60, (batch, sequence), generator=generator)
    ids[1:, sequence - 4 :] = 2
    if choices:
        ids = torch.stack((ids, ids.flip(0), ids), dim=1)
    return ids, (ids != 2).long()


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize(("name", "values"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_every_head_runs_in_onnxruntime(
    name: str, values: dict[str, Any], dynamo: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "emb_dim": 24, "n_layers": 2, "n_heads": 4, "num_labels": 2}
    beams = {"start_n_top": 2, "end_n_top": 3}
    config = XLMConfig(**{**sizes, **beams, "max_position_embeddings": 64, **values})
    model = _Tensors(MODEL_CLASSES[name](config)).eval()
    choices = name == "XLMForMultipleChoice"
    path, names = tmp_path / "model.onnx", ["input_ids", "attention_mask"]
    axes = {0: "batch", 2 if choices else 1: "sequence"}
    options: dict[str, Any] = {"dynamic_axes": dict.fromkeys(names, axes)}
    if dynamo:
        dynamic = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
        options = {"dynamic_shapes": dict.fromkeys(names, dynamic), "verbose": False}
    torch.onnx.export(
        model, _batch(2, 8, choices), str(path), input_names=names, dynamo=dynamo, **options
    )
    session = onnxruntime.InferenceSession(str(path))
    for batch, sequence in ((2, 8), (3, 11), (1, 6)):
        tensors = _batch(batch, sequence, choices)
        expected = model(*tensors)
        arrays = [tensor.numpy() for tensor in tensors]
        found = session.run(None, dict(zip(names, arrays, strict=True)))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(torch.from_numpy(one), other, rtol=1e-5, atol=2e-6)
