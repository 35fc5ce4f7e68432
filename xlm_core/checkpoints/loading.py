"""What `from_pretrained` of every model does before a model is made, and says after it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from xlm_core.checkpoints.matching import match_checkpoint
from xlm_core.checkpoints.opening import Checkpoint, WeightsChoice, open_checkpoint
from xlm_core.checkpoints.parts import join_parts
from xlm_core.containers.lazy_tensors import Array, LazyTensor
from xlm_core.errors import UnknownArgumentError
from xlm_core.loading_arguments import (
    FileArguments,
    given_path,
    needed_path,
    settle_loading,
    settle_token,
)
from xlm_core.weights import name_of


def open_as_asked(
    path: str | os.PathLike[str] | None,
    others: dict[str, Any],
    *,
    config: Any,
    tensors: Mapping[str, Array] | None,
    revision: str | None,
    local_files_only: bool,
    cache_dir: str | os.PathLike[str] | None,
    force_download: bool,
    token: str | bool | None,
    subfolder: str,
    variant: str | None,
    use_safetensors: bool | None,
    tied: str | None,
) -> Checkpoint:
    """Open a checkpoint as the arguments of a model's `from_pretrained` say.

    Args:
        path: As there.
        others: Its other keyword arguments: names of transformers, of which those that change
            nothing are accepted, and fields of the configuration.
        config, revision, local_files_only, cache_dir, force_download, token, subfolder, variant,
            use_safetensors, tied: As there.
        tensors: Its `state_dict`, as arrays.

    Raises:
        UnknownArgumentError: For an argument that is unknown, or that asks for what is not here.
        CheckpointError, ConfigError: As `open_checkpoint`.
    """
    function = "from_pretrained"
    others = dict(others)
    path = given_path(function, path, others)
    settle_loading(function, others)
    token = settle_token(function, token, others)
    from_tf, from_pt = others.pop("from_tf", False), others.pop("from_pt", False)
    if from_tf and from_pt:
        raise UnknownArgumentError(f"{function} got from_tf and from_pt: give one of them.")
    if path is not None or config is None or tensors is None:
        needed_path(function, path)
    return open_checkpoint(
        path,
        tied=tied,
        files=FileArguments(
            revision=revision,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            subfolder=subfolder or "",
        ),
        choice=WeightsChoice(
            variant=variant,
            use_safetensors=use_safetensors,
            of="tf" if from_tf else "pt" if from_pt else None,
        ),
        config=config,
        tensors=None if tensors is None else {n: LazyTensor.of(a) for n, a in tensors.items()},
        **others,
    )


# What `open_as_asked` looks at besides fields and names that change nothing.
_OF_OPENING = ("use_auth_token", "from_tf", "from_pt")


def open_parts_as_asked(
    encoder: str | os.PathLike[str] | None,
    decoder: str | os.PathLike[str] | None,
    others: dict[str, Any],
    *,
    tied: str | None,
    **files: Any,
) -> Checkpoint:
    """Open the two checkpoints that an encoder-decoder is made of, see `join_parts`.

    Args:
        encoder, decoder: As `path` of `from_pretrained`; one may be None.
        others: Its other keyword arguments, as for `open_as_asked`.
        tied, files: Its arguments about files, as there; for both.

    Raises:
        UnknownArgumentError, CheckpointError, ConfigError: As `open_as_asked` and `join_parts`.
    """
    fields = dict(others)
    settle_loading("from_pretrained", fields)
    of_opening = {name: fields.pop(name) for name in _OF_OPENING if name in fields}
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        if part is not None and not isinstance(part, (str, os.PathLike)):
            raise UnknownArgumentError(
                f"{name} is a {type(part).__name__}: expected the path or the name of a checkpoint."
            )
    opened = {
        os.fspath(path): open_as_asked(
            path, of_opening, config=None, tensors=None, tied=tied, **files
        )
        for path in (encoder, decoder)
        if path is not None
    }
    first, second = (None if p is None else opened[os.fspath(p)] for p in (encoder, decoder))
    return join_parts(first, second, fields)


def loading_info(
    checkpoint: Checkpoint, architecture: str, *, ignore_mismatched_sizes: bool
) -> dict[str, list[Any]]:
    """What a checkpoint lacks and has beside a class, under the keys of transformers.

    Args:
        checkpoint: As it was opened.
        architecture: The class that was made of it.
        ignore_mismatched_sizes: As for `match_tensors`.

    Returns:
        missing_keys, unexpected_keys: names in the PyTorch dialect; mismatched_keys: (name, shape
        in the file, shape in the model), of a table of languages the shapes of what was found in
        it, and of all of it; error_msgs: always empty, as errors are raised.
    """
    match = match_checkpoint(
        checkpoint.as_model(architecture),
        architecture,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        allow_partial=True,
        quiet=True,
    )
    mismatched = {spec.path for spec, _ in match.misshapen}
    return {
        "missing_keys": [
            str(name_of(spec, "torch", architecture))
            for spec in match.fresh
            if spec.path not in mismatched
        ],
        "unexpected_keys": [*match.left_out],
        "mismatched_keys": [
            (str(name_of(spec, "torch", architecture)), shape, spec.shape)
            for spec, shape in match.misshapen
        ]
        + [
            (
                spec.path,
                (spec.shape[0] - len(match.fresh_rows[spec.path]), spec.shape[1]),
                spec.shape,
            )
            for spec, _ in match.found
            if spec.path in match.fresh_rows
        ],
        "error_msgs": [],
    }
