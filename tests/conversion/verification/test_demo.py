"""`xlm demo`: what it builds, what it says of it, and that it passes."""

from __future__ import annotations

from pathlib import Path

from conversion.verification.demo import demo
from tests.conversion.small_checkpoints import require_frameworks, small_config


def test_demo(tmp_path: Path) -> None:
    require_frameworks()
    said: list[str] = []
    report = demo(keep=tmp_path / "demo", config=small_config(), say=said.append)
    lines = "\n".join(said).splitlines()
    assert report.passed
    assert lines[-1] == report.verdict()
    assert any("biases and norms are perturbed" in line for line in lines)
    assert any(line.startswith("file: ") and " MB" in line for line in lines)
    assert any(line.startswith("to open: PyTorch ") for line in lines)
    assert sorted(file.name for file in (tmp_path / "demo").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
