"""Which strings are names, what is known about published checkpoints, and the optional package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_calls import ROOT
from tests.support.hub_fetch import fetch
from xlm_core.errors import CheckpointError
from xlm_core.hub import PUBLISHED, is_hub_name, quirks
from xlm_core.hub import fetch as fetch_files

CAUSAL = ("xlm-clm-enfr-1024", "xlm-clm-ende-1024")
HASH = "0123456789abcdef0123456789abcdef01234567"


def test_published() -> None:
    assert len(set(PUBLISHED)) == 10
    assert set(CAUSAL) < set(PUBLISHED)
    for name in PUBLISHED:
        assert is_hub_name(name)
        assert is_hub_name(f"FacebookAI/{name}")


@pytest.mark.parametrize(
    "text", ["a/b", "owner/name", "O-w.n_er1/n.a-m_e", "_a/b_", "a/" + "b" * 96]
)
def test_names(text: str) -> None:
    assert is_hub_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *("/", "a", "bert-base-cased", "xlm-mlm-en-2049", "FacebookAI", "XLM-MLM-EN-2048"),
        *(
            "/a",
            "a/",
            "/a/b",
            "./a",
            "../a",
            "a/..",
            "~/a",
            "a/b/c",
            "a//b",
            "a\\b",
            "C:/a",
            "C:\\a",
        ),
        *(
            "a/b.safetensors",
            "a/b.bin",
            "a/b.H5",
            "a/b.keras",
            "a/b.pth",
            "a/config.json",
            "a/b.git",
        ),
        *(
            "a/-b",
            "a/b-",
            ".a/b",
            "a/b.",
            "a--b/c",
            "a/b..c",
            "a/é",
            "a/\u0661",
            "a/b@main",
            "hf://a/b",
            "http://a/b",
        ),
        *("", "a/b c", "a/b\n", "a/b\0", "a/" + "b" * 97),
    ],
)
def test_what_is_no_name(text: str) -> None:
    assert not is_hub_name(text)
    with pytest.raises(CheckpointError, match="no name of a repository"):
        fetch(text)


def test_what_to_fetch() -> None:
    with pytest.raises(CheckpointError, match="'config': expected WantedFiles"):
        fetch_files("a/b", "config")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "FacebookAI/{}",
        "./{}",
        "/models/{}",
        "/models/{}/",
        "a/b/{}",
        "/cache/models--FacebookAI--{}/snapshots/" + HASH,
        "/cache/models--{}/snapshots/" + HASH,
        "cache/models--FacebookAI--{}/snapshots/" + HASH + "/",
    ],
)
def test_causal_models(name: str, form: str) -> None:
    assert quirks(form.format(name)) == {"causal": True}
    assert quirks(Path(form.format(name))) == {"causal": True}


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in PUBLISHED if name not in CAUSAL),
        *("", ".", "/", "a/b", f"other/{CAUSAL[0]}", f"{CAUSAL[0]}.pth", f"/snapshots/{HASH}"),
        *(f"/models/{CAUSAL[0]}/checkpoint-5", f"/models/my-{CAUSAL[0]}"),
        f"/cache/models--other--{CAUSAL[0]}/snapshots/{HASH}",
        f"/cache/models--FacebookAI--{CAUSAL[0]}/blobs/{HASH}",
    ],
)
def test_all_others(name: str) -> None:
    assert quirks(name) == {}


def test_a_folder_beside_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that looks like a name of another owner is a path where it exists."""
    (tmp_path / "other" / CAUSAL[0]).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert quirks(f"other/{CAUSAL[0]}") == {"causal": True}
    monkeypatch.chdir(tmp_path / "other" / CAUSAL[0])
    assert quirks(".") == {"causal": True}


@pytest.mark.parametrize("blocked", ["huggingface_hub", "huggingface_hub.errors"])
def test_without_the_package(blocked: str) -> None:
    program = f"""
import sys
sys.modules[{blocked!r}] = None
from tests.support.hub_fetch import fetch
from xlm_core.hub import is_hub_name, quirks
from xlm_core.errors import MissingPackageError
assert is_hub_name("a/b") and quirks("xlm-clm-ende-1024")
try:
    fetch("a/b")
except MissingPackageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "pip install 'xlm-parity[hub]'" in done.stdout
