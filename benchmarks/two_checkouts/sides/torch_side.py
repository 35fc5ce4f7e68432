"""PyTorch: what the benchmark of speed measures, cached steps, attention weights, opening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.speed.protocol import Prepared
from benchmarks.speed.sides import torch_side
from benchmarks.speed.tasks import Task, batch_of
from benchmarks.two_checkouts.clock import Clock

STEPS = 16


class TorchSide(torch_side.TorchSide):
    """More kinds of tasks: "decode", "attentions", "small", "open"."""

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        match task.kind:
            case "decode":
                return Prepared(self.decoding(task))
            case "attentions":
                model = self.model(replace(task, kind="encode"), {})
                given = torch_side.arguments(batch_of(task), labels=False, mask=True)
                return Prepared(lambda: self.attentions(model, given))
            case "small":
                model = self.package.XLMModel(small_config(self.package)).eval()
                ids = torch.arange(6, 6 + task.batch * task.length).view(task.batch, -1)
                return Prepared(lambda: self.encode(model, ids))
            case "open":
                made = self.package.XLMWithLMHeadModel
                return Prepared(lambda: made.from_pretrained(self.folder / "torch") and None)
        return super().prepare(task, options)

    def decoding(self, task: Task) -> Callable[[], dict[str, float]]:
        """Steps of one position each after a prompt, which is not timed."""
        model = self.package.XLMModel.from_pretrained(self.folder / "torch", causal=True).eval()
        ids = torch.from_numpy(batch_of(replace(task, length=task.length + STEPS)).ids)

        def run() -> dict[str, float]:
            with torch.inference_mode():
                cache = self.package.KeyValueCache()
                model(ids[:, : task.length], cache=cache)
                clock = Clock()
                for end in range(task.length + 1, task.length + STEPS + 1):
                    model(ids[:, :end], cache=cache)
                return clock.read()

        return run

    @torch.inference_mode()
    def attentions(self, model: Any, given: dict[str, torch.Tensor]) -> None:
        """With the weights of every layer."""
        model(**given, output_attentions=True)

    @torch.inference_mode()
    def encode(self, model: Any, ids: torch.Tensor) -> None:
        """Alone."""
        model(ids)


def small_config(package: Any) -> Any:
    """So small that a call's time is that of Python."""
    return package.XLMConfig(vocab_size=100, emb_dim=32, n_layers=2, n_heads=4)


SIDE = TorchSide
