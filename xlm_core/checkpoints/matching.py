"""Match the tensors of a file to those of a model; one error lists everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xlm_core.checkpoints.fitting import fit_tensors, listed
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.config import XLMConfig
from xlm_core.containers.comparing import same_values
from xlm_core.containers.lazy_tensors import FLOAT_DTYPES, LazyTensor
from xlm_core.errors import CheckpointError, CheckpointShapeError, warn
from xlm_core.weights import TensorSpec


@dataclass(frozen=True)
class Match:
    """The result of `match_tensors`.

    Attributes:
        found: (spec, tensor) for everything that the file holds; tied tensors are not repeated.
        fresh: Specs that keep their initial values: of the head, that the file lacks; and
            `misshapen`.
        left_out: Names of the file that belong to another head.
        misshapen: Those of `fresh` that the file holds in another shape, with that shape.
    """

    found: tuple[tuple[TensorSpec, LazyTensor], ...]
    fresh: tuple[TensorSpec, ...]
    left_out: tuple[str, ...]
    misshapen: tuple[tuple[TensorSpec, tuple[int, ...]], ...] = ()


def match_checkpoint(
    checkpoint: Checkpoint,
    architecture: str,
    *,
    ignore_mismatched_sizes: bool = False,
    quiet: bool = False,
) -> Match:
    """Match an opened checkpoint to a class, with the choices that were made when it was opened.

    The arguments and errors are those of `match_tensors`.
    """
    return match_tensors(
        checkpoint.tensors,
        checkpoint.config,
        architecture,
        checkpoint.source,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        untie=checkpoint.untie,
        tied=checkpoint.tied,
        quiet=quiet,
    )


def match_tensors(
    tensors: Mapping[str, LazyTensor],
    config: XLMConfig,
    architecture: str,
    source: str,
    *,
    ignore_mismatched_sizes: bool = False,
    untie: bool = False,
    tied: str | None = None,
    quiet: bool = False,
) -> Match:
    """Match the tensors of a file in the PyTorch dialect to those of a model.

    The file may hold any head, or none; `architecture` may be any head, or none. A head that the
    file lacks as a whole starts fresh, which one warning says.

    Args:
        tensors: Name -> lazy tensor.
        config: The configuration of the model to fill.
        architecture: Its class, e.g. "XLMForTokenClassification".
        source: What messages call the file.
        ignore_mismatched_sizes: Tensors whose shapes differ start fresh instead of failing.
        untie: The file holds a tied language model, which is asked for untied: its output
            matrix is a copy of the embeddings.
        tied: Which of two tied tensors to keep if they differ, "embeddings" or "output".
            Default: raise.
        quiet: Do not warn about a head that starts fresh.

    Raises:
        CheckpointError: One error with everything missing, unexpected and misshapen; a
            `CheckpointShapeError` if something is misshapen.
    """
    fit = fit_tensors(tensors, config, architecture)
    found = {path: t for path, (_, t) in fit.placed.items() if path not in fit.misshapen}
    missing = {spec.path: spec for spec in fit.missing}
    misshapen = []
    resized: dict[str, tuple[TensorSpec, tuple[int, ...]]] = {}
    for spec in fit.specs:
        words = fit.misshapen.get(spec.path)
        if words is None:
            continue
        tensor = fit.placed[spec.path][1]
        if not (ignore_mismatched_sizes and tensor.dtype in FLOAT_DTYPES):
            misshapen.append(f"{spec.path}: {words}")
        elif spec.tied_to is None:
            missing[spec.path] = spec
            resized[spec.path] = (spec, tensor.shape)
    output, embeddings = "pred_layer.proj.weight", "embeddings.weight"
    if untie and output in missing and embeddings in found:
        found[output] = found[embeddings]
        del missing[output]

    # A module of the head counts as absent only if nothing of it is there.
    present = {path.split(".")[0] for path in found}
    fresh = tuple(
        spec
        for spec in missing.values()
        if spec.path in resized
        or (
            not spec.in_encoder
            and (ignore_mismatched_sizes or spec.path.split(".")[0] not in present)
        )
    )
    lost = [spec.path for spec in missing.values() if spec not in fresh]
    problems = [
        listed(what, names)
        for what, names in (
            ("missing", lost),
            ("unexpected", fit.unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if problems:
        error = CheckpointShapeError if misshapen else CheckpointError
        raise error(
            f"{source} does not fit {architecture} with its configuration. "
            + ". ".join(problems)
            + ". Check that config.json belongs to these weights"
            + (
                " (ignore_mismatched_sizes=True starts tensors of another size afresh)."
                if misshapen
                else "."
            )
        )
    _settle_tied(fit.specs, found, source, tied)
    if fresh and not quiet:
        sizes = [
            f"{path} ({shape} in the file, {spec.shape} here)"
            for path, (spec, shape) in resized.items()
        ]
        warn(
            f"{architecture} from {source}: started fresh, to be trained before use: "
            + ", ".join(spec.path for spec in fresh)
            + (f". Of another size: {', '.join(sizes)}" if sizes else "")
            + (f". Left out, of another head: {', '.join(fit.left_out)}." if fit.left_out else ".")
        )
    pairs = tuple(
        (spec, found[spec.path])
        for spec in fit.specs
        if spec.path in found and spec.tied_to is None
    )
    return Match(pairs, fresh, fit.left_out, tuple(resized.values()))


def _settle_tied(
    specs: tuple[TensorSpec, ...], found: dict[str, LazyTensor], source: str, tied: str | None
) -> None:
    for spec in specs:
        if spec.tied_to is None or spec.path not in found or spec.tied_to not in found:
            continue
        if tied == "output":
            found[spec.tied_to] = found[spec.path]
        elif tied is None and not same_values(found[spec.path], found[spec.tied_to]):
            raise CheckpointError(
                f"{source}: {spec.path} and {spec.tied_to} are tied by the configuration, but the "
                "file holds different values for them. Open it with tie_word_embeddings=False to "
                "keep both, or choose one: tied='embeddings' or tied='output'."
            )
