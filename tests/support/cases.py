"""Random configurations, batches and labels as numpy arrays, each determined by a seed.

Only what every framework and transformers can run: where transformers is wrong (padding under
causal attention, chunks that do not divide the sequence, pruned heads with a head mask, ...), no
case is drawn, and tests of their own say what is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xlm_core import XLMConfig
from xlm_core.heads import problem_type_of
from xlm_core.positions import sinusoidal_table
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER, PARTS, Kind, tensors_of

Array = np.ndarray[Any, Any]
PADDINGS = ("right", "left", "full", "lengths", "scattered", "ids")
SUMMARY_ACTIVATIONS = (None, "tanh", "relu", "gelu", "sigmoid", "silu", "gelu_new", "leaky_relu")


@dataclass(frozen=True)
class Case:
    """A model and what to call it with.

    Attributes:
        seed: It and `architecture` determine everything.
        architecture: transformers' PyTorch class name.
        config: Keyword arguments of a configuration, in names that transformers knows too.
        batch: Argument name -> array, integer or float64, without labels.
        labels: Argument name -> array of the arguments that ask for a loss; maybe empty.
        tokens: bool, shape (rows, sequence): False for padding, as the model should see it.
    """

    seed: int
    architecture: str
    config: dict[str, Any]
    batch: dict[str, Array]
    labels: dict[str, Array] = field(default_factory=dict)
    tokens: Array = field(default_factory=lambda: np.ones((1, 1), bool))

    def xlm_config(self, **overrides: Any) -> XLMConfig:
        """A new configuration of this project."""
        return XLMConfig(**{**self.config, **overrides})

    @property
    def rng(self) -> np.random.Generator:
        """A generator for the weights, the same at each use."""
        return np.random.default_rng([self.seed, 1])


def random_case(
    seed: int,
    architecture: str | None = None,
    *,
    for_transformers: bool = True,
    **config_overrides: Any,
) -> Case:
    """The case of `seed`.

    Args:
        seed: Determines everything else.
        architecture: Without one, seeds walk through all of them.
        for_transformers: Leave out what transformers gets wrong; False for comparing the
            families with each other.
        config_overrides: Fields of the configuration to set.
    """
    names = tuple(ARCHITECTURES)
    architecture = architecture or names[seed % len(names)]
    if architecture == ENCODER_DECODER:
        return _translation_case(seed, config_overrides)
    rng = np.random.default_rng([seed, 0])
    batch, sequence = int(rng.integers(1, 5)), int(rng.integers(6, 12))
    config = {**random_config(rng, architecture, sequence), **config_overrides}
    if not for_transformers:
        config["chunk_size_feed_forward"] = int(rng.choice([0, 2, 4]))
    xlm_config = XLMConfig(**config)
    rows = batch * (choices := 3 if architecture == "XLMForMultipleChoice" else 1)
    causal_paddings = ("right", "full", "lengths", "ids")
    limited = xlm_config.causal and for_transformers
    padding = str(rng.choice(causal_paddings if limited else PADDINGS))
    tensors, tokens = random_batch(rng, xlm_config, rows, sequence, padding)
    if not for_transformers and rng.random() < 0.3:
        tensors["head_mask"] = rng.random((xlm_config.n_layers, xlm_config.n_heads))
    if choices > 1:
        if "lengths" in tensors and not for_transformers:
            tensors["lengths"] = tensors["lengths"].reshape(batch, choices)
        elif "lengths" in tensors:  # transformers drops them here
            del tensors["lengths"]
            tensors["attention_mask"] = tokens.astype(np.int64)
        tensors = {
            name: array
            if name in ("head_mask", "lengths")
            else array.reshape(batch, choices, *array.shape[1:])
            for name, array in tensors.items()
        }
    labels = random_labels(rng, xlm_config, architecture, batch, sequence, tokens)
    if architecture == "XLMForQuestionAnswering" and rng.random() < 0.5:
        tensors |= _answer_hints(rng, xlm_config, batch, sequence)
    return Case(seed, architecture, config, tensors, labels, tokens)


def _translation_case(seed: int, config_overrides: dict[str, Any]) -> Case:
    """A case of an encoder-decoder, which transformers cannot run."""
    rng = np.random.default_rng([seed, 0])
    rows, lengths = int(rng.integers(1, 5)), rng.integers(6, 12, 2)
    config = {
        **random_config(rng, "XLMModel", int(max(lengths))),
        "pruned_heads": {},
        "causal": False,
        "is_encoder_decoder": True,
        "is_encoder": False,
        "encoder_layers": int(rng.integers(1, 4)),
        "decoder_layers": int(rng.integers(1, 4)),
        "chunk_size_feed_forward": int(rng.choice([0, 0, 0, 4])),
        **config_overrides,
    }
    tensors: dict[str, Array] = {}
    labels: dict[str, Array] = {}
    for part, sequence in zip(PARTS, map(int, lengths), strict=True):
        xlm_config = XLMConfig(**config).part(part)
        padding = str(rng.choice(PADDINGS if part == "encoder" else ("right", "full", "ids")))
        batch, tokens = random_batch(rng, xlm_config, rows, sequence, padding)
        batch.pop("token_type_ids", None)
        stem = "" if part == "encoder" else "decoder_"
        tensors |= {stem + name: array for name, array in batch.items()}
        if part == "decoder":
            labels = random_labels(rng, xlm_config, "XLMWithLMHeadModel", rows, sequence, tokens)
    if rng.random() < 0.5:  # read from the labels
        for name in ("input_ids", "inputs_embeds", "attention_mask"):
            tensors.pop(f"decoder_{name}", None)
    return Case(seed, ENCODER_DECODER, config, tensors, labels, tokens)


def random_config(rng: np.random.Generator, architecture: str, sequence: int) -> dict[str, Any]:
    """Keyword arguments of a small configuration, its sizes all different or, rarely, all equal."""
    n_heads = int(rng.choice([1, 2, 3, 4]))
    width = n_heads * int(rng.choice([4, 5, 6, 7]))
    n_langs = int(rng.choice([1, 2, 15]))
    labels = int(rng.choice([1, 2, 3, 5]))
    taken = {width, 4 * width, n_langs, labels}
    vocabulary = _unlike(rng, taken, 40, 90)
    positions = _unlike(rng, taken | {vocabulary}, sequence, 39)
    if rng.random() < 0.2:  # square tables: a shape cannot reveal a missing transpose
        n_heads, width = 2, 24
        vocabulary = positions = labels = width
    layers = int(rng.integers(1, 4))
    asm = architecture == "XLMWithLMHeadModel" and bool(rng.random() < 0.35)
    config: dict[str, Any] = {
        "vocab_size": vocabulary,
        "emb_dim": width,
        "n_layers": layers,
        "n_heads": n_heads,
        "max_position_embeddings": positions,
        "n_langs": n_langs,
        "use_lang_emb": bool(rng.random() < 0.8),
        "causal": bool(rng.random() < 0.3),
        "sinusoidal_embeddings": bool(rng.random() < 0.3),
        "gelu_activation": bool(rng.random() < 0.6),
        "asm": asm,
        "tie_word_embeddings": not asm and bool(rng.random() < 0.6),
        "layer_norm_eps": float(rng.choice([1e-12, 1e-5])),
        "pad_index": int(rng.choice([2, 0, 7])),
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "summary_type": str(rng.choice(["first", "last", "mean", "cls_index"])),
        "summary_activation": rng.choice(np.array(SUMMARY_ACTIVATIONS, object)),
        "num_labels": 2 if architecture == "XLMForQuestionAnsweringSimple" else labels,
        "start_n_top": int(rng.integers(1, 4)),
        "end_n_top": int(rng.integers(1, 4)),
        "chunk_size_feed_forward": int(rng.choice([0, 0, 1, sequence])),
    }
    if asm:
        first = int(rng.integers(6, 12))
        config |= {"asm_cutoffs": [first, first + 10], "asm_div_value": float(rng.choice([1, 2]))}
    if n_heads > 1 and rng.random() < 0.3:
        pruned = rng.choice(n_heads, size=int(rng.integers(1, n_heads)), replace=False)
        config["pruned_heads"] = {int(rng.integers(layers)): sorted(map(int, pruned))}
    if architecture == "XLMForSequenceClassification":
        kind = rng.choice(
            ["regression", "single_label_classification", "multi_label_classification", None]
        )
        config["problem_type"] = None if kind is None else str(kind)
        if rng.random() < 0.15 and kind is None:  # a summary without labels: logits, no loss
            config["summary_proj_to_labels"] = False
            config["summary_use_proj"] = bool(rng.random() < 0.5)
    return config


def _unlike(rng: np.random.Generator, taken: set[int], low: int, high: int) -> int:
    return int(rng.choice([size for size in range(low, high + 1) if size not in taken]))


def random_batch(
    rng: np.random.Generator, config: XLMConfig, rows: int, sequence: int, padding: str
) -> tuple[dict[str, Array], Array]:
    """The arguments of `XLMModel`, and which positions are tokens.

    Args:
        rng: The source of chance.
        config: For the ranges.
        rows, sequence: Shape of input_ids.
        padding: "right" or "left" with an attention_mask, "full" rows, "lengths" instead of a
            mask, "scattered": a mask with gaps, or "ids": only input_ids show the padding.
    """
    ids = _not_padding(rng, config, (rows, sequence))
    lengths = rng.integers(1, sequence + 1, rows)
    lengths[rng.integers(rows)] = sequence
    if rows > 1:
        lengths[int(np.argmin(lengths))] = 1
    places = np.arange(sequence)
    tokens = np.ones((rows, sequence), bool)
    if padding == "left":
        tokens = places >= sequence - lengths[:, None]
    elif padding == "scattered":
        tokens = rng.random((rows, sequence)) < 0.7
        tokens[:, 0] = True
    elif padding != "full":
        tokens = places < lengths[:, None]
    ids[~tokens] = config.pad_index
    batch: dict[str, Array] = {}
    if padding == "lengths":
        batch["lengths"] = lengths.astype(np.int64)
    elif padding not in ("full", "ids"):
        batch["attention_mask"] = tokens.astype(np.int64)
    if config.n_langs > 1 or rng.random() < 0.2:
        batch["langs"] = rng.integers(0, config.n_langs, (rows, sequence))
    if rng.random() < 0.3:
        batch["token_type_ids"] = rng.integers(0, 2, (rows, sequence))
    if rng.random() < 0.3:
        limit = config.max_position_embeddings
        batch["position_ids"] = rng.integers(0, limit, (rows, sequence))
    if not config.pruned_heads and rng.random() < 0.3:
        layered = rng.random() < 0.5
        shape = (config.n_layers, config.n_heads) if layered else (config.n_heads,)
        batch["head_mask"] = (rng.random(shape) < 0.7).astype(np.float64)
    if padding != "ids" and rng.random() < 0.25:
        batch["inputs_embeds"] = rng.normal(size=(rows, sequence, config.emb_dim))
    else:
        batch["input_ids"] = ids
    return batch, tokens


def _not_padding(rng: np.random.Generator, config: XLMConfig, shape: tuple[int, ...]) -> Array:
    ids = rng.integers(0, config.vocab_size - 1, shape)
    return np.where(ids >= config.pad_index, ids + 1, ids)


def random_labels(
    rng: np.random.Generator,
    config: XLMConfig,
    architecture: str,
    batch: int,
    sequence: int,
    tokens: Array,
) -> dict[str, Array]:
    """What asks the head of `architecture` for a loss; empty for a model that has none."""
    classes = config.num_labels
    if architecture in ("XLMWithLMHeadModel", "XLMForTokenClassification"):
        limit = config.vocab_size if architecture == "XLMWithLMHeadModel" else classes
        labels = rng.integers(0, limit, (batch, sequence))
        labels[rng.random(labels.shape) < 0.4] = -100
        labels[0, 0] = limit - 1
        return {"labels": labels}
    if architecture == "XLMForMultipleChoice":
        return {"labels": rng.integers(0, 3, batch)}
    if architecture == "XLMForSequenceClassification":
        if config.summary_width != classes:
            return {}
        integers = bool(rng.random() < 0.5)
        problem = problem_type_of(config, "integer" if integers else "float")
        if problem == "single_label_classification":
            return {"labels": rng.integers(0, classes, batch)}
        if problem == "regression":
            return {"labels": rng.normal(size=(batch, classes) if classes > 1 else batch)}
        return {"labels": (rng.random((batch, classes)) < 0.5).astype(np.float64)}
    if architecture == "XLMForQuestionAnsweringSimple":
        beyond = sequence + 3  # such a position does not count
        start, end = rng.integers(-1, beyond, batch), rng.integers(-1, beyond, batch)
        start[0], end[0] = rng.integers(0, sequence, 2)
        return {"start_positions": start, "end_positions": end}
    if architecture == "XLMForQuestionAnswering":
        labels = {name: rng.integers(0, sequence, batch) for name in _SPAN}
        if rng.random() < 0.6:
            labels["cls_index"] = rng.integers(0, sequence, batch)
            labels["is_impossible"] = (rng.random(batch) < 0.5).astype(np.float64)
        return labels
    return {}


_SPAN = ("start_positions", "end_positions")


def _answer_hints(
    rng: np.random.Generator, config: XLMConfig, batch: int, sequence: int
) -> dict[str, Array]:
    """p_mask that leaves enough positions for the beams; excluded ones would be one long tie."""
    p_mask = (rng.random((batch, sequence)) < 0.5).astype(np.float64)
    p_mask[:, : max(config.start_n_top, config.end_n_top)] = 0
    return {"p_mask": p_mask}


def random_weights(
    config: XLMConfig, architecture: str, rng: np.random.Generator
) -> dict[str, Array]:
    """Path -> float64 array for every tensor that is not tied to another.

    Biases, norms and the padding row are random too: zeros and ones would hide errors. All values
    are float32 numbers, so that both dtypes hold the same model.
    """
    weights: dict[str, Array] = {}
    for spec in tensors_of(config, architecture):
        if spec.tied_to is not None:
            continue
        if not spec.trainable:
            array: Array = sinusoidal_table(*spec.shape)
        elif spec.kind is Kind.MATRIX:
            array = rng.normal(size=spec.shape) * 1.5 / np.sqrt(spec.shape[1])
        elif spec.kind is Kind.NORM_SCALE:
            array = 1 + 0.3 * rng.normal(size=spec.shape)
        else:
            array = rng.normal(size=spec.shape) * (1 if spec.kind is Kind.EMBEDDING else 0.5)
        weights[spec.path] = array.astype(np.float32).astype(np.float64)
    return weights
