"""The layouts as data: their files, their names for tensors, and the models that they can hold."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from xlm_core.config import XLMConfig
from xlm_core.weights import ENCODER_DECODER, Dialect, name_of, tensors_of


@dataclass(frozen=True)
class Layout:
    """A way to keep a checkpoint.

    Attributes:
        name: As the command line has it.
        title: In words.
        dialect: How its tensors are called.
        file: Its file in a folder.
        alone: Suffix of a file that holds everything by itself, without a folder; else None.
        sharded: Whether it can be in several files.
        dtypes: Float dtypes that it can hold.
    """

    name: str
    title: str
    dialect: Dialect
    file: str
    alone: str | None = None
    sharded: bool = False
    dtypes: Collection[str] = ("float64", "float32", "float16", "bfloat16")

    @property
    def index(self) -> str:
        """Name of the index of its shards."""
        return f"{self.file}.index.json"


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "safetensors",
            "safetensors, as transformers' PyTorch and this library write it",
            "torch",
            "model.safetensors",
            sharded=True,
        ),
        Layout(
            "torch",
            "PyTorch's pickle, as transformers 4 writes it",
            "torch",
            "pytorch_model.bin",
            sharded=True,
        ),
        Layout(
            "tf",
            "HDF5, as transformers 4's TensorFlow writes it",
            "tf",
            "tf_model.h5",
            sharded=True,
            dtypes=("float64", "float32", "float16"),
        ),
        Layout(
            "tf-safetensors",
            "safetensors, as transformers 4's TensorFlow writes it",
            "tf",
            "model.safetensors",
            sharded=True,
        ),
        Layout(
            "facebook",
            "the original code's pickle",
            "facebook",
            "checkpoint.pth",
            alone=".pth",
        ),
        Layout(
            "keras",
            "Keras 3, as models of this library save it",
            "keras_file",
            "model.weights.h5",
            alone=".keras",
        ),
    )
}


# What transformers writes: of a folder or a repository, the first that is there is opened.
WEIGHT_FILES = tuple(
    name
    for layout in map(LAYOUTS.__getitem__, ("safetensors", "torch", "tf"))
    for name in (layout.file, layout.index)
)


def why_not(
    layout: Layout, config: XLMConfig, architecture: str, dtypes: Collection[str] = ()
) -> str | None:
    """Why a model has no place in a layout, or None where it has one.

    Args:
        layout: One of `LAYOUTS`.
        config: Of the model.
        architecture: Its class.
        dtypes: Of its tensors.
    """
    rule = {
        "torch": _not_in_torch,
        "tf": _not_in_tf,
        "facebook": _not_in_facebook,
        "keras_file": _not_in_keras,
    }[layout.dialect]
    reason = rule(config, architecture) or (
        "transformers' PyTorch pickle has no decoder: no class of transformers has one"
        if layout.name == "torch" and architecture == ENCODER_DECODER
        else None
    )
    if reason is None:
        nameless = [
            spec.path
            for spec in tensors_of(config, architecture)
            if name_of(spec, layout.dialect, architecture) is None and spec.tied_to is None
        ]
        if nameless:
            return f"it has no name for {', '.join(nameless[:3])}"
        lacking = sorted({*dtypes} - {*layout.dtypes})
        if lacking:
            return f"it has no {', '.join(lacking)}"
    return reason


def _not_in_torch(config: XLMConfig, architecture: str) -> str | None:
    return None


def _not_in_tf(config: XLMConfig, architecture: str) -> str | None:
    if architecture == ENCODER_DECODER:
        return "transformers' TensorFlow has no decoder"
    if architecture == "XLMForQuestionAnswering":
        return "transformers' TensorFlow has no span head with beams"
    if config.sinusoidal_embeddings:
        return "transformers' TensorFlow classes refuse sinusoidal positions"
    if config.pruned_heads:
        return "transformers' TensorFlow classes cannot be pruned"
    if architecture == "XLMWithLMHeadModel":
        if config.asm:
            return "transformers' TensorFlow classes refuse an adaptive softmax"
        if not config.ties_output:
            return (
                "the output layer of transformers' TensorFlow class is always tied: a matrix of "
                "its own has no place"
            )
    return None


def _not_in_facebook(config: XLMConfig, architecture: str) -> str | None:
    if architecture == "XLMForSequenceClassification":
        plain = (
            config.summary_type == "first"
            and config.summary_use_proj
            and config.summary_proj_to_labels
            and config.summary_activation is None
        )
        if not plain:
            return (
                "the original's classifier is a projection of the first hidden state to the "
                "labels; this one's summary is something else"
            )
    elif architecture not in ("XLMModel", "XLMWithLMHeadModel", ENCODER_DECODER):
        return "of task heads, the original has the XNLI classifier only"
    if config.pruned_heads:
        return "the original's attention cannot be pruned"
    if config.layer_norm_eps != 1e-12:
        return f"the original's layer_norm_eps is 1e-12, this model's {config.layer_norm_eps:g}"
    return None


def _not_in_keras(config: XLMConfig, architecture: str) -> str | None:
    if architecture == ENCODER_DECODER:
        return "no Keras class has a decoder yet"
    return None
