"""`generate`: the method of the language models and of the encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from xlm_core.generation import GenerationConfig, Kind, Settled, settle
from xlm_tf.fast.graphs import compiled
from xlm_tf.generation.beams import search_beams
from xlm_tf.generation.choosing import Choice
from xlm_tf.generation.decoding import CachedDecoding, Decoding, MaskedDecoding
from xlm_tf.generation.greedy import draws, loop_in_graph, step_by_step
from xlm_tf.generation.steps import Callbacks, Steps, Wanted, first_step, next_step


class GenerationMixin:
    """Gives a model `generate`."""

    def generate(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        langs: Any = None,
        *,
        generation_config: Any = None,
        stopping_criteria: Any = None,
        streamer: Any = None,
        **settings: Any,
    ) -> Any:
        input_ids = tf.convert_to_tensor(input_ids)
        tokens = tf.ones_like(input_ids, tf.bool) if attention_mask is None else attention_mask != 0
        kind: Kind = "causal" if self.config.causal else "masked"
        prompts = tokens.numpy().sum(axis=1)
        settled = settle(
            self.config,
            kind,
            settings,
            own=getattr(self, "generation_config", GenerationConfig()),
            given=generation_config,
            prompts=prompts,
            draw_seed=lambda: int(np.random.randint(2**31)),
        )
        given = {"input_ids": input_ids, "tokens": tokens}
        if langs is not None:
            given |= {"langs": langs, "new_langs": langs[:, -1]}
        callbacks = Callbacks(streamer, stopping_criteria or [])
        if settled.num_beams > 1:
            search = settled.beam_search(drops_finished=not settled.output_scores)
            steps = Steps(self, given, settled, candidates=search.candidates)
            ids, sums, scores = search_beams(
                steps, search, settled, callbacks, self.config.vocab_size
            )
        elif callbacks.there_are or settled.output_scores:
            ids, scores = step_by_step(Steps(self, given, settled), settled, callbacks)
        else:
            limits = settled.rows(settled.limits)
            uniform = draws(settled)
            tensors = given | {
                "limits": tf.constant(limits),
                "minimums": tf.constant(settled.rows(settled.minimums)),
                "steps": tf.constant(int(limits.max()), tf.int32),
            }
            if uniform is not None:
                tensors["uniform"] = tf.constant(uniform)
            return compiled(
                self,
                "_generate_loop",
                tensors,
                choice=Choice.of(settled),
                copies=settled.copies,
            )
        prompt = np.repeat(input_ids.numpy(), settled.num_return_sequences, axis=0)
        return tf.constant(np.concatenate((prompt, ids), axis=1))

    def _decoding(self) -> Decoding:
        if self.config.causal:
            return CachedDecoding(self.transformer, self.pred_layer)
        return MaskedDecoding(self)

    def _generate_loop(
        self, tensors: Mapping[str, tf.Tensor], *, choice: Choice, copies: int
    ) -> tf.Tensor:
        return loop_in_graph(
            self._decoding(),
            tensors,
            choice=choice,
            copies=copies,
            steps=tensors["steps"],
            limits=tensors["limits"],
            minimums=tensors["minimums"],
            uniform=tensors.get("uniform"),
        )

    def _first_step(self, tensors: Mapping[str, tf.Tensor], **options: Any) -> Any:
        return first_step(self._decoding(), tensors, **options)

    def _next_step(self, tensors: Mapping[str, tf.Tensor], **options: Any) -> Any:
        return next_step(self._decoding(), tensors, **options)
