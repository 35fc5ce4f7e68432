"""Converting and opening checkpoints, beside transformers, h5py and a plain copy.

    python benchmarks/checkpoints.py [--rounds 5] [--shape "2.3 GB"] [--folder DIR]

Whole processes, in turn; medians. Memory is the peak of a process. "2.3 GB" is the shape of the
17- and 100-language models, to see how cost grows. Needs about 4 GB of disk (16 GB).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xlm_core import XLMConfig
from xlm_core.checkpoints import LAYOUTS, LazyTensor
from xlm_core.checkpoints.writing import Weights, write_folder
from xlm_core.weights import tensors_of

LM = "XLMWithLMHeadModel"
SHAPES = {
    "570 MB": {"vocab_size": 64699, "emb_dim": 1024, "n_layers": 6, "n_heads": 8, "n_langs": 2},
    "2.3 GB": {
        "vocab_size": 200_000,
        "emb_dim": 1280,
        "n_layers": 16,
        "n_heads": 16,
        "n_langs": 17,
        "use_lang_emb": False,
    },
}
XLM = [sys.executable, "-m", "conversion"]

# Each runs in a process of its own; {a} is the source, {b} the target.
TRANSFORMERS_TO_TF = """
import os; os.environ["TF_USE_LEGACY_KERAS"] = "1"
import transformers
model = transformers.TFXLMWithLMHeadModel.from_pretrained({a!r}, from_pt=True)
model.save_pretrained({b!r}, safe_serialization=False)
"""
# The same arrays, from memory: only the writing is timed.
H5PY = """
import sys, time, h5py
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from conversion.convert import weights_of
named = LAYOUTS["tf"].named(weights_of(open_checkpoint({a!r})))
arrays = {{name: tensor.read() for name, tensor in named.items()}}
arrays["copy"] = arrays["transformer/embeddings/weight:0"]
start = time.perf_counter()
with h5py.File({b!r}, "w") as file:
    for name, array in arrays.items():
        file.create_dataset(name, data=array)
print("seconds", time.perf_counter() - start)
"""
IN_PROCESS = """
import time
from conversion.convert import convert
start = time.perf_counter()
convert({a!r}, {b!r}, to={to!r}, check={check})
print("seconds", time.perf_counter() - start)
"""
COPY = """
import shutil, time
start = time.perf_counter()
shutil.copyfile({a!r}, {b!r})
print("seconds", time.perf_counter() - start)
"""
OURS_TORCH = """
import torch, xlm_torch
model = xlm_torch.XLMWithLMHeadModel.from_pretrained({a!r})
with torch.inference_mode():
    print(model(torch.tensor([[0, 14, 15, 16, 1]]){langs}).logits[0, 0, 0])
"""
THEIRS_TORCH = """
import torch, transformers
model = transformers.XLMWithLMHeadModel.from_pretrained({a!r})
with torch.inference_mode():
    print(model(torch.tensor([[0, 14, 15, 16, 1]]){langs}).logits[0, 0, 0])
