"""What Keras' sample_weight and class_weight do to the loss of each head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError
from xlm_core.heads import problem_type_of
from xlm_core.inputs import DtypeKind
from xlm_core.weights import ENCODER_DECODER
from xlm_tf.losses import (
    at_least_float32,
    cross_entropies,
    mean_of_counted,
    negative_log_likelihoods,
)

SPANS = ("XLMForQuestionAnsweringSimple", "XLMForQuestionAnswering")
TOKENS = ("XLMWithLMHeadModel", "XLMForTokenClassification", ENCODER_DECODER)


def weighted_loss(
    model: Any, output: Mapping[str, Any], labels: Mapping[str, Any], weights: Any
) -> tf.Tensor:
    """The loss of a head, each label's multiplied by its weight; the mean is over labels.

    So weights of 1 give the loss that the model itself returns, as in Keras.

    Args:
        model: A model with a head.
        output: What it returned: logits, for `XLMForQuestionAnswering` hidden_states.
        labels: Arguments of its `call`, by name.
        weights: number, shape (batch,) or (batch, 1); for heads of tokens also (batch, sequence).
            None: all 1. Of a dictionary or a sequence of labels, Keras makes the same of weights.

    Raises:
        InputError: For weights of another shape.
    """
    if model.architecture in SPANS:
        losses = _span_losses(model, output, labels)
    else:
        losses = [_label_losses(model, output["logits"], labels["labels"])]
    total = [
        mean_of_counted(each * tf.cast(_fitting(given, each), each.dtype), counted)
        for (each, counted), given in zip(losses, _of_parts(weights), strict=False)
    ]
    loss = tf.add_n(total[:2]) / 2 if len(total) > 1 else total[0]
    return loss + 0.5 * total[2] if len(total) > 2 else loss


def class_weights_of(
    model: Any, labels: Any, class_weight: tuple[tuple[int, float], ...], *, own_loss: bool
) -> tf.Tensor:
    """The weight of each label, by its class; 1 for classes that have none.

    Args:
        model: A model with a head.
        labels: Its labels: an array, or arguments of its `call` by name.
        class_weight: Classes and their weights.
        own_loss: Whether the loss is the model's own, and no loss of Keras.

    Returns:
        float32, shape (batch,) or (batch, sequence).

    Raises:
        InputError: For labels that are no classes, and classes that the model does not have.
    """
    if isinstance(labels, Mapping):
        labels = labels.get("labels")
    if model.architecture in SPANS or labels is None:
        raise InputError("class_weight needs labels that are classes; this call has none.")
    labels = tf.convert_to_tensor(labels)
    rank = 2 if model.architecture in TOKENS else 1
    if labels.shape.rank == rank + 1 and labels.shape[-1] == 1:
        labels = tf.squeeze(labels, axis=-1)
    one_hot = labels.shape.rank == rank + 1 and not own_loss
    if own_loss and not _are_classes(model, labels):
        raise InputError(
            "class_weight needs labels that are classes, one integer each: these are targets of a "
            "regression or of independent labels (config.problem_type)."
        )
    highest = max((each for each, _ in class_weight), default=0)
    classes = _classes(model) if own_loss else None
    if classes is not None and highest >= classes:
        raise InputError(
            f"class_weight names the class {highest}: expected classes in [0, {classes})."
        )
    table = [1.0] * (highest + 2)  # the last for all classes beyond
    for each, weight in class_weight:
        table[each] = weight
    places = tf.cast(tf.argmax(labels, axis=-1) if one_hot else labels, tf.int32)
    beyond = (places < 0) | (places > highest)
    return tf.gather(tf.constant(table, tf.float32), tf.where(beyond, len(table) - 1, places))


def checked_class_weight(class_weight: Any) -> tuple[tuple[int, float], ...] | None:
    """Keras' class_weight as pairs.

    Raises:
        InputError: Unless it is a dictionary from classes to numbers.
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        raise InputError(
            f"class_weight is a {type(class_weight).__name__}: expected a dictionary from classes "
            "(integers) to weights."
        )
    try:
        pairs = {int(each): float(weight) for each, weight in class_weight.items()}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"class_weight is {class_weight!r}: expected integers, each with a number."
        ) from error
    if any(each < 0 for each in pairs):
        raise InputError(f"class_weight names the class {min(pairs)}: classes begin at 0.")
    return tuple(sorted(pairs.items()))


