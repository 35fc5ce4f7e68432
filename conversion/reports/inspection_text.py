"""The report of an inspection, as text for people and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict

from conversion.reports.inspection import Inspection, Tensor
from conversion.reports.json_text import json_text
from conversion.reports.wording import aligned, counted, listed, shape_of, shown, size_of
from xlm_core.checkpoints.layouts import LAYOUTS
from xlm_core.config import XLMConfig
from xlm_core.weights import ENCODER_DECODER


def text_of(found: Inspection) -> str:
    """The whole report as text, with the verdict on the last line."""
    files = ", ".join(f"{shown(file.name)} ({size_of(file.nbytes)})" for file in found.files)
    lines = [
        f"{found.architecture} in {shown(found.source)}",
        f"layout: {found.layout} ({LAYOUTS[found.layout].title})",
        f"files: {files}",
        *config_lines(found.config, found.architecture),
        "",
        *_tensor_table(found.tensors),
        "",
        f"{counted(len(found.tensors), 'tensor')}, {_stored(found)}",
        f"{counted(found.parameters, 'parameter')} (tied ones once)"
        + ("" if found.trainable == found.parameters else f", {found.trainable:,} trainable"),
        "memory to load: "
        + ", ".join(f"{size_of(size)} in {dtype}" for dtype, size in found.memory.items()),
        *_original_lines(found),
        *_tokenizer_lines(found),
        *(f"left out when it is loaded, of another head: {shown(n)}" for n in found.left_out),
        *(f"dropped when it is converted: {shown(what)}" for what in found.dropped),
        *(f"note: {shown(note)}" for note in found.notes),
        "can be written as: " + ", ".join(n for n, why in found.why_not.items() if why is None),
        *(f"not as {name}: {why}" for name, why in found.why_not.items() if why is not None),
        ", ".join(f"{name} {spent:.2f} s" for name, spent in found.seconds.items()),
        *(f"missing: {shown(name)} ({shape_of(shape)})" for name, shape in found.missing.items()),
        *(f"unexpected: {shown(name)}" for name in found.unexpected),
        *(f"misshapen: {shown(name)}: {words}" for name, words in found.misshapen.items()),
        *(f"tied, but of different values: {a} and {b}" for a, b in found.differing_ties),
        *_not_finite_lines(found),
        verdict_of(found),
    ]
    return "\n".join(lines)


def verdict_of(found: Inspection) -> str:
    """One line: SOUND, or NOT SOUND and what is off."""
    if found.problems:
        return f"NOT SOUND: {', '.join(found.problems)}"
    looked = ", every value finite" if "values" in found.seconds else ""
    return f"SOUND: nothing missing, unexpected or misshapen{looked}"


def json_of(found: Inspection) -> str:
    """The whole report as one JSON object; numbers that are NaN or infinite are null."""
    values = {
        "source": found.source,
        "layout": found.layout,
        "layout_title": LAYOUTS[found.layout].title,
        "folder": found.folder,
        "files": [asdict(file) for file in found.files],
        "bytes_on_disk": _on_disk(found),
        "architecture": found.architecture,
        "config": found.config.to_dict(),
        "tensors": [asdict(tensor) for tensor in found.tensors],
        "parameters": found.parameters,
        "trainable_parameters": found.trainable,
        "memory": found.memory,
        "missing": found.missing,
        "unexpected": found.unexpected,
        "misshapen": found.misshapen,
        "left_out": found.left_out,
        "differing_ties": found.differing_ties,
        "not_finite": found.not_finite,
        "dropped": found.dropped,
        "original": None if found.original is None else asdict(found.original),
        "layouts": {n: True if why is None else why for n, why in found.why_not.items()},
        "notes": found.notes,
        "sound": not found.problems,
        "verdict": verdict_of(found),
        "seconds": found.seconds,
    }
    return json_text("inspect", values)


def config_lines(config: XLMConfig, architecture: str) -> list[str]:
    """Summarise a configuration in a few lines."""
    positions = "fixed sinusoidal" if config.sinusoidal_embeddings else "learned"
    tables = "each with an embedding" if config.has_lang_embeddings else "without embeddings"
    languages = f"{counted(config.n_langs, 'language')}, {tables}"
    if config.lang2id:
        languages += f": {listed([*config.lang2id], 20)}"
    ids = ("bos", "eos", "pad", "unk", "mask")
    parts = (
        (
            f"configuration: {_depth(config)}",
            f"width {config.emb_dim}",
            f"{config.n_heads} heads",
            "GELU" if config.gelu_activation else "ReLU",
            *(() if config.is_encoder_decoder else (_direction(config),)),
        ),
        (
            f"  {config.vocab_size:,} word pieces",
            f"{config.max_position_embeddings} positions ({positions})",
            languages,
        ),
        ("  " + ", ".join(f"{name}_index {getattr(config, f'{name}_index')}" for name in ids),),
        (
            f"  layer_norm_eps {config.layer_norm_eps:g}",
            f"dropout {config.dropout:g}",
            f"attention_dropout {config.attention_dropout:g}",
        ),
    )
    lines = [", ".join(part) for part in parts]
    if config.pruned_heads:
        lines.append(f"  pruned heads: {config.pruned_heads}")
    if architecture in ("XLMWithLMHeadModel", ENCODER_DECODER):
        output = "tied to the embeddings" if config.ties_output else "a matrix of its own"
        if config.asm:
            output = f"adaptive softmax, cutoffs {config.asm_cutoffs}, "
            output += f"div_value {config.asm_div_value:g}"
        lines.append(f"  output layer: {output}")
    elif architecture != "XLMModel":
        labels = [*(config.id2label or {}).values()]
        lines.append(f"  {counted(config.num_labels, 'label')}: {listed(labels, 10)}")
        if config.problem_type:
            lines.append(f"  problem_type {config.problem_type}")
    return lines


def _tensor_table(tensors: tuple[Tensor, ...]) -> list[str]:
    with_values = any(tensor.values is not None for tensor in tensors)
    columns = ("min", "max", "mean", "std") if with_values else ()
    cells = [("tensor", "shape", "dtype", "size", *columns, "")]
    for tensor in tensors:
        note = tensor.note
        if tensor.shares is not None:
            note += f"{', ' if note else ''}shares bytes with {shown(tensor.shares)}"
        numbers: tuple[str, ...] = ()
        if with_values:
            values = tensor.values
            assert values is not None
            numbers = tuple(
                "-" if n is None else f"{n:.3g}"
                for n in (values.smallest, values.largest, values.mean, values.deviation)
            )
            bad = ((values.nan, "NaN"), (values.infinite, "infinite"))
            said = ", ".join(f"{count:,} {what}" for count, what in bad if count)
            note += f"{', ' if note and said else ''}{said}"
        shape = shape_of(tensor.shape)
        line = (shown(tensor.name), shape, tensor.dtype, size_of(tensor.nbytes), *numbers, note)
        cells.append(line)
    return aligned(cells, left=(0, 1, 2, len(cells[0]) - 1))


def _on_disk(found: Inspection) -> int:
    return sum(file.nbytes for file in found.files if file.role == "weights")


def _stored(found: Inspection) -> str:
    kinds: dict[str, int] = {}
    for tensor in found.tensors:
        kinds[tensor.dtype] = kinds.get(tensor.dtype, 0) + 1
    dtypes = ", ".join(f"{count} {dtype}" for dtype, count in kinds.items())
    return f"{dtypes if len(kinds) > 1 else ''.join(kinds)}; {size_of(_on_disk(found))} on disk"


def _original_lines(found: Inspection) -> list[str]:
    original = found.original
    if original is None:
        return []
    words = "no dictionary"
    if original.words is not None:
        known = "known" if original.counts else "unknown"
        words = f"a dictionary of {counted(original.words, 'word')}, counts {known}"
    line = f"the original's data: {counted(len(original.params), 'parameter')}, {words}"
    if original.extra:
        line += f"; also {listed(original.extra)}"
    return [line]


def _tokenizer_lines(found: Inspection) -> list[str]:
    names = [file.name for file in found.files if file.role == "tokenizer"]
    return [f"tokenizer: {listed(names, 12) if names else 'no files beside it'}"]


def _not_finite_lines(found: Inspection) -> list[str]:
    return [
        f"not finite: {shown(tensor.name)}: {tensor.values.nan:,} NaN, "
        f"{tensor.values.infinite:,} infinite of {math.prod(tensor.shape):,} values"
        for tensor in found.tensors
        if tensor.values is not None and tensor.name in found.not_finite
    ]


def _depth(config: XLMConfig) -> str:
    if not config.is_encoder_decoder:
        return counted(config.n_layers, "layer")
    depths = [config.part(part).n_layers for part in ("encoder", "decoder")]
    return " and ".join(
        f"{part} of {counted(depth, 'layer')}"
        for part, depth in zip(("an encoder", "a decoder"), depths, strict=True)
    )


def _direction(config: XLMConfig) -> str:
    return "causal" if config.causal else "attends to both sides"
