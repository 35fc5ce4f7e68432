"""The original code (facebookresearch/XLM), from a checkout that the reader has got.

Nothing of it is in this project. Of the ways in which it fails on a current PyTorch none is met
here: tables of sinusoids are not asked for, and masks are comparisons. So it runs as it is; only
its constant of the largest position is set to the model's.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.speed.pool import ORIGINAL
from benchmarks.speed.protocol import Absent, Prepared
from benchmarks.speed.sides.torch_side import HEAD, TorchSide
from benchmarks.speed.tasks import IGNORED, Task
from xlm_core import XLMConfig
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from xlm_core.checkpoints.original_params import params_of
from xlm_core.checkpoints.writing import Weights
from xlm_core.weights import name_of, tensors_of


@dataclass
class Loss:
    """What a call with labels gives."""

    loss: torch.Tensor


class BatchFirst(torch.nn.Module):
    """The original's model behind the arguments of the others."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Hidden states (batch, sequence, hidden) in a tuple, or the loss of the labels."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        # It has length first: (sequence, batch).
        hidden = self.transformer("fwd", x=input_ids.T, lengths=mask.sum(1), causal=False)
        if labels is None:
            return (hidden.transpose(0, 1),)
        wanted, words = labels.T != IGNORED, labels.T
        _, loss = self.transformer(
            "predict", tensor=hidden, pred_mask=wanted, y=words[wanted], get_scores=False
        )
        return Loss(loss)


class OriginalSide(TorchSide):
    """Its transformer with the folder's weights under their names in the original."""

    def __init__(self, library: str, folder: Path) -> None:
        self.checkout = os.environ[ORIGINAL]
        sys.path.insert(0, self.checkout)
        super().__init__("xlm.model.transformer", folder)

    def version(self) -> str:
        """The checkout has none."""
        return f"original code, torch {torch.__version__}"

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `TorchSide`.

        Called once before it is compared: in one run of many the first output was off by 4e-5
        instead of 1e-6, for a reason not found.
        """
        prepared = super().prepare(task, options)
        prepared.run()
        return prepared

    def open(self, name: str, task: Task, options: dict[str, Any]) -> torch.nn.Module:
        """See `TorchSide`. One class serves all tasks."""
        if options.get("random"):
            raise Absent("only the folder's shape")
        checkpoint = open_checkpoint(self.folder / "torch")
        tensors = [
            (spec, checkpoint.tensors[str(name_of(spec, "torch", HEAD))])
            for spec in tensors_of(checkpoint.config, HEAD)
            if spec.tied_to is None
        ]
        named = LAYOUTS["facebook"].named(Weights(checkpoint.config, HEAD, tensors))
        model = self.build(checkpoint.config)
        model.load_state_dict({key: torch.from_numpy(t.read()) for key, t in named.items()})
        return BatchFirst(model)

    def build(self, config: XLMConfig) -> torch.nn.Module:
        """An encoder of the original with its prediction layer."""
        code = importlib.import_module(self.library)
        code.N_MAX_POSITIONS = config.max_position_embeddings
        words = {number: str(number) for number in range(config.vocab_size)}
        languages = {number: str(number) for number in range(config.n_langs)}
        known = {"id2lang": languages, "lang2id": {text: n for n, text in languages.items()}}
        params = SimpleNamespace(**(params_of(config, HEAD) | known))
        model: torch.nn.Module = code.TransformerModel(
            params, words, is_encoder=True, with_output=True
        )
        return model


SIDE = OriginalSide
