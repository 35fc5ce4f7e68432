"""The models, their batches, and the calls of each."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]

IGNORED = -100
SMALL = {
    "vocab_size": 83,
    "emb_dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "max_position_embeddings": 29,
    "n_langs": 3,
    "start_n_top": 3,
    "end_n_top": 2,
}
# Fast paths want matrices of 512 x 512.
WIDE = SMALL | {
    "vocab_size": 701,
    "emb_dim": 512,
    "n_heads": 8,
    "max_position_embeddings": 64,
}
ADAPTIVE = {"asm": True, "tie_word_embeddings": False, "asm_div_value": 2.0}


@dataclass(frozen=True)
class Model:
    """A model that is called.

    Attributes:
        name: Of the model, in the names of results.
        architecture: transformers' PyTorch class name.
        config: Arguments of XLMConfig.
        wide: Whether it is large enough for every fast path.
    """

    name: str
    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    wide: bool = False


@dataclass(frozen=True)
class Case:
    """One call of a model, or a few that belong together.

    Attributes:
        model: What is called.
        dtype: float32, float64 or bfloat16.
        batch: Key of `BATCHES`.
        call: What is done; the families' files say how.
    """

    model: Model
    dtype: str
    batch: str
    call: str

    @property
    def name(self) -> str:
        """Unique; `float64` in place of the dtype names the case that judges this one."""
        return "/".join((self.model.name, self.dtype, self.batch, self.call))


def models() -> Iterator[Model]:
    """All models, the small ones first."""
    for wide in (False, True):
        base, size = (WIDE, "wide") if wide else (SMALL, "small")
        cutoffs = {"asm_cutoffs": [100, 300] if wide else [20, 50]}
        classes: dict[str, tuple[str, dict[str, Any]]] = {
            "encoder": ("XLMModel", {}),
            "encoder, relu": ("XLMModel", {"gelu_activation": False}),
            "encoder, causal": ("XLMModel", {"causal": True}),
            "language model": ("XLMWithLMHeadModel", {}),
            "language model, untied": ("XLMWithLMHeadModel", {"tie_word_embeddings": False}),
            "language model, adaptive": ("XLMWithLMHeadModel", ADAPTIVE | cutoffs),
            "sequence": ("XLMForSequenceClassification", {"num_labels": 3}),
        }
        if not wide:
            classes |= {
                "encoder, pruned": ("XLMModel", {"pruned_heads": {0: [1]}}),
                "encoder, sinusoidal": ("XLMModel", {"sinusoidal_embeddings": True}),
                "encoder, chunks": ("XLMModel", {"chunk_size_feed_forward": 5}),
                "encoder, one language": ("XLMModel", {"n_langs": 1}),
                "language model, causal": ("XLMWithLMHeadModel", {"causal": True}),
                "tokens": ("XLMForTokenClassification", {"num_labels": 5}),
                "span": ("XLMForQuestionAnsweringSimple", {}),
                "sequence, last": (
                    "XLMForSequenceClassification",
                    {"num_labels": 1, "summary_type": "last", "summary_activation": "tanh"},
                ),
                "sequence, mean": (
                    "XLMForSequenceClassification",
                    {
                        "num_labels": 4,
                        "summary_type": "mean",
                        "problem_type": "multi_label_classification",
                    },
                ),
                "choice": ("XLMForMultipleChoice", {}),
                "beams": ("XLMForQuestionAnswering", {}),
            }
        for name, (architecture, config) in classes.items():
            yield Model(f"{size} {name}", architecture, base | config, wide)


def cases(family: str) -> Iterator[Case]:
    """All cases of a family, those of one model together."""
    for model in models():
        for dtype in ("float32", "float64", "bfloat16"):
            for batch, calls in _plan(model, dtype, family):
                for call in calls:
                    yield Case(model, dtype, batch, call)


def _plan(model: Model, dtype: str, family: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The batches of a model in a dtype, and what is called with each."""
    has_vocabulary = model.architecture == "XLMWithLMHeadModel"
    is_encoder = model.architecture == "XLMModel"
    is_causal = bool(model.config.get("causal"))
    is_first = model.name.endswith((" encoder", " language model"))
    # Each call of a wide model in TensorFlow makes a graph, which takes a second.
    is_slow = family == "tf" and model.wide
    if dtype == "bfloat16":
        if is_first:
            yield "right", ("eval", "gradient", "int8", *(("attentions",) if is_encoder else ()))
            yield "full", ("eval",)
        return
    core: tuple[str, ...] = ("eval", "gradient")
    if has_vocabulary:
        core = ("eval", "labels", "gradient", "loss alone", "gradient of loss alone")
    elif not is_encoder:
        core = ("eval", "labels", "gradient")
    outputs = ("attentions", "hidden states")
    yield "full", core + (outputs if is_first else ())
    yield "right", (*core, "dropout")
    if not model.wide or is_encoder:
        yield "right", (*outputs, "head mask")
    if not model.wide or is_first:
        yield "left", core + (outputs if is_first else ())
    if is_first or (is_causal and not is_slow):
        yield "right", ("formulas", "gradient by formulas")
        yield "right", ("dropout, recomputed", "gradient, recomputed", "int8", "int8 weights")
        yield "everything", core
    if is_first and not is_slow:
        yield "right", ("hidden states, dropout", "gradient through all outputs")
        yield from ((batch, core) for batch in ("ids", "lengths", "embeds", "scattered", "one row"))
    if model.wide and is_first:
        yield "large", (*core, "int8")
        if family == "torch":
            yield "full", ("packed",)
            yield "right", ("packed",)
            yield "large", ("packed",)
    if is_causal:
        yield "full", ("cache", "foreign cache", "gradient through a cache")
        yield "left", ("cache", "cache, attentions")
    if is_first or model.name.endswith(("adaptive", " sequence")):
        yield "right", ("steps of an optimizer",)
        if family == "tf":
            yield "right", ("in a function", "gradient in a function")
            yield "full", ("by XLA",)
        else:
            yield "right", ("second derivatives",)


