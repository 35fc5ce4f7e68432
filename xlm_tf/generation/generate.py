"""`generate`, of language models and of the encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from xlm_core.checkpoints import Checkpoint
from xlm_core.errors import InputError, UnknownArgumentError, warn
from xlm_core.generation import (
    NO_CHOICE,
    GenerationConfig,
    Settled,
    refuse_no_choice,
    settle,
    uniform_numbers,
)
from xlm_core.generation.arguments import NEW_TOKENS
from xlm_core.loading_arguments import PUBLISHED_FOLDER
from xlm_core.outputs import GenerateOutput
from xlm_tf.fast.graphs import compiled
from xlm_tf.fast.rule import are_traced
from xlm_tf.generation.beams import generate_beams
from xlm_tf.generation.callables import Callables
from xlm_tf.generation.decoding import Decoding, Tensors
from xlm_tf.generation.greedy import generate_rows, generate_rows_in_graph, random_numbers
from xlm_tf.generation.logits import ScoreRules
from xlm_tf.generation.prompts import Beginning
from xlm_tf.generation.steps import Steps, first_step, next_step
from xlm_tf.pretrained import TFXLMPreTrainedModel

_TENSORS = (
    "input_ids",
    "attention_mask",
    "langs",
    "lengths",
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_langs",
)
_ARGUMENTS = (
    *_TENSORS,
    "generation_config",
    "src_lang",
    "tgt_lang",
    "encoder_outputs",
    "stopping_criteria",
    "streamer",
)


class GenerationMixin(TFXLMPreTrainedModel):
    """`generate`, for models that say how a call of it begins."""

    _generation_config: Any = None
    _warned: tuple[str, ...] = ()

    @property
    def generation_config(self) -> Any:
        """How the model generates where a call does not say.

        A `GenerationConfig`: what the folder's generation_config.json says, which
        `save_pretrained` writes back.
        """
        if self._generation_config is None:
            self._generation_config = GenerationConfig()
        return self._generation_config

    @generation_config.setter
    def generation_config(self, value: Any) -> None:
        self._generation_config = value

    @classmethod
    def can_generate(cls) -> bool:
        """True: `generate` is there."""
        return True

    # As `call`: graph-ready as it stands.
    @tf.autograph.experimental.do_not_convert
    def generate(
        self,
        input_ids: tf.Tensor | None = None,
        generation_config: Any = None,
        *,
        attention_mask: tf.Tensor | None = None,
        langs: tf.Tensor | None = None,
        lengths: tf.Tensor | None = None,
        src_lang: Any = None,
        tgt_lang: Any = None,
        decoder_input_ids: tf.Tensor | None = None,
        decoder_attention_mask: tf.Tensor | None = None,
        decoder_langs: tf.Tensor | None = None,
        encoder_outputs: Any = None,
        stopping_criteria: Any = None,
        streamer: Any = None,
        **settings: Any,
    ) -> tf.Tensor | GenerateOutput:
        """Continue prompts, or translate sources.

        A causal model predicts what follows each prompt: `</s> words`, without an end. An
        encoder-decoder translates: `</s> words </s>`. A masked model warns, and appends a mask for
        every token, as transformers does. Nothing is dropped out.

        Greedy search and sampling run as one loop in a graph; with beams, callables or
        output_scores, each step is a graph. Inside a `tf.function`, with jit_compile=True too,
        there is the former alone: then rows are as wide as they might be under XLA, and sampling
        wants to know how many there are.

        Args:
            input_ids: integer, shape (batch, sequence): the prompts or sources. Also taken as
                `inputs`, as transformers calls it.
            generation_config: A `GenerationConfig`, this library's or transformers', or a dict:
                counts before the model's own.
            attention_mask: As in `call`; padding may be on either side. Default: from lengths,
                else all that is not config.pad_index.
            langs: integer, shape (batch, sequence): the language of each token; what is generated
                by a language model goes on in the last one.
            lengths: integer, shape (batch,): tokens before the padding on the right.
            src_lang: Language of the sources (or of the prompts): its id or name, or one for each.
            tgt_lang: Language of what is generated, in the same form; of language models also that
                of the prompts, unless src_lang or langs says it.
            decoder_input_ids: integer, shape (batch, target): how translations begin, with their
                first `</s>`. Default: that alone.
            decoder_attention_mask: integer, shape (batch, target): 0 for padding. Default: all
                that is not config.pad_index.
            decoder_langs: integer, shape (batch, target), in place of tgt_lang: one language in
                each row.
            encoder_outputs: What the encoder returned for these sources before.
            stopping_criteria: Callables of (ids, scores) that say which rows end, see `Callables`.
            streamer: Gets tokens as they come, without beams, see `Callables`.
            settings: Fields of `GenerationConfig`, which count before any configuration; None says
                nothing, but for eos_token_id, with which it says that nothing ends early. What
                transformers takes and what changes nothing is accepted.

        Returns:
            int64, shape (batch * num_return_sequences, tokens): for each sentence its sequences,
            which begin with the prompt and are padded after their end; or, with
            return_dict_in_generate, a `GenerateOutput`.

        Raises:
            InputError: For arguments that contradict each other, the model or its positions.
            UnknownArgumentError: For one that is not known, or that cannot be followed.
            GenerationError: Where the scores of the next token are NaN, or rule out every token;
                inside a graph, that row ends with -1.
        """
        if (inputs := settings.pop("inputs", None)) is not None:
            if input_ids is not None:
                raise UnknownArgumentError("generate got input_ids and inputs: give one of them.")
            input_ids = inputs
        tensors = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "langs": langs,
            "lengths": lengths,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "decoder_langs": decoder_langs,
        }
        callables = Callables(stopping_criteria, streamer)
        self._check_matrices()
        beginning = self._beginning(
            {name: _as_tensor(x) for name, x in tensors.items()}
            | {"src_lang": src_lang, "tgt_lang": tgt_lang, "encoder_outputs": encoder_outputs}
        )
        is_eager = hasattr(beginning.prompts, "numpy")
        # Inside a graph, where numbers are not known, rows without padding stand for all.
        whole = np.full(beginning.prompts.shape[0] or 1, beginning.columns or 1, np.int64)
        settled = settle(
            self.config,
            beginning.kind,
            settings,
            own=self.generation_config,
            given=generation_config,
            known=_ARGUMENTS,
            prompts=_numpy(beginning.prompts) if is_eager else whole,
            sources=_numpy(beginning.sources) if is_eager else None,
            draw_seed=_draw_seed,
        )
        callables.check(settled)
        if beginning.warning is not None and beginning.warning not in self._warned:
            self._warned += (beginning.warning,)
            warn(beginning.warning)
        # A tape would keep every step of a loop for a gradient that argmax does not have.
        with record.stop_recording():
            given, begun = beginning.decode(settled.start)
            if not is_eager:
                return self._in_given_graph(beginning, settled, callables, given, begun)
            return self._eagerly(beginning.decoding, settled, callables, given, begun)

    def _eagerly(
        self,
        decoding: type[Decoding],
        settled: Settled,
        callables: Callables,
        given: Tensors,
        begun: tf.Tensor,
    ) -> tf.Tensor | GenerateOutput:
        """Generate, called eagerly."""
        scores = reached = None
        prompt = begun.numpy()
        if settled.num_beams > 1:
            steps = Steps(self, decoding, given, settled)
            generated, reached, scores = generate_beams(steps, settled, prompt, callables)
        elif callables.look_on or settled.output_scores:
            steps = Steps(self, decoding, given, settled)
            generated, scores = generate_rows(steps, settled, prompt, callables)
        else:
            limits, numbers = settled.rows(settled.limits), random_numbers(settled)
            tensors = {
                **given,
                "limits": tf.constant(limits),
                "minimums": tf.constant(settled.rows(settled.minimums)),
                "steps": tf.constant(int(limits.max()), tf.int32),
            }
            if numbers is not None:
                tensors["numbers"] = tf.constant(numbers)
            generated = compiled(
                self,
                "_rows_in_graph",
                tensors,
                steps=int(limits.max()),
                decoding=decoding,
                **_options(settled),
            ).numpy()
            lost = (generated == NO_CHOICE).any(axis=1)
            if lost.any():
                refuse_no_choice(np.flatnonzero(lost))
        copies = len(generated) // settled.sentences
        sequences = tf.constant(np.concatenate((prompt.repeat(copies, axis=0), generated), axis=1))
        if not settled.return_dict_in_generate:
            return sequences
        return GenerateOutput(
            sequences=sequences,
            sequences_scores=None if reached is None else tf.constant(reached),
            scores=None if scores is None else tuple(tf.constant(each) for each in scores),
        )

    def _in_given_graph(
        self,
        beginning: Beginning,
        settled: Settled,
        callables: Callables,
        given: Tensors,
        begun: tf.Tensor,
    ) -> tf.Tensor | GenerateOutput:
        """Generate inside a graph that the caller makes."""
        if settled.num_beams > 1 or callables.look_on or settled.output_scores:
            raise InputError(
                "inside a tf.function, generate is one loop of greedy search or sampling: for "
                "beams, stopping_criteria, a streamer or output_scores, call it outside."
            )
        limits, steps = _limits_in_graph(beginning, settled, self.config.max_position_embeddings)
        if are_traced() and tf.is_tensor(steps):
            raise InputError(
                "the shape of input_ids is not known, and XLA and exports want to know how many "
                "tokens there may be: give max_new_tokens, or input_ids of a known shape."
            )
        rows = begun.shape[0]
        if settled.seed is not None and rows is None:
            raise InputError(
                "do_sample=True draws a number for each row, and inside this graph it is not known "
                "how many there are: give input_ids of a known batch size."
            )
        if settled.seed_is_drawn:
            warn(
                "generate samples inside a tf.function without seed=: its numbers are drawn once, "
                "when the function is traced, so that every call of it gives the same samples. "
                "Call generate outside, or give a seed to say that this is meant."
            )
        prompts = tf.cast(beginning.prompts, tf.int64)
        minimums = tf.maximum(settled.min_length - prompts, settled.min_new_tokens)
        tensors = {
            **given,
            "limits": tf.repeat(limits, settled.copies),
            "minimums": tf.repeat(minimums, settled.copies),
            "steps": steps,
        }
        if settled.seed is not None:
            # For as many steps as any row may take: how many each does is not known here.
            most = self.config.max_position_embeddings
            numbers = uniform_numbers(settled.seed, len(settled.rows(settled.limits)), most)
            tensors["numbers"] = tf.constant(numbers)
        generated = self._rows_in_graph(tensors, decoding=beginning.decoding, **_options(settled))
        sequences = tf.concat((tf.repeat(begun, settled.copies, axis=0), generated), axis=1)
        if not settled.return_dict_in_generate:
            return sequences
        return GenerateOutput(sequences=sequences)

    def _beginning(self, given: Mapping[str, Any]) -> Beginning:
        """How a call of `generate` begins that was given these arguments."""
        raise NotImplementedError

    # -- what graphs are made of ---------------------------------------------------------------

    def _rows_in_graph(
        self, tensors: Tensors, *, decoding: type[Decoding], **options: Any
    ) -> tf.Tensor:
        return generate_rows_in_graph(decoding(self), tensors, steps=tensors["steps"], **options)

    def _first_step(
        self, tensors: Tensors, *, decoding: type[Decoding], **options: Any
    ) -> dict[str, tf.Tensor]:
        return first_step(decoding(self), tensors, **options)

    def _next_step(
        self, tensors: Tensors, *, decoding: type[Decoding], **options: Any
    ) -> dict[str, tf.Tensor]:
        return next_step(decoding(self), tensors, **options)

    # -- files ---------------------------------------------------------------------------------

    @classmethod
    def _from_checkpoint(cls, checkpoint: Checkpoint, *arguments: Any, **options: Any) -> Self:
        opened = super()._from_checkpoint(checkpoint, *arguments, **options)
        opened._read_generation_config(checkpoint.file.parent)
        return opened

    def _read_generation_config(self, folder: Path) -> None:
        """Take what the folder of a checkpoint says about generation."""
        self.generation_config = GenerationConfig.of_folder(folder)

    def save_pretrained(self, folder: Any = None, **options: Any) -> None:
        """Write a folder, as every model, with generation_config.json if it says anything.

        Args:
            folder: As in `TFXLMPreTrainedModel.save_pretrained`.
            options: As there.
        """
        super().save_pretrained(folder, **options)
        config = GenerationConfig.of(self.generation_config)
        if options.get("is_main_process", True) and config.to_dict():
            config.save_pretrained(options.get(PUBLISHED_FOLDER, folder))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the model from."""
        generation = GenerationConfig.of(self.generation_config).to_dict()
        return super().get_config() | ({"generation_config": generation} if generation else {})

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None, **options: Any) -> Self:
        """Make a model with initial values.

        Args:
            config: As in `KerasModel.from_config`.
            custom_objects: Keras' own.
            options: Of the constructor, beside a configuration.
        """
        generation = None
        if isinstance(config, dict) and "config" in config:
            config = dict(config)
            generation = config.pop("generation_config", None)
        model = super().from_config(config, custom_objects, **options)
        if generation is not None:
            model.generation_config = GenerationConfig.from_dict(generation)
        return model


