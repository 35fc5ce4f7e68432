"""Published checkpoints by name, from a local server, through everything that takes a name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conversion.small_checkpoints import write_checkpoint
from tests.support.hub_server import HubServer, hub_server
from tests.support.layout_models import make
from tests.support.small_tokenizer import write_folder as write_tokenizer
from xlm_core import XLMTokenizer
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from xlm_core.checkpoints.writing import write_folder

ROOT = Path(__file__).resolve().parents[2]
FAMILY = """
import sys, warnings
import xlm_core, {family} as family
name = sys.argv[1]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = family.from_pretrained(name)
    again = family.MODEL_CLASSES["XLMModel"].from_pretrained(name, local_files_only=True)
said = [str(w.message) for w in caught if isinstance(w.message, xlm_core.XLMWarning)]
print(type(model).__name__, model.config.causal, again.config.causal, len(said))
print(len(xlm_core.XLMTokenizer.from_pretrained(name)))
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


def run(hub: HubServer, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    kept = ("PATH", "SYSTEMROOT", "TMPDIR", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HOME": str(home)}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def published(hub: HubServer, tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "published"
    write_checkpoint(folder)
    write_tokenizer(folder)
    hub.add(f"FacebookAI/{name}").commit(folder)
    return folder


@pytest.mark.parametrize(("family", "prefix"), [("xlm_torch", ""), ("xlm_tf", "TF")])
@pytest.mark.parametrize(
    ("name", "causal"), [("xlm-clm-enfr-1024", True), ("FacebookAI/xlm-mlm-en-2048", False)]
)
def test_both_families(
    hub: HubServer, tmp_path: Path, family: str, prefix: str, name: str, causal: bool
) -> None:
    folder = published(hub, tmp_path, name.removeprefix("FacebookAI/"))
    done = run(hub, tmp_path / "home", "-c", FAMILY.format(family=family), name)
    assert done.returncode == 0, done.stderr
    said = f"{prefix}XLMWithLMHeadModel {causal} {causal} {2 * causal}"
    size = len(XLMTokenizer.from_pretrained(folder))
    assert done.stdout.split("\n")[:2] == [said, str(size)]


def test_the_command_line(hub: HubServer, tmp_path: Path) -> None:
    folder = published(hub, tmp_path, "xlm-mlm-100-1280")
    home, target = tmp_path / "home", tmp_path / "target"
    done = run(
        hub, home, "-m", "conversion", "convert", "xlm-mlm-100-1280", str(target), "--to", "tf"
    )
    assert done.returncode == 0, done.stderr
    assert {file.name for file in target.iterdir()} >= {"tf_model.h5", "vocab.json", "merges.txt"}
    assert XLMTokenizer.from_pretrained(target).get_vocab() == (
        XLMTokenizer.from_pretrained(folder).get_vocab()
    )
    done = run(hub, home, "-m", "conversion", "inspect", "xlm-mlm-100-1280")
    assert done.returncode == 0, done.stderr
    done = run(hub, home, "-m", "conversion", "inspect", "xlm-mlm-17-1280")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_half_precision_with_two_copies_of_the_embedding(hub: HubServer, tmp_path: Path) -> None:
    """As the 17- and 100-language models, and as those of 2019, are published."""
    weights = make("XLMWithLMHeadModel", "15 languages, no table", "float16")
    folder = tmp_path / "published"
    folder.mkdir()
    write_folder(folder, weights, LAYOUTS["torch"])
    hub.add("FacebookAI/xlm-mlm-17-1280").commit(folder)
    code = (
        "import xlm_torch; model = xlm_torch.from_pretrained('xlm-mlm-17-1280'); "
        "half = xlm_torch.from_pretrained('xlm-mlm-17-1280', dtype='auto'); "
        "print(model.dtype, half.dtype)"
    )
    done = run(hub, tmp_path / "home", "-c", code)
    assert done.stdout.strip() == "torch.float32 torch.float16", done.stderr
    assert open_checkpoint(folder).layout == "torch"
