"""Open a model in one of the frameworks, and say what it was opened from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from conversion.opening.families import FRAMEWORKS, load_family
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.errors import InputError, MissingPackageError, nearest


@dataclass(frozen=True)
class Opened:
    """A model in a framework.

    Attributes:
        framework: A key of `FRAMEWORKS`.
        family: The package of its family, such as xlm_torch.
        library: torch or tensorflow.
        model: The model, for inference.
    """

    framework: str
    family: Any
    library: Any
    model: Any


def framework_of(name: str | None) -> str:
    """The framework to compute in: the one that is named, or PyTorch if it is installed.

    Raises:
        InputError: If there is none of this name.
        MissingPackageError: If it is not installed, or none is.
    """
    if name is not None:
        if name not in FRAMEWORKS:
            raise InputError(
                f"framework={name!r} is not known: expected one of {', '.join(FRAMEWORKS)}."
                f"{nearest(name, FRAMEWORKS)}"
            )
        load_family(FRAMEWORKS[name])
        return name
    reasons = []
    for framework, title in FRAMEWORKS.items():
        try:
            load_family(title)
        except MissingPackageError as error:
            reasons.append(str(error))
        else:
            return framework
    raise MissingPackageError(" ".join(reasons))


def open_model(
    source: str | os.PathLike[str],
    architecture: str,
    *,
    framework: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    **overrides: Any,
) -> Opened:
    """Open a model for inference.

    Args:
        source: A checkpoint of any layout.
        architecture: The class, in the name of PyTorch's.
        framework: A key of `FRAMEWORKS`; default: PyTorch if it is installed.
        dtype: Of the model; default float32.
        device: Where PyTorch computes; default: the accelerator if there is one. TensorFlow
            decides by itself.
        **overrides: Fields of the configuration that replace those of the checkpoint.

    Raises:
        XLMError: If it cannot be opened.
        InputError: If a device is given for TensorFlow.
    """
    if framework == "tf":
        _refuse_device(device)
    framework = framework_of(framework)
    family, library = load_family(FRAMEWORKS[framework])
    arguments: dict[str, Any] = {"dtype": dtype, **overrides}
    if framework == "torch":
        arguments["device_map"] = device or "auto"
    else:
        _refuse_device(device)
    model = family.MODEL_CLASSES[architecture].from_pretrained(source, **arguments)
    if framework == "torch":
        model.eval()
    return Opened(framework, family, library, model)


def _refuse_device(device: str | None) -> None:
    """Refuse a device for TensorFlow."""
    if device is not None:
        raise InputError(
            f"device={device!r} is for PyTorch: TensorFlow takes the accelerator by itself, and "
            "CUDA_VISIBLE_DEVICES= in the environment hides it."
        )


def fingerprint(checkpoint: Checkpoint) -> dict[str, Any]:
    """What tells one checkpoint from another, without reading it: its file, size and time."""
    return file_fingerprint(checkpoint.file)


def file_fingerprints(**paths: str | os.PathLike[str] | None) -> dict[str, Any]:
    """`file_fingerprint` of each of these files, by name; None of one that is not given."""
    return {name: None if path is None else file_fingerprint(path) for name, path in paths.items()}


def file_fingerprint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The absolute name of a file or folder, and if it is a file its size and time."""
    found: dict[str, Any] = {"path": os.path.realpath(path)}
    if os.path.isfile(path):
        stat = os.stat(path)
        found |= {"bytes": stat.st_size, "modified": stat.st_mtime_ns}
    return found
