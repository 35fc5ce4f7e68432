"""ONNX Runtime, on the encoder of transformers as PyTorch exports it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers

from benchmarks.speed.protocol import Absent, Prepared, Side
from benchmarks.speed.tasks import Task, batch_of


class Encoder(torch.nn.Module):
    """`XLMModel` from ids and mask to hidden states."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """float, shape (batch, sequence, hidden)."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]


class OnnxSide(Side):
    """One session for all batches: their sizes are free in the exported graph."""

    def __init__(self, library: str, folder: Path) -> None:
        super().__init__(library, folder)
        self.session: Any = None

    def version(self) -> str:
        """The runtime's, with the exporter's."""
        return f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        if task.kind != "encode":
            raise Absent("only the encoder is exported")
        if self.session is None:
            self.session = self.export()
        batch = batch_of(task)
        given = {"input_ids": batch.ids, "attention_mask": batch.mask}

        def run() -> np.ndarray:
            return self.session.run(None, given)[0]

        return Prepared(run, lambda: run().astype("float64"))

    def forget(self, kinds: Collection[str]) -> None:
        """The session may stay."""
        if "encode" not in kinds:
            self.session = None

    def export(self) -> Any:
        """The session, with the optimisations that ONNX Runtime makes by itself."""
        path = self.folder / "model.onnx"
        encoder = Encoder(transformers.XLMModel.from_pretrained(self.folder / "torch")).eval()
        example = torch.full((2, 16), 7), torch.ones((2, 16), dtype=torch.long)
        batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
        with torch.inference_mode():
            torch.onnx.export(
                encoder,
                example,
                path,
                input_names=["input_ids", "attention_mask"],
                dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
                dynamo=True,
            )
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


SIDE = OnnxSide
