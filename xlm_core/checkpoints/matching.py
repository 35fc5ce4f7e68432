"""Match the tensors of a file to those of a model; one error lists everything that is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
        fresh: Specs that keep their initial values: what the file lacks, of the head or allowed;
            and `misshapen`.
        left_out: Names of the file that belong to another head, or to nothing here.
        misshapen: Those of `fresh` that the file holds in another shape, with that shape.
        fresh_rows: Path of a table among `found` -> its rows that start afresh.
    """

    found: tuple[tuple[TensorSpec, LazyTensor], ...]
    fresh: tuple[TensorSpec, ...]
    left_out: tuple[str, ...]
    misshapen: tuple[tuple[TensorSpec, tuple[int, ...]], ...] = ()
    fresh_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def match_checkpoint(
    checkpoint: Checkpoint,
    architecture: str,
    *,
    ignore_mismatched_sizes: bool = False,
    allow_partial: bool = False,
    quiet: bool = False,
) -> Match:
    """Match an opened checkpoint to a class, with the choices that were made when it was opened.

    The arguments and errors are those of `match_tensors`.
    """
    match = match_tensors(
        checkpoint.tensors,
        checkpoint.config,
        architecture,
        checkpoint.source,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        allow_partial=allow_partial,
        untie=checkpoint.untie,
        tied=checkpoint.tied,
        quiet=quiet,
        may_start=checkpoint.may_start,
        fresh_rows=checkpoint.fresh_rows,
        beside=checkpoint.beside,
    )
    return replace(
        match,
        left_out=(*match.left_out, *checkpoint.beside),
        fresh_rows=checkpoint.fresh_rows,
    )


def match_tensors(
    tensors: Mapping[str, LazyTensor],
    config: XLMConfig,
    architecture: str,
    source: str,
    *,
    ignore_mismatched_sizes: bool = False,
    allow_partial: bool = False,
    untie: bool = False,
    tied: str | None = None,
    quiet: bool = False,
    may_start: Collection[str] = (),
    fresh_rows: Mapping[str, tuple[int, ...]] | None = None,
    beside: Sequence[str] = (),
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
        allow_partial: Whatever the file lacks starts fresh, and whatever it has beside is left out,
            instead of failing: for who asks to be told what these are. Shapes still have to fit.
        untie: The file holds a tied language model, which is asked for untied: its output
            matrix is a copy of the embeddings.
        tied: Which of two tied tensors to keep if they differ, "embeddings" or "output".
            Default: raise.
        quiet: Do not warn about a head that starts fresh.
        may_start, fresh_rows, beside: As in `Checkpoint`.

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
        if allow_partial
        or spec.path in may_start
        or spec.path in resized
        or (
            not spec.in_encoder
            and (ignore_mismatched_sizes or spec.path.split(".")[0] not in present)
        )
    )
    unknown = fit.unexpected if allow_partial else ()
    lost = [spec.path for spec in missing.values() if spec not in fresh]
    problems = [
        listed(what, names)
        for what, names in (
            ("missing", lost),
            ("unexpected", [] if allow_partial else fit.unexpected),
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
    if (fresh or fresh_rows or unknown) and not quiet:
        sizes = [
            f"{path} ({shape} in the file, {spec.shape} here)"
            for path, (spec, shape) in resized.items()
        ]
        started = [*(spec.path for spec in fresh), *_rows_named(fresh_rows or {}, config)]
        told = [
            f"{what}: {', '.join(names)}."
            for what, names in (
                ("started fresh, to be trained before use", started),
                ("Of another size", sizes),
                ("Left out", beside),
                ("Left out, of another head", fit.left_out),
                ("Left out, unknown here", unknown),
            )
            if names
        ]
        warn(f"{architecture} from {source}: {' '.join(told)}")
    pairs = tuple(
        (spec, found[spec.path])
        for spec in fit.specs
        if spec.path in found and spec.tied_to is None
    )
    return Match(pairs, fresh, (*fit.left_out, *unknown), tuple(resized.values()))


def _rows_named(fresh_rows: Mapping[str, tuple[int, ...]], config: XLMConfig) -> list[str]:
    """New languages in words: the table, and their names or numbers."""
    names = config.id2lang or {}
    return [
        f"{path} of {', '.join(names.get(row, str(row)) for row in rows)}"
        for path, rows in fresh_rows.items()
    ]


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
