"""benchmarks/checkpoints.py: what it builds and runs works, on a model of a few kilobytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import checkpoints as benchmark

SMALL = {"vocab_size": 53, "emb_dim": 12, "n_layers": 1, "n_heads": 2, "n_langs": 2}
# What compares with transformers is run by whoever measures.
OURS = (
    "to tf, xlm convert",
    "in process: h5py writes the same arrays",
    "in process: to tf, not read back",
    "in process: a plain copy",
    "in process: to safetensors, not read back",
    "to facebook, xlm convert",
    "to keras, xlm convert",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in the layouts that rows start from."""
    place = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(benchmark.SHAPES, "small", SMALL)
        benchmark.build(place, "small")
    return place


@pytest.mark.parametrize("row", OURS)
def test_conversions(folder: Path, row: str) -> None:
    command, target = benchmark.conversions(folder)[row]
    seconds, megabytes = benchmark.run(command, target)
    assert seconds > 0
    assert megabytes > 0
    assert target.exists()


@pytest.mark.parametrize("row", ["PyTorch, xlm_torch", "TensorFlow, xlm_tf (safetensors)"])
def test_openings(folder: Path, row: str) -> None:
    seconds, _ = benchmark.run(benchmark.openings(folder, langs=True)[row])
    assert seconds > 0


def test_every_ratio_is_of_two_rows(folder: Path) -> None:
    rows = {*benchmark.conversions(folder), *benchmark.openings(folder, langs=True)}
    assert {row for pair in benchmark.RATIOS for row in pair} <= rows
