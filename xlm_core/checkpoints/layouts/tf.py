"""HDF5, as transformers 4's TensorFlow writes it: by layers in one file, by variables in shards.

Source: modeling_tf_utils.py of transformers 4 (save_pretrained, load_tf_weights_from_h5).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from xlm_core.checkpoints.layouts.base import Content
from xlm_core.checkpoints.layouts.sharded import ShardedLayout
from xlm_core.checkpoints.layouts.weights_file import Container, WeightsFile
from xlm_core.config import XLMConfig
from xlm_core.containers.hdf5 import Group, write_hdf5
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import Progress
from xlm_core.errors import CheckpointError
from xlm_core.weights import ENCODER_DECODER

# Where the language model's layer lists the embeddings once more.
_OUTPUT = "pred_layer_._proj"
_EMBEDDINGS = "transformer/embeddings/weight:0"
# The class -> Keras' name for a model of it: in transformers the first component of the names of
# its variables.
MODEL_NAMES = {
    "XLMModel": "tfxlm_model",
    "XLMWithLMHeadModel": "tfxlm_with_lm_head_model",
    "XLMForSequenceClassification": "tfxlm_for_sequence_classification",
    "XLMForMultipleChoice": "tfxlm_for_multiple_choice",
    "XLMForTokenClassification": "tfxlm_for_token_classification",
    "XLMForQuestionAnsweringSimple": "tfxlm_for_question_answering_simple",
    "XLMForQuestionAnswering": "tfxlm_for_question_answering",
    ENCODER_DECODER: "tfxlm_for_conditional_generation",
}

# The first components of names that have no model's before them.
_LAYERS = frozenset(
    (
        "transformer",
        _OUTPUT,
        "sequence_summary",
        "logits_proj",
        "classifier",
        "qa_outputs",
    )
)


class TFLayout(ShardedLayout):
    """tf_model.h5: names and orientation of Keras."""

    name = "tf"
    title = "HDF5, as transformers 4's TensorFlow writes it"
    dialect = "tf"
    file = "tf_model.h5"
    container: Container | None = "hdf5"
    dtypes: Collection[str] = ("float64", "float32", "float16")

    def recognises(self, file: WeightsFile) -> bool:
        """An HDF5 file that lists its layers, or the variables of a shard."""
        if not file.is_hdf5:
            return False
        attributes = file.hdf5.attributes
        return "layer_names" in attributes or "layer_names0" in attributes

    def read(self, file: WeightsFile) -> Content:
        """See `Layout.read`."""
        return Content(read_tf(file.hdf5, str(file)))

    def name_in_shard(self, name: str) -> str:
        """Without the model's name, which only the index has before each variable's."""
        return without_model(name)

    def refuses(self, config: XLMConfig, architecture: str) -> str | None:
        """See `Layout.refuses`."""
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
                    "the output layer of transformers' TensorFlow class is always tied: a matrix "
                    "of its own has no place"
                )
        return None

    def config_in_folder(self, config: XLMConfig, architecture: str) -> XLMConfig:
        """With a field that transformers' TensorFlow class for multiple choice reads.

        Its configuration has no such field.
        """
        if architecture == "XLMForMultipleChoice":
            config = config.copy()
            config.extra.setdefault("initializer_range", config.init_std)
        return config

    def index_prefix(self, architecture: str) -> str:
        """The model's name."""
        return f"{MODEL_NAMES[architecture]}/"

    def write_file(
        self,
        path: Path,
        tensors: Mapping[str, LazyTensor],
        architecture: str,
        progress: Progress | None,
    ) -> None:
        """By layers, each with the list of its variables."""
        write_tf(path, tensors, architecture, progress)

    def write_shard(
        self, path: Path, tensors: Mapping[str, LazyTensor], progress: Progress | None
    ) -> None:
        """Variables by their names, which an attribute lists."""
        write_hdf5(path, tensors, {"": {"layer_names": [*tensors]}}, progress)


def without_model(name: str) -> str:
    """A variable's name without its first component, if that is the name of the model."""
    model, slash, rest = name.partition("/")
    return rest if slash and model not in _LAYERS else name