def multiplied(weights: Any, others: tf.Tensor) -> tf.Tensor:
    """Weights of samples times weights of labels, in the shape of the latter."""
    if weights is None:
        return others
    return others * tf.cast(_fitting(weights, others), others.dtype)


def _of_parts(weights: Any) -> list[Any]:
    """Weights of what a loss consists of: of labels; or of starts, ends and answerability."""
    if isinstance(weights, Mapping):
        outputs = {"start_logits": "start_positions", "end_logits": "end_positions"}
        named = {outputs.get(name, name): value for name, value in weights.items()}
        if len(named) == 1:
            return list(named.values())
        if {"start_positions", "end_positions"} <= named.keys():
            start, end = named["start_positions"], named["end_positions"]
            return [start, end, named.get("is_impossible", start)]
    elif isinstance(weights, (list, tuple)) and len(weights) in (1, 2):
        return [*weights, weights[0]]
    return [weights] * 3


def _fitting(weights: Any, losses: tf.Tensor) -> tf.Tensor:
    """`weights` as something that multiplies `losses`, label by label."""
    if weights is None:
        return tf.ones_like(losses)
    if isinstance(weights, (Mapping, list, tuple)):
        raise InputError(
            f"sample_weight is a {type(weights).__name__}: expected one array, of shape (batch,)."
        )
    weights = tf.convert_to_tensor(weights)
    shape, rank = weights.shape, losses.shape.rank
    if shape.rank is None:  # of calls with columns and without, Keras makes one graph
        rows = tf.shape(losses)[:1]
        width = tf.size(weights) // tf.maximum(rows, 1)
        weights = tf.reshape(weights, rows if rank == 1 else tf.concat([rows, width], axis=0))
        return weights
    if shape.rank == rank + 1 and shape[-1] == 1:
        weights = tf.squeeze(weights, axis=-1)
    elif rank == 2 and shape.rank == 1:
        weights = tf.expand_dims(weights, 1)
    expected = losses.shape.as_list()
    broadcast = [*expected[:1], 1]
    if not any(
        weights.shape.is_compatible_with(each)
        for each in ([expected, broadcast] if rank == 2 else [expected])
    ):
        raise InputError(
            f"sample_weight has shape {tuple(shape)}: expected (batch,)"
            + (" or (batch, sequence)" if rank == 2 else "")
            + f", the labels have {tuple(expected)}."
        )
    return weights


def _classes(model: Any) -> int | None:
    config: XLMConfig = model.config
    if model.architecture == "XLMWithLMHeadModel":
        return config.vocab_size
    return None if model.architecture == "XLMForMultipleChoice" else config.num_labels


def _kind(labels: tf.Tensor) -> DtypeKind:
    if labels.dtype == tf.bool:
        return "bool"
    return "float" if labels.dtype.is_floating else "integer"


def _are_classes(model: Any, labels: tf.Tensor) -> bool:
    kind = _kind(labels)
    if model.architecture == "XLMForSequenceClassification":
        return problem_type_of(model.config, kind) == "single_label_classification"
    return kind == "integer"