def _as_tensor(x: Any) -> Any:
    """Arrays as tensors; what is neither is refused later."""
    return tf.convert_to_tensor(x) if isinstance(x, np.ndarray) else x


def _numpy(x: tf.Tensor | None) -> Any:
    return None if x is None else x.numpy().astype(np.int64)


def _options(settled: Settled) -> dict[str, Any]:
    """What `generate_rows_in_graph` is told beside tensors."""
    return {
        "rules": ScoreRules.of(settled),
        "copies": settled.copies,
        "pad": settled.pad,
        "closing": settled.closing,
    }


def _limits_in_graph(
    beginning: Beginning, settled: Settled, positions: int
) -> tuple[tf.Tensor, int | tf.Tensor]:
    """How many tokens each sentence may get, int64, shape (sentences,), and the largest of these.

    `settle` says the same of numbers. The largest is a number where one is known.
    """
    prompts = tf.cast(beginning.prompts, tf.int64)
    longest: int | None
    if settled.max_new_tokens is not None:
        lengths = prompts + settled.max_new_tokens
        longest = settled.max_new_tokens
    elif settled.max_length is not None:
        lengths = tf.fill(tf.shape(prompts), tf.cast(settled.max_length, tf.int64))
        longest = settled.max_length - 1
    elif beginning.sources is not None:
        sources = tf.cast(beginning.sources, tf.int64)
        lengths = tf.maximum(sources * 3 // 2 + 10, prompts + 1)
        longest = None
    else:
        # settled.limits goes by the width of the rows, in which only masked models count padding.
        longest = int(settled.limits.max()) if beginning.kind == "masked" else NEW_TOKENS
        lengths = prompts + longest
    limits = tf.minimum(lengths, positions) - prompts
    if longest is None:
        longest = positions - 1 if are_traced() else None
    if not are_traced() or longest is None:
        return limits, tf.cast(tf.reduce_max(limits), tf.int32)
    return limits, min(longest, positions - 1)


def _draw_seed() -> int:
    with tf.init_scope():
        return int(tf.random.uniform((), maxval=2**62, dtype=tf.int64))
