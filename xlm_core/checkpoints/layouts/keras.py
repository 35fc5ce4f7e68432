"""Keras 3, as models of this library save it: .weights.h5, and .keras with the configuration.

Source: keras/src/saving/saving_lib.py of Keras 3.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlm_core.checkpoints.layouts.base import Content, Layout
from xlm_core.checkpoints.layouts.tf import MODEL_NAMES
from xlm_core.checkpoints.layouts.weights_file import KERAS_NAMES, WeightsFile
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.original import original_of
from xlm_core.checkpoints.weights import Weights
from xlm_core.config import XLMConfig
from xlm_core.containers.archives import write_archive
from xlm_core.containers.hdf5 import Group, read_hdf5, write_hdf5
from xlm_core.containers.json_files import parse_object
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import FileSource, Source, read_bytes
from xlm_core.containers.streaming import Progress
from xlm_core.errors import CheckpointError, ConfigError
from xlm_core.weights import ENCODER_DECODER

WEIGHTS = "model.weights.h5"
# Where the text files of a folder stand in a .keras file: Keras keeps files of layers in assets/,
# and reads none that no layer asks for.
TEXT_FILES = "assets/xlm/"
_LARGEST_TEXT = 256 << 20
_MOST_NAMED = 5
# The class -> its module in xlm_tf.
_MODULES = {
    "XLMModel": "model",
    "XLMWithLMHeadModel": "language_model",
    "XLMForSequenceClassification": "classification",
    "XLMForMultipleChoice": "classification",
    "XLMForTokenClassification": "classification",
    "XLMForQuestionAnsweringSimple": "question_answering",
    "XLMForQuestionAnswering": "question_answering",
    ENCODER_DECODER: "translation",
}
# The layout that is written is that of this version.
_KERAS_VERSION = "3.15.1"


class KerasLayout(Layout):
    """model.weights.h5 beside config.json, or a .keras file, which is an archive of both."""

    name = "keras"
    title = "Keras 3, as models of this library save it"
    dialect = "keras_file"
    file = WEIGHTS
    alone = ".keras"
    patterns = ("*.keras", "*.weights.h5")
    holds_text_files = True

    def recognises(self, file: WeightsFile) -> bool:
        """An archive with such weights in it, or an HDF5 file that lists no layers."""
        if file.is_hdf5:
            attributes = file.hdf5.attributes
            return "layer_names" not in attributes and "layer_names0" not in attributes
        return WEIGHTS in file.members

    def read(self, file: WeightsFile) -> Content:
        """See `Layout.read`."""
        if file.is_hdf5:
            tensors, dropped = read_keras_weights(file.hdf5, str(file))
            return Content(tensors, dropped=dropped)
        config, settings = read_keras_config(file.members, str(file))
        root = read_hdf5(file.members[WEIGHTS], needed=KERAS_NAMES)
        tensors, dropped = read_keras_weights(root, str(file))
        texts = {
            name.removeprefix(TEXT_FILES): part
            for name, part in file.members.items()
            if name.startswith(TEXT_FILES)
        }
        original = None
        if ORIGINAL_FILE in texts:
            part, what = texts[ORIGINAL_FILE], f"{file} ({TEXT_FILES}{ORIGINAL_FILE})"
            original = original_of(parse_object(text_of(part, what), what), what)
        known = {"config.json", "metadata.json", WEIGHTS}
        others = [n for n in file.members if n not in known and not n.startswith(TEXT_FILES)]
        return Content(
            tensors,
            config=config,
            original=original,
            dropped=(*dropped, *settings, *_some(others)),
            text_files=texts,
        )

    def bytes_needed(self, weights: Weights, *, alone: bool) -> int:
        """Twice the tensors for a .keras file: the weights first, then the archive around them."""
        return super().bytes_needed(weights, alone=alone) * (2 if alone else 1)

    def write_weights(
        self,
        folder: Path,
        weights: Weights,
        *,
        largest: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """See `Layout.write_weights`."""
        write_hdf5(folder / self.file, self.named(weights), {}, progress)

    def write_alone(
        self, path: Path, weights: Weights, *, progress: Progress | None = None
    ) -> None:
        """See `Layout.write_alone`."""
        config = weights.config
        dtype = config.dtype or "float32"
        texts = dict(weights.text_files)
        if weights.original is not None:
            texts[ORIGINAL_FILE] = weights.original.to_json().encode()
        named = self.named(weights)
        write_keras(path, named, config, weights.architecture, dtype, progress, text_files=texts)


def _some(names: Sequence[str]) -> list[str]:
    more = [f"{len(names) - _MOST_NAMED} more members"] if len(names) > _MOST_NAMED else []
    return [*names[:_MOST_NAMED], *more]


def text_of(part: Source, what: str) -> bytes:
    """The bytes of a text file within a .keras file; `what` names it in messages.

    Raises:
        CheckpointError: If it is too large for a text of a checkpoint.
    """
    if part.size > _LARGEST_TEXT:
        raise CheckpointError(f"{what} has {part.size} bytes: no text of this size belongs here.")
    return read_bytes(part, 0, part.size)


def read_keras_weights(root: Group, source: str) -> tuple[dict[str, LazyTensor], tuple[str, ...]]:
    """The tensors of a .weights.h5.

    Args:
        root: The root group of the file.
        source: What messages call the file.

    Returns:
        Path in the file -> tensor, and what else is there, in words.

    Raises:
        CheckpointError: If there are no variables.
    """
    tensors: dict[str, LazyTensor] = {}
    dropped: set[str] = set()
    pending = [("", root)]
    while pending:
        path, group = pending.pop()
        for name, inner in group.groups.items():
            if not path and name == "optimizer":
                dropped.add("optimizer state (optimizer)")
            elif "seed_generator" in name:
                dropped.add("the random state of dropout (seed_generator)")
            else:
                pending.append((f"{path}{name}/", inner))
        for name, tensor in group.tensors.items():
            tensors[path + name] = tensor
    if not tensors:
        raise CheckpointError(f"{source} holds no variables of Keras.")
    return tensors, tuple(sorted(dropped))


def read_keras_config(
    parts: Mapping[str, Source], source: str
) -> tuple[XLMConfig, tuple[str, ...]]:
    """The configuration of the model in a .keras file, and what else is said there, in words.

    Args:
        parts: Name -> member of the archive.
        source: What messages call the file.

    Raises:
        CheckpointError: If it is none of this library's models.
    """
    if "config.json" not in parts:
        raise CheckpointError(f"{source} has no config.json: no file that Keras 3 saved.")
    part = parts["config.json"]
    saved = parse_object(read_bytes(part, 0, part.size), f"{source} (config.json)")
    name = saved.get("class_name")
    architecture = name.removeprefix("TF") if isinstance(name, str) else ""
    options = saved.get("config")
    values = options.get("config") if isinstance(options, dict) else None
    if architecture not in _MODULES or not isinstance(values, dict):
        raise CheckpointError(
            f"{source} holds a Keras model of class {name!r:.60}: expected one of "
            f"{', '.join(f'TF{known}' for known in _MODULES)}."
        )
    try:
        config = XLMConfig.read_from(values, architectures=[architecture])
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{source} (config.json): {error}") from error
    dropped = []
    if saved.get("compile_config"):
        dropped.append("the optimizer, losses and metrics of compile (compile_config)")
    policy = options.get("dtype") if isinstance(options, dict) else None
    policy = policy.get("config") if isinstance(policy, dict) else policy
    name = policy.get("name") if isinstance(policy, dict) else policy
    if isinstance(name, str) and name.startswith("mixed_"):
        dropped.append(f"the dtype policy {name:.40}")
    return config, tuple(dropped)


def write_keras(
    path: Path,
    tensors: Mapping[str, LazyTensor],
    config: XLMConfig,
    architecture: str,
    dtype: str,
    progress: Progress | None = None,
    *,
    text_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a .keras file, which `keras.saving.load_model` opens once xlm_tf is imported.

    Args:
        path: The file; its weights are written to a second file beside it first.
        tensors: Path in the file of weights -> tensor, kernels transposed.
        config: The configuration of the model.
        architecture: The name of its class, such as "XLMModel".
        dtype: Name of the dtype of the model.
        progress: Called with numbers of bytes, from several threads.
        text_files: Text files to keep in it, by name.
    """
    weights = path.with_name(f"{path.name}.weights")
    metadata = {
        "keras_version": _KERAS_VERSION,
        "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S", time.gmtime()),
    }
    model = _model_config(config, architecture, dtype)
    try:
        write_hdf5(weights, tensors, {}, progress)
        source = FileSource(weights)
        content: list[tuple[str, bytes | LazyTensor]] = [
            ("metadata.json", json.dumps(metadata).encode()),
            ("config.json", json.dumps(model).encode()),
            (WEIGHTS, LazyTensor(source, 0, "uint8", (source.size,))),
            *((f"{TEXT_FILES}{name}", text) for name, text in sorted((text_files or {}).items())),
        ]
        write_archive(path, content)
    finally:
        weights.unlink(missing_ok=True)


def _model_config(config: XLMConfig, architecture: str, dtype: str) -> dict[str, Any]:
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    return {
        "module": f"xlm_tf.{_MODULES[architecture]}",
        "class_name": f"TF{architecture}",
        "config": {
            "config": config.to_dict(),
            "name": MODEL_NAMES[architecture],
            "trainable": True,
            "dtype": policy,
        },
        "registered_name": f"xlm_models>TF{architecture}",
        "build_config": {"shapes_dict": {}},
        "compile_config": {},
    }