def _label_losses(model: Any, logits: tf.Tensor, labels: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss of each label, and which count."""
    labels, logits = tf.convert_to_tensor(labels), at_least_float32(logits)
    rank = 2 if model.architecture in TOKENS else 1
    if labels.shape.rank == rank + 1 and labels.shape[-1] == 1:
        labels = tf.squeeze(labels, axis=-1)
    if _are_classes(model, labels):
        if getattr(getattr(model, "pred_layer", None), "asm", False):
            return negative_log_likelihoods(logits, labels)
        return cross_entropies(logits, labels)
    targets = tf.cast(labels, logits.dtype)
    if problem_type_of(model.config, _kind(labels)) == "regression":
        losses = tf.square(logits - tf.reshape(targets, tf.shape(logits)))
    else:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    losses = tf.reduce_mean(losses, axis=-1)
    return losses, tf.ones_like(losses, tf.bool)


def _span_losses(
    model: Any, output: Mapping[str, Any], labels: Mapping[str, Any]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Losses of starts and ends and, where it counts, of there being an answer."""
    if model.architecture == "XLMForQuestionAnswering":
        return _beam_losses(model.qa_outputs, output, labels)
    found = []
    for end in ("start", "end"):
        logits = output[f"{end}_logits"]
        sequence = tf.cast(tf.shape(logits)[1], tf.int64)
        places = tf.cast(_column(labels[f"{end}_positions"]), tf.int64)
        places = tf.clip_by_value(places, 0, sequence)
        found.append(cross_entropies(logits, places, ignored=sequence))
    return found


def _beam_losses(
    head: Any, output: Mapping[str, Any], labels: Mapping[str, Any]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """The parts of `SQuADHead.loss`, row by row."""
    if output.get("hidden_states") is None:
        raise InputError("weights of XLMForQuestionAnswering need output_hidden_states=True.")
    cls_index = None if labels.get("is_impossible") is None else labels.get("cls_index")
    starts = _column(labels["start_positions"])
    start_logits, end_logits, cls_logits = head.logits_to_train(
        output["hidden_states"][-1],
        starts,
        None if cls_index is None else _column(cls_index),
        labels.get("p_mask"),
    )
    found = [
        cross_entropies(start_logits, starts),
        cross_entropies(end_logits, _column(labels["end_positions"])),
    ]
    if cls_logits is not None:
        logits = at_least_float32(cls_logits)
        targets = tf.cast(_column(labels["is_impossible"]), logits.dtype)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        found.append((losses, tf.ones_like(losses, tf.bool)))
    return found


def _column(labels: Any) -> tf.Tensor:
    labels = tf.convert_to_tensor(labels)
    return tf.squeeze(labels, axis=-1) if labels.shape.rank == 2 else labels


# -- labels apart from the features ----------------------------------------------------------------


def labels_by_name(architecture: str, labels: Any) -> dict[str, Any]:
    """Labels as `fit(x, y)` takes them, under the names of the arguments of `call`.

    Args:
        architecture: Of the model.
        labels: An array; for spans a dictionary, or start and end as a pair.

    Raises:
        InputError: For anything else.
    """
    if architecture == "XLMModel":
        raise InputError("XLMModel has no loss of its own: give a loss in compile().")
    if architecture in SPANS:
        if isinstance(labels, Mapping):
            # Keras' losses and metrics go by the names of outputs.
            outputs = {"start_logits": "start_positions", "end_logits": "end_positions"}
            named = {str(outputs.get(name, name)): value for name, value in labels.items()}
            allowed = {"start_positions", "end_positions"}
            if architecture == "XLMForQuestionAnswering":
                allowed |= {"is_impossible", "cls_index", "p_mask"}
            if {"start_positions", "end_positions"} <= named.keys() <= allowed:
                return named
            found = f"a dictionary of {', '.join(map(str, labels))}"
        elif isinstance(labels, (list, tuple)) and len(labels) == 2:
            return dict(zip(("start_positions", "end_positions"), labels, strict=True))
        else:
            found = f"a {type(labels).__name__}"
        raise InputError(
            f"the labels of spans are {found}: expected a dictionary of start_positions and "
            "end_positions, or the two as a pair."
        )
    if isinstance(labels, Mapping):
        if len(labels) != 1 or not labels.keys() <= {"labels", "logits"}:
            raise InputError(
                f"the labels are a dictionary of {', '.join(map(str, labels)) or 'nothing'}: "
                "expected an array, or a dictionary of labels alone."
            )
        (labels,) = labels.values()
    elif isinstance(labels, (list, tuple)):
        if len(labels) != 1:
            raise InputError(f"there are {len(labels)} arrays of labels: expected one.")
        (labels,) = labels
    return {"labels": labels}
