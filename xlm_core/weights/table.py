"""Every tensor of every model, enumerated from the configuration.

Paths are the attribute paths of the modules, the same in both families, without the
`transformer.` stem that heads put before the encoder's. They are the names of the published
PyTorch checkpoints; `xlm_core.weights.names` derives every other spelling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from xlm_core.config import XLMConfig


class Kind(Enum):
    """What a tensor is; decides its name and its orientation in each dialect."""

    EMBEDDING = "embedding"  # (rows, width): looked up by row
    MATRIX = "matrix"  # (outputs, inputs): PyTorch's orientation; Keras stores the transpose
    BIAS = "bias"  # (outputs,)
    NORM_SCALE = "norm scale"  # (width,)
    NORM_SHIFT = "norm shift"  # (width,)


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model.

    Attributes:
        path: Attribute path, e.g. `attentions.0.q_lin.weight`; unique within a model.
        kind: See `Kind`.
        shape: In PyTorch's orientation.
        in_encoder: Part of the encoder (`XLMModel`); else of a head.
        tied_to: Path of the tensor that this one is, physically, or None.
        trainable: False for the sinusoidal table.
        weight_is_tied: True of a bias whose layer has a tied weight, so owns only the bias.
    """

    path: str
    kind: Kind
    shape: tuple[int, ...]
    in_encoder: bool = True
    tied_to: str | None = None
    trainable: bool = True
    weight_is_tied: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


Specs = Iterator[TensorSpec]


def _linear(
    path: str, outputs: int, inputs: int, *, head: bool = False, bias: bool = True
) -> Specs:
    yield TensorSpec(f"{path}.weight", Kind.MATRIX, (outputs, inputs), not head)
    if bias:
        yield TensorSpec(f"{path}.bias", Kind.BIAS, (outputs,), not head)


def _norm(path: str, width: int, *, head: bool = False) -> Specs:
    yield TensorSpec(f"{path}.weight", Kind.NORM_SCALE, (width,), not head)
    yield TensorSpec(f"{path}.bias", Kind.NORM_SHIFT, (width,), not head)


def _encoder(config: XLMConfig) -> Specs:
    width = config.emb_dim
    yield TensorSpec(
        "position_embeddings.weight",
        Kind.EMBEDDING,
        (config.max_position_embeddings, width),
        trainable=not config.sinusoidal_embeddings,
    )
    if config.has_lang_embeddings:
        yield TensorSpec("lang_embeddings.weight", Kind.EMBEDDING, (config.n_langs, width))
    yield TensorSpec("embeddings.weight", Kind.EMBEDDING, (config.vocab_size, width))
    yield from _norm("layer_norm_emb", width)
    for layer in range(config.n_layers):
        inner = len(config.heads_of(layer)) * config.head_dim
        for name in ("q_lin", "k_lin", "v_lin"):
            yield from _linear(f"attentions.{layer}.{name}", inner, width)
        yield from _linear(f"attentions.{layer}.out_lin", width, inner)
    for layer in range(config.n_layers):
        yield from _norm(f"layer_norm1.{layer}", width)
    for layer in range(config.n_layers):
        yield from _linear(f"ffns.{layer}.lin1", 4 * width, width)
        yield from _linear(f"ffns.{layer}.lin2", width, 4 * width)
    for layer in range(config.n_layers):
        yield from _norm(f"layer_norm2.{layer}", width)