"""
OURS_TF = """
import numpy, tensorflow, xlm_tf
model = xlm_tf.TFXLMWithLMHeadModel.from_pretrained({a!r})
print(model(numpy.array([[0, 14, 15, 16, 1]]){langs}).logits[0, 0, 0])
"""
THEIRS_TF = """
import os; os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf, transformers
model = transformers.TFXLMWithLMHeadModel.from_pretrained({a!r})
print(model(tf.constant([[0, 14, 15, 16, 1]]){langs}).logits[0, 0, 0])
"""


def build(folder: Path, title: str) -> None:
    """A language model with random weights in three layouts."""
    config = XLMConfig(**SHAPES[title], architectures=[LM])
    rng = np.random.default_rng(0)
    tensors = [
        (spec, LazyTensor.of(rng.standard_normal(spec.shape, np.float32) * np.float32(0.02)))
        for spec in tensors_of(config, LM)
        if spec.tied_to is None
    ]
    for name in ("torch", "safetensors", "tf"):
        (folder / name).mkdir(parents=True)
        write_folder(folder / name, Weights(config, LM, tensors), LAYOUTS[name])


def run(command: list[str], target: Path | None = None) -> tuple[float, float]:
    """Seconds (as the command prints them, else of the whole process) and peak MB of a process."""
    if target is not None and target.is_dir():
        shutil.rmtree(target)
    elif target is not None:
        target.unlink(missing_ok=True)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        errors.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)[:200]} failed:\n{errors.read()}")
        lines = [line for line in printed if line.startswith("seconds ")]
    return (float(lines[0].split()[1]) if lines else wall), usage.ru_maxrss / 1024


def conversions(folder: Path) -> dict[str, tuple[list[str], Path]]:
    """Row -> command and target."""
    source, target, file = folder / "torch", folder / "target", folder / "target.file"
    code = {"a": str(source), "b": str(target)}

    def python(text: str, **values: object) -> list[str]:
        return [sys.executable, "-c", text.format(**{**code, **values})]

    tool = [*XLM, "convert", str(source), str(target), "--quiet", "--to"]
    return {
        "to tf, transformers": (python(TRANSFORMERS_TO_TF), target),
        "to tf, xlm convert --no-check": ([*tool, "tf", "--no-check"], target),
        "to tf, xlm convert": ([*tool, "tf"], target),
        "in process: h5py writes the same arrays": (python(H5PY, b=str(file)), file),
        "in process: to tf, not read back": (python(IN_PROCESS, to="tf", check=False), target),
        "in process: a plain copy": (
            python(COPY, a=str(folder / "safetensors" / "model.safetensors"), b=str(file)),
            file,
        ),
        "in process: to safetensors, not read back": (
            python(IN_PROCESS, to="safetensors", check=False),
            target,
        ),
        "to safetensors, xlm convert --no-check": ([*tool, "safetensors", "--no-check"], target),
        "to facebook, xlm convert": ([*tool, "facebook"], target),
        "to keras, xlm convert": ([*tool, "keras"], target),
        "python alone": (python("pass"), file),
    }


def openings(folder: Path, langs: bool) -> dict[str, list[str]]:
    """Row -> command."""
    zeros = {"torch": "torch.zeros", "numpy": "numpy.zeros", "tf": "tf.zeros"}

    def python(text: str, layout: str, package: str) -> list[str]:
        whole = {"torch": "torch.long", "numpy": "int", "tf": "tf.int32"}[package]
        given = f", langs={zeros[package]}((1, 5), dtype={whole})" if langs else ""
        return [sys.executable, "-c", text.format(a=str(folder / layout), langs=given)]

    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "PyTorch, transformers": python(THEIRS_TORCH, "safetensors", "torch"),
        "PyTorch, xlm_torch": python(OURS_TORCH, "safetensors", "torch"),
        "import keras, tensorflow": [sys.executable, "-c", "import keras, tensorflow"],
        "TensorFlow, transformers (tf_model.h5)": python(THEIRS_TF, "tf", "tf"),
        "TensorFlow, xlm_tf (tf_model.h5)": python(OURS_TF, "tf", "numpy"),
        "TensorFlow, xlm_tf (safetensors)": python(OURS_TF, "safetensors", "numpy"),
    }


def main() -> None:
    """Print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=SHAPES, default="570 MB")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--build", choices=SHAPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.folder, options.build)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        measure(Path(place) / "model", options.shape, options.rounds)


def measure(folder: Path, title: str, rounds: int) -> None:
    """Print the table of one shape."""
    # In a process of its own: the peak of a process counts that of the one it came from.
    run([sys.executable, __file__, "--build", title, "--folder", str(folder)])
    size = (folder / "safetensors" / "model.safetensors").stat().st_size / 1e6
    rows = conversions(folder)
    opened = openings(folder, bool(SHAPES[title].get("use_lang_emb", True)))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in [*rows, *opened]}
    for _ in range(rounds):
        for name, (command, target) in rows.items():
            found[name].append(run(command, target))
        for name, command in opened.items():
            found[name].append(run(command))
    print(f"{title}: {size:,.0f} MB, {rounds} rounds")
    print(f"{'':44} {'seconds':>8} {'least':>8} {'most':>8} {'peak MB':>8}")
    for name, runs in found.items():
        seconds = [spent for spent, _ in runs]
        peak = statistics.median(peak for _, peak in runs)
        middle = statistics.median(seconds)
        print(f"{name:44} {middle:8.2f} {min(seconds):8.2f} {max(seconds):8.2f} {peak:8.0f}")
    for one, other in RATIOS:
        ratios = [a[0] / b[0] for a, b in zip(found[one], found[other], strict=True)]
        middle = statistics.median(ratios)
        print(f"{one} / {other}: {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


RATIOS = (
    ("to tf, transformers", "to tf, xlm convert --no-check"),
    ("to tf, transformers", "to tf, xlm convert"),
    ("in process: to tf, not read back", "in process: h5py writes the same arrays"),
    ("in process: to safetensors, not read back", "in process: a plain copy"),
    ("PyTorch, xlm_torch", "PyTorch, transformers"),
    ("TensorFlow, xlm_tf (tf_model.h5)", "TensorFlow, transformers (tf_model.h5)"),
    ("TensorFlow, xlm_tf (safetensors)", "TensorFlow, transformers (tf_model.h5)"),
)


if __name__ == "__main__":
    main()
