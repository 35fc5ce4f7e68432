"""The examples of docs/objectives.md run: its commands on small texts, then its Python."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from conversion.cli.command import main
from xlm_core import XLMConfig

TEXT = (Path(__file__).resolve().parents[1] / "docs/objectives.md").read_text(encoding="utf-8")


# What torch says of Trainer's DataLoader on a machine without an accelerator.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = {"en": "the cat sat on the mat", "fr": "le chat est sur le tapis"}
    for language, line in lines.items():
        text = "\n".join([line, line[::-1]] * 100)
        Path(f"train.{language}.gz").write_bytes(gzip.compress(text.encode()))
    (commands,) = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    for command in commands.replace("30000", "30").splitlines():
        assert main(command.split()[1:]) == 0
    sizes = {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "vocab_size": 80}
    langs = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}, "id2lang": {0: "en", 1: "fr"}}
    XLMConfig(**sizes, **langs).save_pretrained("model")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        exec(compile(block, "docs/objectives.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    tasks = [line.split()[0] for line in printed if "-" in line.split(" ", 1)[0]]
    assert tasks[:3] == ["MLM-fr", "MLM-fr", "TLM-en-fr"]
    assert Path("trained/checkpoint-3/model.safetensors").is_file()