def _pred_layer(config: XLMConfig) -> Specs:
    width, vocabulary = config.emb_dim, config.vocab_size
    if not config.asm:
        tied_to = "embeddings.weight" if config.ties_output else None
        yield TensorSpec("pred_layer.proj.weight", Kind.MATRIX, (vocabulary, width), False, tied_to)
        bias = "pred_layer.proj.bias"
        yield TensorSpec(bias, Kind.BIAS, (vocabulary,), False, weight_is_tied=config.ties_output)
        return
    cutoffs = config.asm_cutoffs or []
    yield from _linear("pred_layer.proj.head", cutoffs[0] + len(cutoffs), width, head=True)
    for index, (low, high) in enumerate(zip(cutoffs, [*cutoffs[1:], vocabulary], strict=True)):
        narrow = int(width // config.asm_div_value ** (index + 1))
        tail = f"pred_layer.proj.tail.{index}"
        yield from _linear(f"{tail}.0", narrow, width, head=True, bias=False)
        yield from _linear(f"{tail}.1", high - low, narrow, head=True, bias=False)


def _sequence_summary(config: XLMConfig) -> Specs:
    if config.summary_use_proj:
        summary = "sequence_summary.summary"
        yield from _linear(summary, config.summary_width, config.emb_dim, head=True)


def _multiple_choice(config: XLMConfig) -> Specs:
    yield from _sequence_summary(config)
    yield from _linear("logits_proj", 1, config.num_labels, head=True)


def _token_classifier(config: XLMConfig) -> Specs:
    yield from _linear("classifier", config.num_labels, config.emb_dim, head=True)


def _simple_answering(config: XLMConfig) -> Specs:
    yield from _linear("qa_outputs", config.num_labels, config.emb_dim, head=True)


def _beam_answering(config: XLMConfig) -> Specs:
    width = config.emb_dim
    yield from _linear("qa_outputs.start_logits.dense", 1, width, head=True)
    yield from _linear("qa_outputs.end_logits.dense_0", width, 2 * width, head=True)
    yield from _norm("qa_outputs.end_logits.LayerNorm", width, head=True)
    yield from _linear("qa_outputs.end_logits.dense_1", 1, width, head=True)
    yield from _linear("qa_outputs.answer_class.dense_0", width, 2 * width, head=True)
    yield from _linear("qa_outputs.answer_class.dense_1", 1, width, head=True, bias=False)


# Class name (transformers' PyTorch name, also what config.json calls it) -> its head's tensors.
ARCHITECTURES: dict[str, Callable[[XLMConfig], Specs]] = {
    "XLMModel": lambda config: iter(()),
    "XLMWithLMHeadModel": _pred_layer,
    "XLMForSequenceClassification": _sequence_summary,
    "XLMForMultipleChoice": _multiple_choice,
    "XLMForTokenClassification": _token_classifier,
    "XLMForQuestionAnsweringSimple": _simple_answering,
    "XLMForQuestionAnswering": _beam_answering,
}


# The original's translation models: two encoders with their output layers, of which the second
# attends to the first. transformers has no such class.
ENCODER_DECODER = "XLMForConditionalGeneration"
PARTS: tuple[Literal["encoder"], Literal["decoder"]] = ("encoder", "decoder")


def _encoder_decoder(config: XLMConfig) -> Specs:
    for part in PARTS:
        own = config.part(part)
        for spec in (*_encoder(own), *_pred_layer(own)):
            tied_to = f"{part}.{spec.tied_to}" if spec.tied_to else None
            yield replace(spec, path=f"{part}.{spec.path}", in_encoder=False, tied_to=tied_to)
    width = config.emb_dim
    for layer in range(config.part("decoder").n_layers):
        yield from _norm(f"decoder.layer_norm15.{layer}", width, head=True)
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            yield from _linear(f"decoder.encoder_attn.{layer}.{name}", width, width, head=True)


def tensors_of(config: XLMConfig, architecture: str = "XLMModel") -> tuple[TensorSpec, ...]:
    """All tensors of a model, tied ones included, in the order of the published state_dict.

    Args:
        config: The configuration.
        architecture: A key of `ARCHITECTURES`, or `ENCODER_DECODER`: there, paths begin with
            "encoder." or "decoder.".
    """
    if architecture == ENCODER_DECODER:
        return tuple(_encoder_decoder(config))
    head = tuple(ARCHITECTURES[architecture](config))
    return (*_encoder(config), *head)
