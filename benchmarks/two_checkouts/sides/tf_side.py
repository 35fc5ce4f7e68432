"""TensorFlow: what the benchmark of speed measures, cached steps, attention weights, opening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from benchmarks.speed.protocol import Prepared
from benchmarks.speed.sides import tf_side
from benchmarks.speed.tasks import Task, batch_of
from benchmarks.two_checkouts.clock import Clock

STEPS = 16


class TensorFlowSide(tf_side.TensorFlowSide):
    """More kinds of tasks: "decode", "attentions", "small", "open"."""

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`."""
        match task.kind:
            case "decode":
                return Prepared(self.decoding(task))
            case "attentions":
                model = self.model(replace(task, kind="encode"), {})
                given = self.arguments(batch_of(task), mask=True)
                return Prepared(lambda: model(**given, output_attentions=True)[0].numpy() is None)
            case "small":
                config = self.package.XLMConfig(vocab_size=100, emb_dim=32, n_layers=2, n_heads=4)
                model = self.package.TFXLMModel(config)
                ids = tf.reshape(tf.range(6, 6 + task.batch * task.length), (task.batch, -1))
                return Prepared(lambda: model(ids)[0].numpy() is None)
            case "open":
                made = self.package.TFXLMWithLMHeadModel
                return Prepared(lambda: made.from_pretrained(self.folder / "torch") is None)
        return super().prepare(task, options)

    def decoding(self, task: Task) -> Callable[[], dict[str, float]]:
        """Steps of one position each after a prompt, which is not timed."""
        model = self.package.TFXLMModel.from_pretrained(self.folder / "torch", causal=True)
        ids = tf.constant(batch_of(replace(task, length=task.length + STEPS)).ids)

        def run() -> dict[str, float]:
            cache = self.package.KeyValueCache()
            model(ids[:, : task.length], cache=cache)[0].numpy()
            clock = Clock()
            for end in range(task.length + 1, task.length + STEPS + 1):
                model(ids[:, :end], cache=cache)[0].numpy()
            return clock.read()

        return run


SIDE = TensorFlowSide
