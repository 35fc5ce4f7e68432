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

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor | None = None,
    ) -> tuple[Any, ...]:
        options: dict[str, Any] = {}
        if decoder_input_ids is not None:
            options = {"decoder_input_ids": decoder_input_ids, "use_cache": False}
        output: tuple[Any, ...] = self.model(
            input_ids, attention_mask=attention_mask, **options
        ).to_tuple()
        return output


def _batch(batch: int, sequence: int, name: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(100 * batch + sequence)
    ids = torch.randint(6, 60, (batch, sequence), generator=generator)
    ids[1:, sequence - 4 :] = 2
    if name == "XLMForMultipleChoice":
        ids = torch.stack((ids, ids.flip(0), ids), dim=1)
    if name == "XLMForConditionalGeneration":
        target = torch.randint(6, 60, (batch, sequence - 3), generator=generator)
        return ids, (ids != 2).long(), target
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
    path = tmp_path / "model.onnx"
    position = 2 if name == "XLMForMultipleChoice" else 1
    axes = {each: {0: "batch", position: "sequence"} for each in ("input_ids", "attention_mask")}
    if name == "XLMForConditionalGeneration":
        axes["decoder_input_ids"] = {0: "batch", 1: "target"}
    names = [*axes]
    options: dict[str, Any] = {"dynamic_axes": axes}
    if dynamo:
        dynamic = {n: dict.fromkeys(of, torch.export.Dim.DYNAMIC) for n, of in axes.items()}
        options = {"dynamic_shapes": dynamic, "verbose": False}
    torch.onnx.export(
        model, _batch(2, 8, name), str(path), input_names=names, dynamo=dynamo, **options
    )
    session = onnxruntime.InferenceSession(str(path))
    for batch, sequence in ((2, 8), (3, 11), (1, 6)):
        tensors = _batch(batch, sequence, name)
        expected = model(*tensors)
        arrays = [tensor.numpy() for tensor in tensors]
        found = session.run(None, dict(zip(names, arrays, strict=True)))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(torch.from_numpy(one), other, rtol=1e-5, atol=2e-6)