def read_tf(root: Group, source: str) -> dict[str, LazyTensor]:
    """The tensors of a tf_model.h5 or of one of its shards.

    Args:
        root: The root group of the file.
        source: What messages call the file.

    Returns:
        Name without the model's -> tensor; the copy of the embeddings that a language model
        holds as its output matrix is called pred_layer.proj.weight.

    Raises:
        CheckpointError: If the file's lists and its tensors differ.
    """
    found: dict[str, LazyTensor] = {}
    listed = names_in(root, "layer_names", source)
    if all(name.endswith(":0") for name in listed):  # a shard
        stored = dict(_flat(root))
        _expect_same(listed, stored, source, "the file")
        return {_retro(name): tensor for name, tensor in stored.items()}
    layers = [*listed, *(["top_level_model_weights"] * ("top_level_model_weights" in root.groups))]
    for layer in layers:
        group = root.groups.get(layer)
        if group is None:
            raise CheckpointError(
                f"{source} is damaged: it lists the layer {layer!r:.80}, which is not there."
            )
        stored = dict(_flat(group))
        _expect_same(names_in(group, "weight_names", source), stored, source, f"layer {layer}")
        for full, tensor in stored.items():
            name = _retro(full.partition("/")[2] or full)
            if layer == _OUTPUT and name == _EMBEDDINGS:
                name = "pred_layer.proj.weight"
            if name in found:
                raise CheckpointError(f"{source} holds {name} twice.")
            found[name] = tensor
    others = sorted({*root.groups} - {*layers} | {*root.tensors})
    if others:
        raise CheckpointError(f"{source} holds {others[0]!r:.80}, which it does not list.")
    return found


# What transformers once called embedding tables -> what it calls them now.
_FORMER = {
    "transformer/embeddings/embeddings:0": _EMBEDDINGS,
    "transformer/position_embeddings/weight:0": "transformer/position_embeddings/embeddings:0",
    "transformer/lang_embeddings/weight:0": "transformer/lang_embeddings/embeddings:0",
}


def _retro(name: str) -> str:
    return _FORMER.get(name, name)


def names_in(group: Group, attribute: str, source: str) -> list[str]:
    """A list of names in an attribute, which may be split over several.

    Raises:
        CheckpointError: If there is none, or it is no list of texts.
    """
    parts = [attribute]
    if attribute not in group.attributes:
        parts = [f"{attribute}{number}" for number in range(len(group.attributes))]
        parts = [part for part in parts if part in group.attributes]
    names: list[str] = []
    for part in parts:
        value = group.attributes[part]
        entries = value if isinstance(value, list) else _listed(value)
        if not all(isinstance(entry, str) for entry in entries):
            raise CheckpointError(f"{source}: {part} of {group.path} is {value!r:.80}.")
        names += entries
    if not parts:
        raise CheckpointError(f"{source}: {group.path} has no {attribute}.")
    return names


def _listed(value: Any) -> list[Any]:
    # An empty list of names is stored as an empty array of numbers.
    return [value] if isinstance(value, str) else list(getattr(value, "flat", [value]))


def _expect_same(
    listed: Sequence[str], stored: Mapping[str, LazyTensor], source: str, where: str
) -> None:
    if len({*listed}) != len(listed) or {*listed} != {*stored}:
        differing = sorted({*listed} ^ {*stored}) or sorted(listed)
        raise CheckpointError(
            f"{source} is damaged: {where} does not hold the weights that it lists; they differ in "
            f"{', '.join(differing[:5])}."
        )


def _flat(group: Group, prefix: str = "") -> list[tuple[str, LazyTensor]]:
    """Path within a group -> tensor, for all below it."""
    pending = [("", group)]
    found: list[tuple[str, LazyTensor]] = []
    while pending:
        path, here = pending.pop()
        found += [(f"{path}{name}", tensor) for name, tensor in here.tensors.items()]
        pending += [(f"{path}{name}/", inner) for name, inner in here.groups.items()]
    return found


def write_tf(
    path: Path,
    tensors: Mapping[str, LazyTensor],
    architecture: str,
    progress: Progress | None = None,
) -> None:
    """Write a tf_model.h5.

    Args:
        path: The file.
        tensors: Name without the model's -> tensor, kernels transposed.
        architecture: The class.
        progress: Called with numbers of bytes, from several threads.
    """
    model = MODEL_NAMES[architecture]
    layers: dict[str, dict[str, LazyTensor]] = {}
    for name, tensor in tensors.items():
        layers.setdefault(name.partition("/")[0], {})[f"{model}/{name}"] = tensor
    if _OUTPUT in layers:
        layers[_OUTPUT][f"{model}/{_EMBEDDINGS}"] = tensors[_EMBEDDINGS]
    datasets = {
        f"{layer}/{name}": tensor
        for layer, group in layers.items()
        for name, tensor in group.items()
    }
    attributes: dict[str, dict[str, Any]] = {
        "": {"layer_names": [*layers], "backend": "tensorflow", "keras_version": "2.15.0"},
        "top_level_model_weights": {"weight_names": []},
        **{layer: {"weight_names": [*group]} for layer, group in layers.items()},
    }
    write_hdf5(path, datasets, attributes, progress)
