"""The Python examples of README.md run, in order, as one program; its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xlm_core import XLMWarning
from xlm_core.hub import PUBLISHED

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED_NAME = "xlm-mlm-enfr-1024"
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::xlm_core.XLMWarning")
def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    # The first example needs the network: here with the folder that the others made.
    (first,) = re.findall(r"```py\n(.*?)```", TEXT, flags=re.DOTALL)
    assert PUBLISHED_NAME in first
    first = first.replace(PUBLISHED_NAME, "my-xlm")
    exec(compile(first, "README.md", "exec"), names)
    assert float(capsys.readouterr().out) < 1e-5
    assert (tmp_path / "my-xlm" / "model.safetensors").is_file()
    assert (tmp_path / "my-tagger" / "config.json").is_file()
    assert issubclass(XLMWarning, UserWarning)


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_its_first_name_is_published() -> None:
    assert PUBLISHED_NAME in PUBLISHED
    for command in ("verify", "convert"):
        assert f"xlm {command} {PUBLISHED_NAME}" in TEXT


def test_it_opens_with_the_two_commands() -> None:
    commands = re.findall(r"^make \w+", TEXT, flags=re.MULTILINE)
    assert commands == ["make demo", "make test"]
    assert TEXT.index("make demo") < TEXT.index("## ")