# -- arrays ----------------------------------------------------------------------------------------


def generator(*names: str) -> np.random.Generator:
    """The source of chance for what these names say."""
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])


def batch_of(case: Case) -> Arrays:
    """The tensors of a call without labels: integers, and float64."""
    model, kind = case.model, case.batch
    config = model.config
    rng = generator("batch", model.name, kind)
    batch, sequence = {
        (False, "large"): (9, 19),
        (True, "large"): (16, 40),
        (False, "one row"): (1, 11),
        (True, "one row"): (1, 11),
    }.get((model.wide, kind), (4, 40) if model.wide else (4, 13))
    choices = 3 if model.architecture == "XLMForMultipleChoice" else 1
    rows = batch * choices
    ids = rng.integers(6, config["vocab_size"], (rows, sequence))
    lengths = rng.integers(1, sequence + 1, rows)
    lengths[0] = sequence
    places = np.arange(sequence)
    tokens = np.ones((rows, sequence), bool)
    if kind == "left":
        tokens = places >= sequence - lengths[:, None]
    elif kind == "scattered":
        tokens = rng.random((rows, sequence)) < 0.7
        tokens[:, 0] = True
    elif kind not in ("full", "one row"):
        tokens = places < lengths[:, None]
    arrays: Arrays = {"input_ids": np.where(tokens, ids, 2)}
    if kind == "lengths":
        arrays["lengths"] = lengths
    elif kind not in ("full", "ids", "one row"):
        arrays["attention_mask"] = tokens.astype(np.int64)
    if config["n_langs"] > 1 and kind != "ids":
        arrays["langs"] = rng.integers(0, config["n_langs"], (rows, sequence))
    if kind == "everything":
        arrays["token_type_ids"] = rng.integers(0, 2, (rows, sequence))
        limit = config["max_position_embeddings"]
        arrays["position_ids"] = rng.integers(0, limit, (rows, sequence))
    if kind == "embeds":
        del arrays["input_ids"]
        arrays["inputs_embeds"] = rng.standard_normal((rows, sequence, config["emb_dim"]))
    if choices > 1:
        arrays = {
            name: array.reshape(batch, choices, *array.shape[1:]) for name, array in arrays.items()
        }
    return arrays


def head_mask_of(case: Case) -> Arrays:
    """A mask for every layer that silences some heads and weakens others."""
    config = case.model.config
    shape = (config["n_layers"], config["n_heads"])
    return {"head_mask": generator("head mask", case.model.name).random(shape).round(1)}


def labels_of(case: Case, arrays: Arrays) -> Arrays:
    """What asks a head for a loss; nothing for the encoder."""
    model = case.model
    rng = generator("labels", model.name, case.batch)
    leading = arrays["input_ids"] if "input_ids" in arrays else arrays["inputs_embeds"]
    batch, sequence = leading.shape[0], leading.shape[1]
    classes = model.config.get("num_labels", 2)
    match model.architecture:
        case "XLMWithLMHeadModel" | "XLMForTokenClassification":
            is_vocabulary = model.architecture == "XLMWithLMHeadModel"
            limit = model.config["vocab_size"] if is_vocabulary else classes
            labels = rng.integers(0, limit, (batch, sequence))
            labels[rng.random(labels.shape) < 0.7] = IGNORED
            labels[0, 0] = limit - 1
            return {"labels": labels}
        case "XLMForMultipleChoice":
            return {"labels": rng.integers(0, 3, batch)}
        case "XLMForSequenceClassification":
            if model.config.get("problem_type"):
                return {"labels": (rng.random((batch, classes)) < 0.5).astype(np.float64)}
            if classes == 1:
                return {"labels": rng.standard_normal(batch)}
            return {"labels": rng.integers(0, classes, batch)}
        case "XLMForQuestionAnsweringSimple":
            return {
                name: rng.integers(0, sequence + 2, batch)
                for name in ("start_positions", "end_positions")
            }
        case "XLMForQuestionAnswering":
            names = ("start_positions", "end_positions", "cls_index")
            labels_of_span: Arrays = {name: rng.integers(0, sequence, batch) for name in names}
            return labels_of_span | {"is_impossible": (rng.random(batch) < 0.5).astype(np.float64)}
        case _:
            return {}
