"""What other tools make of a table of tensors, and what is done to open it all the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError

# Every model has one of these, in the encoder, by the name that it has in files of all classes.
_ANCHORS = ("layer_norm_emb.weight", "layer_norm_emb.gamma")
_STEM = "transformer."
# Parts of an encoder-decoder, whose names begin so without being wrapped.
_PARTS = ("encoder.", "decoder.")
_EMBEDDINGS, _OUTPUT = "embeddings.weight", "pred_layer.proj.weight"
# Modules that fairseq's transformers have, and XLM has not.
_FAIRSEQ = (
    ".self_attn.k_proj.weight",
    ".self_attn.in_proj_weight",
    ".self_attn_layer_norm.weight",
    ".final_layer_norm.weight",
)


def without_prefix(
    tensors: Mapping[str, LazyTensor],
) -> tuple[dict[str, LazyTensor], str]:
    """Take off what a wrapper put before all names, and say what it was; "" if nothing.

    torch.compile puts `_orig_mod.` there, data parallelism `module.`, a module that holds the
    model as an attribute the name of that, and one may wrap another.

    Args:
        tensors: Name in PyTorch's or the original's dialect -> tensor.
    """
    prefix = _prefix(tensors)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, prefix


def _prefix(names: Iterable[str]) -> str:
    names = [*names]
    anchors = [name for name in names if name.endswith(_ANCHORS)]
    if anchors:
        shortest = min(anchors, key=len)
        prefix = shortest.rpartition("layer_norm_emb.")[0]
        # What belongs to the names themselves: of two parts, both have an anchor.
        for stem in (_STEM, *(_PARTS if len(anchors) > 1 else ())):
            if f".{prefix}".endswith(f".{stem}"):
                prefix = prefix.removesuffix(stem)
    else:
        # A head that was saved by itself.
        wrapper = re.match(r"(?:(?:module|_orig_mod)\.)+", names[0] if names else "")
        prefix = wrapper[0] if wrapper else ""
    return prefix if all(name.startswith(prefix) for name in names) else ""


def with_tied_partner(
    tensors: Mapping[str, LazyTensor], config: XLMConfig
) -> tuple[dict[str, LazyTensor], tuple[str, ...]]:
    """Where a file holds one of two tied matrices only, and that the output: both, and a note.

    Args:
        tensors: Name in PyTorch's dialect -> tensor.
        config: Of the model.
    """
    found = dict(tensors)
    if not config.ties_output:
        return found, ()
    notes: tuple[str, ...] = ()
    for part in ("", "encoder.", "decoder."):
        output = found.get(part + _OUTPUT)
        names = (part + _STEM + _EMBEDDINGS, part + _EMBEDDINGS)
        if output is None or any(name in found for name in names):
            continue
        has_stem = any(name.startswith(part + _STEM) for name in found)
        found[names[0] if has_stem else names[1]] = output
        notes += (f"{part + _EMBEDDINGS} is stored as {part + _OUTPUT}, to which it is tied",)
    return found, notes


def refuse_fairseq(names: Iterable[str], source: str) -> None:
    """Raise `CheckpointError` for tensors that have fairseq's names."""
    found = [name for name in names if name.endswith(_FAIRSEQ)]
    if found:
        raise CheckpointError(
            f"{source} has the layout of fairseq ({found[0]}), whose models are of other classes: "
            "no XLM, which has one attention per layer with q_lin, k_lin, v_lin and out_lin. Open "
            "it with fairseq, or, if it is XLM-R, with transformers' XLMRobertaModel."
        )
