"""`xlm pretrain` in both frameworks: the same file, the same batches, the same figures."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from conversion.training import dry_run, pretrain
from tests.support.original_checkpoints import golden, optimizer
from tests.support.small_run import OF_PAIRS, write_config, write_texts
from xlm_core.checkpoints.opening import open_checkpoint
from xlm_core.containers.torch_files import write_torch
from xlm_core.errors import CheckpointError
from xlm_core.training.learning_rate import InverseSquareRoot

TIMED = {"seconds", "tokens_per_second"}


def rows_of(run: Path) -> list[dict[str, float]]:
    with (run / "figures.csv").open() as file:
        return [
            {name: float(value) for name, value in row.items() if value and name not in TIMED}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the same run was made in both, and in Keras stopped and resumed."""
    folder = tmp_path_factory.mktemp("both")
    write_texts(folder)
    file = write_config(folder, OF_PAIRS)
    text = file.read_text().replace("seed = 3", 'seed = 3\nprecision = "float64"')
    text = text.replace("n_heads = 2", "n_heads = 2\ndropout = 0.0\nattention_dropout = 0.0")
    for framework in ("torch", "tf"):
        file.write_text(text.replace('/run"', f'/{framework}"'))
        assert pretrain(file, framework=framework).update == 8
    return folder


def test_all_figures_are_equal(folder: Path) -> None:
    torch, tf = rows_of(folder / "torch"), rows_of(folder / "tf")
    assert [row.keys() for row in tf] == [row.keys() for row in torch]
    for in_torch, in_tf in zip(torch, tf, strict=True):
        for name, value in in_torch.items():
            assert in_tf[name] == pytest.approx(value, rel=1e-8, abs=1e-8), name


def test_all_weights_are_equal(folder: Path) -> None:
    torch, tf = (open_checkpoint(folder / name / "model") for name in ("torch", "tf"))
    assert torch.tensors.keys() == tf.tensors.keys()
    for name, tensor in torch.tensors.items():
        np.testing.assert_allclose(tf.tensors[name].read(), tensor.read(), atol=1e-8, rtol=0)


def test_a_run_goes_on_in_its_framework_alone(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="framework was 'tf' and is 'torch'"):
        pretrain(folder / "run.toml", framework="torch", resume=True)


def test_keras_goes_on_where_it_was(folder: Path) -> None:
    """Eight updates and two more: as ten at once, which are the same in PyTorch."""
    file = folder / "run.toml"
    text = file.read_text()
    longer = text.replace("updates = 8", "updates = 10")
    longer = longer.replace("evaluate_every = 4", "evaluate_every = 0")
    file.write_text(longer)
    ended = pretrain(file, framework="tf", resume=True)
    assert ended.update == 10
    file.write_text(longer.replace('/tf"', '/torch"'))
    pretrain(file, framework="torch", resume=True)
    torch, tf = (open_checkpoint(folder / name / "model") for name in ("torch", "tf"))
    for name, tensor in torch.tensors.items():
        np.testing.assert_allclose(tf.tensors[name].read(), tensor.read(), atol=1e-8, rtol=0)
    file.write_text(text)


@pytest.mark.parametrize("framework", ["torch", "tf"])
def test_what_a_run_started_from_is_not_needed_again(tmp_path: Path, framework: str) -> None:
    """A training checkpoint of the original, with Adam's moments: they are in our own by then."""
    start = tmp_path / "start" / "checkpoint.pth"
    content = golden("mono_one_language")
    content["model_optimizer"] = optimizer(content, ("model",), num_updates=50)
    start.parent.mkdir()
    write_torch(start, content, legacy=True)
    write_texts(tmp_path)
    file = write_config(tmp_path, 'mlm = ["en"]')
    text = file.read_text().replace("updates = 8", "updates = 1")
    text = text[: text.index("[model]")] + text[text.index("[objectives]") :]
    text = re.sub(r"\nfr = .*", "", text)
    file.write_text(f'{text}\n[start]\nmodel = "{start}"\nmatch = "words"\n')
    said = io.StringIO()
    assert pretrain(file, framework=framework, stream=said).update == 1
    assert "moments of 35 parameters are taken" in said.getvalue()
    start.unlink()
    file.write_text(file.read_text().replace("updates = 1", "updates = 2"))
    said = io.StringIO()
    assert pretrain(file, framework=framework, resume=True, stream=said).update == 2
    assert "checkpoints/update-000001/model (its checkpoint)" in said.getvalue()
    assert "moments" not in said.getvalue()
    # The learning rate goes on behind the updates of the original.
    [rate] = [row["learning_rate"] for row in rows_of(tmp_path / "run") if "learning_rate" in row]
    assert rate == InverseSquareRoot(0.01, 4).at(51)
    other = file.read_text().replace(str(start), f"{start}.other")
    file.write_text(other)
    with pytest.raises(CheckpointError, match=r"start.model is .*other' and was"):
        pretrain(file, framework=framework, resume=True)


@pytest.mark.full
def test_a_dry_run_of_keras(folder: Path) -> None:
    file = folder / "dry.toml"
    text = (folder / "run.toml").read_text()
    file.write_text(text.replace('/tf"', '/dry"'))
    in_tf, in_torch = (dry_run(file, framework=name) for name in ("tf", "torch"))
    assert in_tf is not None
    assert in_torch is not None
    assert (in_tf.shapes, in_tf.parameters) == (in_torch.shapes, in_torch.parameters)
    for found in (in_tf, in_torch):
        assert found.memory.pop("framework") > 0
    assert in_tf.memory == in_torch.memory
