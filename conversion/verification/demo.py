"""`xlm demo`: build a checkpoint of a published shape with random weights, and verify it.

Nothing is downloaded: the shape is that of xlm-mlm-enfr-1024, the weights are drawn here.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conversion.opening.families import FAMILIES, load_family
from conversion.reports.verification import Report
from conversion.verification.checkpoint import verify
from xlm_core.config import XLMConfig
from xlm_core.errors import CheckpointError
from xlm_core.weights import Kind

# Source: config.json of the published xlm-mlm-enfr-1024.
PUBLISHED: dict[str, Any] = {
    "n_words": 64139,
    "emb_dim": 1024,
    "n_heads": 8,
    "n_layers": 6,
    "n_langs": 2,
    "use_lang_emb": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "gelu_activation": True,
    "sinusoidal_embeddings": False,
    "causal": False,
    "asm": False,
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
    "init_std": 0.02,
    "embed_init_std": 0.02209708691207961,
    "bos_index": 0,
    "eos_index": 1,
    "pad_index": 2,
    "unk_index": 3,
    "mask_index": 5,
    "is_encoder": True,
    "id2lang": {"0": "en", "1": "fr"},
    "lang2id": {"en": 0, "fr": 1},
}
SEED = 1024
MEGABYTE = 1_000_000
# Standard deviations of the noise that is added to biases and norms. They start as zeros and ones,
# where exchanging two of them would not show.
PERTURBATION = {Kind.BIAS: 0.05, Kind.NORM_SHIFT: 0.05, Kind.NORM_SCALE: 0.1}


def demo(
    *,
    keep: str | os.PathLike[str] | None = None,
    config: XLMConfig | None = None,
    say: Callable[[str], object] = print,
) -> Report:
    """Build a checkpoint of the shape of xlm-mlm-enfr-1024, verify it, and print the report.

    Args:
        keep: The folder to write it to, empty or new; default: a temporary folder that is removed
            at the end.
        config: A configuration to use instead.
        say: Called with each part of the text as soon as it is known.

    Returns:
        The report of the verification.

    Raises:
        CheckpointError: If `keep` is a file or a folder that is not empty.
        MissingPackageError: If a framework is not installed.
    """
    start = time.perf_counter()
    config = XLMConfig.from_dict(PUBLISHED) if config is None else config
    if keep is not None:
        check_empty(Path(keep))
    for title in FAMILIES:
        load_family(title)
    with tempfile.TemporaryDirectory(prefix="xlm-demo-") as temporary:
        folder = Path(temporary if keep is None else keep)
        say(
            f"Building a model of the shape of xlm-mlm-enfr-1024: {config.n_layers} layers, width "
            f"{config.emb_dim}, {config.vocab_size:,} word pieces, {config.n_langs} languages.\n"
            f"Weights are random (seed {SEED}), as in a fresh model; biases and norms are "
            "perturbed, so that an exchanged one would show.\n"
            f"Saving it with PyTorch to {folder}" + (" (removed at the end)" if not keep else "")
        )
        parameters = build(folder, config)
        size = sum(file.stat().st_size for file in folder.iterdir()) / MEGABYTE
        say(
            f"Saved {parameters / 1e6:.1f} million parameters, {size:.1f} MB, after "
            f"{time.perf_counter() - start:.1f} seconds.\n"
            "Opening it in each framework, in float64 and in float32, and comparing every hidden "
            "state, attention, output and the loss on one batch.\n"
        )
        report = verify(folder)
    lines = report.text().splitlines()
    opened = [
        f"{title} {report.seconds[title]['float32']['open']:.1f} s in float32, "
        f"{report.seconds[title]['float64']['open']:.1f} s in float64"
        for title in FAMILIES
    ]
    # The verdict stays last.
    say("\n".join(lines[:-1]))
    say(f"to open: {'; '.join(opened)}")
    say(f"file: {size:.1f} MB; all of it took {time.perf_counter() - start:.1f} seconds")
    say(lines[-1])
    return report


def build(folder: str | os.PathLike[str], config: XLMConfig) -> int:
    """Save an `XLMWithLMHeadModel` with random weights, biases and norms perturbed.

    Args:
        folder: Where to save it; made if it does not exist.
        config: The configuration of the model.

    Returns:
        The number of parameters.
    """
    family, torch = load_family("PyTorch")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        model = family.XLMWithLMHeadModel(config)
        for spec in model.tensor_specs():
            if spec.kind in PERTURBATION:
                stem = "transformer." if spec.in_encoder else ""
                parameter = model.get_parameter(stem + spec.path)
                parameter += PERTURBATION[spec.kind] * torch.randn(spec.shape)
        model.save_pretrained(folder)
        parameters = int(model.num_parameters())
    del model
    gc.collect()
    return parameters


def check_empty(folder: Path) -> None:
    """Raise `CheckpointError` unless `folder` is empty or does not exist yet."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(
            f"{folder} exists already: give a folder that is empty or does not exist yet."
        )
