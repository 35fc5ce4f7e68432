"""The name of a tensor in each dialect, each by one rule from its entry in the table."""

from __future__ import annotations

from typing import Literal, get_args

from xlm_core.weights.table import ENCODER_DECODER, Kind, TensorSpec

Dialect = Literal["torch", "facebook", "tf", "keras", "keras_file"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

# What the last component of a path is called in Keras layers.
_KERAS_LEAF = {
    Kind.EMBEDDING: "embeddings",
    Kind.MATRIX: "kernel",
    Kind.BIAS: "bias",
    Kind.NORM_SCALE: "gamma",
    Kind.NORM_SHIFT: "beta",
}
# The original's classifier of pairs of sentences: Sequential(Dropout, Linear).
_XNLI = {"sequence_summary.summary": "proj.1"}
# Keras files name objects by how they are first reached: by attribute in alphabetical order,
# among which "layers" lists the layers of a model by class; members of lists are named by class.
_REACHED = {
    "position_embeddings": "layers/embedding",
    "transformer": "layers/tfxlm_model",
    "pred_layer": "layers/xlm_pred_layer",
    "sequence_summary": "layers/sequence_summary",
    "logits_proj": "layers/linear",
}
_MEMBERS = {
    "attentions": "multi_head_attention",
    "layer_norm1": "layer_norm",
    "layer_norm15": "layer_norm",
    "encoder_attn": "multi_head_attention",
    "ffns": "transformer_ffn",
    "layer_norm2": "layer_norm",
    "tail": "tail_cluster",
}


def name_of(spec: TensorSpec, dialect: Dialect, architecture: str = "XLMModel") -> str | None:
    """The name of `spec` in the files of `dialect`, or None where it has no place there.

    Args:
        spec: An entry of `tensors_of`.
        dialect: "torch", the published PyTorch checkpoints; "facebook", the original's; "tf",
            transformers' TensorFlow variables without their first component; "keras", the
            variables of `xlm_tf` as paths of attributes; "keras_file", the datasets of what
            Keras 3 saves of these models.
        architecture: The class that the file holds; heads put `transformer` before the encoder.
    """
    stem = spec.in_encoder and architecture != "XLMModel"
    if dialect == "torch":
        return f"transformer.{spec.path}" if stem else spec.path
    if dialect == "facebook":
        return _original_name(spec, architecture)
    parts = spec.path.split(".")
    if dialect == "keras":
        steps = (["transformer"] if stem else []) + parts[:-1]
        return "/".join([*steps, _KERAS_LEAF[spec.kind]])
    if dialect == "keras_file":
        steps = (["transformer"] if stem else []) + parts[:-1]
        return _keras_file_name(spec, steps, parts[0] == "qa_outputs" and len(parts) == 2)
    return None if architecture == ENCODER_DECODER else _tf_name(spec, parts)


def is_transposed(spec: TensorSpec, dialect: Dialect) -> bool:
    """Whether the files of `dialect` hold the transpose of `spec`: the kernels of Keras do."""
    return spec.kind is Kind.MATRIX and dialect in ("tf", "keras", "keras_file")


def _original_name(spec: TensorSpec, architecture: str) -> str | None:
    if spec.in_encoder or spec.path.startswith("pred_layer.") or architecture == ENCODER_DECODER:
        return spec.path
    module, _, leaf = spec.path.rpartition(".")
    if architecture == "XLMForSequenceClassification" and module in _XNLI:
        return f"{_XNLI[module]}.{leaf}"
    return None


def _tf_name(spec: TensorSpec, parts: list[str]) -> str | None:
    # Every encoder, the headless one too, sits in a layer called "transformer"; a list index
    # joins its list ("attentions_._0"), and so does the projection of the LM head. There is no
    # beam head, and the only output layer is tied.
    if parts[:2] == ["pred_layer", "proj"] and spec.path != "pred_layer.proj.bias":
        return None
    if parts[0] == "qa_outputs" and len(parts) > 2:
        return None
    leaf = "weight" if spec.path == "embeddings.weight" else _KERAS_LEAF[spec.kind]
    layers: list[str] = ["transformer"] if spec.in_encoder else []
    for part in parts[:-1]:
        if part.isdigit() or (layers and layers[-1] == "pred_layer"):
            layers[-1] = f"{layers[-1]}_._{part}"
        else:
            layers.append(part)
    return "/".join([*layers, f"{leaf}:0"])


def _keras_file_name(spec: TensorSpec, steps: list[str], simple_answering: bool) -> str | None:
    if spec.tied_to is not None:
        return None
    reached: list[str] = []
    inside = ""
    for step in steps:
        if step.isdigit():
            # The two matrices of a cluster are in a list of their own.
            member = _MEMBERS.get(inside, "linear")
            reached += [] if inside in _MEMBERS else ["projections"]
            reached.append(member if step == "0" else f"{member}_{step}")
        elif step == "qa_outputs":
            reached.append("layers/linear" if simple_answering else "layers/s_qu_ad_head")
        else:
            reached.append(_REACHED.get(step, step))
        inside = step
    # A layer's own variables, in the order in which it makes them.
    second = spec.kind in (Kind.BIAS, Kind.NORM_SHIFT) and not spec.weight_is_tied
    return "/".join([*reached, "vars", "1" if second else "0"])
