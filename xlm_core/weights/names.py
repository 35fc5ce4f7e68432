"""The name of a tensor in each dialect, each by one rule from its entry in the table."""

from __future__ import annotations

from typing import Literal, get_args

from xlm_core.weights.table import Kind, TensorSpec

Dialect = Literal["torch", "facebook", "tf", "keras"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

# What the last component of a path is called in Keras layers.
_KERAS_LEAF = {
    Kind.EMBEDDING: "embeddings",
    Kind.MATRIX: "kernel",
    Kind.BIAS: "bias",
    Kind.NORM_SCALE: "gamma",
    Kind.NORM_SHIFT: "beta",
}


def name_of(spec: TensorSpec, dialect: Dialect, architecture: str = "XLMModel") -> str | None:
    """The name of `spec` in the files of `dialect`, or None where it has no place there.

    Args:
        spec: An entry of `tensors_of`.
        dialect: "torch", the published PyTorch checkpoints; "facebook", the original's; "tf",
            transformers' TensorFlow variables without their first component; "keras", the
            variables of `xlm_tf` as paths of attributes.
        architecture: The class that the file holds; heads put `transformer` before the encoder.
    """
    stem = spec.in_encoder and architecture != "XLMModel"
    if dialect == "torch":
        return f"transformer.{spec.path}" if stem else spec.path
    if dialect == "facebook":
        return spec.path if spec.in_encoder or spec.path.startswith("pred_layer.") else None

    parts = spec.path.split(".")
    leaf = _KERAS_LEAF[spec.kind]
    if dialect == "keras":
        return "/".join((["transformer"] if stem else []) + parts[:-1] + [leaf])

    # TensorFlow: every encoder, the headless one too, sits in a layer called "transformer"; a
    # list index joins its list ("attentions_._0"), and so does the projection of the LM head.
    if spec.tied_to is not None or parts[:2] == ["qa_outputs", "start_logits"]:
        return None
    if spec.path == "embeddings.weight":
        leaf = "weight"
    layers: list[str] = ["transformer"] if spec.in_encoder else []
    for part in parts[:-1]:
        if part.isdigit() or (layers and layers[-1] == "pred_layer"):
            layers[-1] = f"{layers[-1]}_._{part}"
        else:
            layers.append(part)
    return "/".join([*layers, f"{leaf}:0"])
