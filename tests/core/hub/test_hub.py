"""What is fetched from a hub, into which cache, and with how many requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.support.hub_calls import fetch, fetch_all
from tests.support.hub_server import HubServer, hub_server
from tests.support.small_tokenizer import write_folder
from xlm_core import XLMTokenizer
from xlm_core.checkpoints import open_checkpoint

NAME = "FacebookAI/xlm-mlm-en-2048"
WEIGHTS = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "tf_model.h5.index.json",
]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> folder that transformers wrote."""
    values: dict[str, Any] = dict(vocab_size=53, emb_dim=12, n_layers=2, n_heads=3)
    config = transformers.XLMConfig(**values, max_position_embeddings=19)
    model = transformers.XLMWithLMHeadModel(config)
    root = tmp_path_factory.mktemp("saved")
    model.save_pretrained(root / "bin", safe_serialization=False)
    model.save_pretrained(root / "bin shards", safe_serialization=False, max_shard_size="8KB")
    model.save_pretrained(root / "safetensors shards", max_shard_size="8KB")
    keras = transformers.TFXLMWithLMHeadModel(config)
    keras(keras.dummy_inputs)
    keras.save_pretrained(root / "h5")
    model.to(torch.float16).save_pretrained(root / "safetensors")
    return {path.name: path for path in root.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def without(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: bytes_ for name, bytes_ in contents(folder).items() if name not in names}


@pytest.mark.parametrize("kind", ["safetensors", "safetensors shards", "bin", "bin shards", "h5"])
def test_weights_of_every_kind(
    hub: HubServer, saved: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    commit = hub.add(NAME).commit(saved[kind])
    online, again = fetch_all(hub.endpoint, tmp_path, [{"name": NAME}, {"name": NAME}])
    expected = contents(saved[kind])
    assert (len(expected) > 4) == ("shards" in kind)
    assert "generation_config.json" in expected
    assert contents(online.folder) == expected
    assert online.folder.name == commit
    assert online.folder.parent.parent == tmp_path / "hub/models--FacebookAI--xlm-mlm-en-2048"
    assert again == online
    # One GET of each file, and none of what is not needed; the second call asks for the branch.
    requests = hub.taken()
    assert sum(request.startswith("GET") for request in requests) == len(expected)
    assert requests.count("HEAD main/config.json") == 2
    assert requests[-1] == "HEAD main/config.json"
    # Without a hub, and without a request.
    offline = fetch(hub, tmp_path, variables={"HF_HUB_OFFLINE": "1"})
    local = fetch(hub, tmp_path, local_files_only=True)
    assert offline == local == online
    assert hub.taken() == []


def test_what_was_fetched_opens(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    hub.add(NAME).commit(saved["safetensors"])
    checkpoint = open_checkpoint(fetch(hub, tmp_path).folder)
    assert checkpoint.config.emb_dim == 12
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {"float16"}


def test_the_first_kind_that_exists(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    everything = {
        name: bytes_ for folder in saved.values() for name, bytes_ in contents(folder).items()
    }
    for number, first in enumerate(WEIGHTS[:5]):
        hub.add(NAME).commit({k: v for k, v in everything.items() if k not in WEIGHTS[:number]})
        folder = fetch(hub, tmp_path).folder
        kinds = [name for name in WEIGHTS if (folder / name).exists()]
        assert kinds == [first]
        asked = {request.rpartition("/")[2] for request in hub.taken()}
        assert asked.intersection(WEIGHTS) == set(WEIGHTS[: number + 1])


def test_bare_names(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    hub.add("FacebookAI/xlm-clm-enfr-1024").commit(saved["safetensors"])
    bare = fetch(hub, tmp_path, "xlm-clm-enfr-1024")
    assert bare == fetch(hub, tmp_path, "FacebookAI/xlm-clm-enfr-1024")
    assert bare.folder.parents[1].name == "models--FacebookAI--xlm-clm-enfr-1024"


def test_revisions(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    repository = hub.add(NAME)
    old = repository.commit(saved["bin"])
    proposed = repository.commit(saved["safetensors"], branch="refs/pr/3")
    assert fetch(hub, tmp_path).folder.name == old
    branch = fetch(hub, tmp_path, revision="refs/pr/3")
    assert branch.folder.name == proposed
    assert (branch.folder / "model.safetensors").exists()
    hub.taken()
    # The digits of a commit name its files for good: no request.
    assert fetch(hub, tmp_path, revision=proposed) == branch
    assert fetch(hub, tmp_path, revision=old).folder.name == old
    assert hub.taken() == []
    # A branch moves on; what it was stays.
    new = repository.commit(saved["safetensors shards"])
    assert fetch(hub, tmp_path).folder.name == new
    offline = {"HF_HUB_OFFLINE": "1"}
    assert fetch(hub, tmp_path, variables=offline).folder.name == new
    assert fetch(hub, tmp_path, revision=old, variables=offline).folder.name == old


def test_tokenizer(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    files = contents(write_folder(tmp_path / "tokenizer", lang="en"))
    config = contents(saved["safetensors"])["config.json"]
    everything = {
        **contents(saved["safetensors"]),
        **files,
        "README.md": b"",
        "tokenizer.json": b"",
    }
    hub.add(NAME).commit(everything)
    home = tmp_path / "home"
    folder = fetch(hub, home, files="tokenizer").folder
    assert contents(folder) == {**files, "config.json": config}
    hub.taken()
    # The files that do not exist are remembered as well.
    assert fetch(hub, home, files="tokenizer").folder == folder
    assert hub.taken() == ["HEAD main/config.json"]
    assert fetch(hub, home, files="tokenizer", local_files_only=True).folder == folder
    # The weights join them in the same snapshot.
    assert fetch(hub, home).folder == folder
    assert hub.taken() == [
        "HEAD main/config.json",
        f"HEAD {folder.name}/generation_config.json",
        f"GET {folder.name}/generation_config.json",
        f"HEAD {folder.name}/model.safetensors",
        "GET cdn",
    ]


def test_a_file_that_is_not_there_is_asked_for_once(
    hub: HubServer, saved: dict[str, Path], tmp_path: Path
) -> None:
    hub.add(NAME).commit(without(saved["safetensors"], "generation_config.json"))
    folder = fetch(hub, tmp_path).folder
    assert sum("generation_config" in request for request in hub.taken()) == 1
    assert fetch(hub, tmp_path).folder == folder
    assert hub.taken() == ["HEAD main/config.json"]


def test_a_tokenizer_in_a_subfolder_and_once_more(hub: HubServer, tmp_path: Path) -> None:
    files = contents(write_folder(tmp_path / "tokenizer", lang="en"))
    hub.add(NAME).commit({f"parts/{name}": text for name, text in files.items()})
    home = tmp_path / "home"
    folder = fetch(hub, home, files="tokenizer", subfolder="parts").folder
    assert folder.name == "parts"
    assert XLMTokenizer.from_pretrained(folder).lang == "en"
    hub.taken()
    again = fetch(hub, home, files="tokenizer", subfolder="parts", force_download=True).folder
    assert again == folder
    requests = hub.taken()
    assert sum(request.startswith("GET") for request in requests) == len(files)


def test_a_tokenizer_alone(hub: HubServer, tmp_path: Path) -> None:
    files = contents(write_folder(tmp_path / "tokenizer"))
    hub.add(NAME).commit(files)
    home = tmp_path / "home"
    assert contents(fetch(hub, home, files="tokenizer").folder) == files
    result = fetch(hub, home, files="tokenizer", variables={"HF_HUB_OFFLINE": "1"})
    assert contents(result.folder) == files


def test_which_cache(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    hub.add(NAME).commit(saved["bin"])
    variables = {"HF_HUB_CACHE": str(tmp_path / "of the variable")}
    result = fetch(hub, tmp_path / "home", variables=variables)
    assert result.folder.is_relative_to(tmp_path / "of the variable")
    result = fetch(hub, tmp_path / "home", cache_dir=str(tmp_path / "given"), variables=variables)
    assert result.folder.is_relative_to(tmp_path / "given")
    hub.taken()
    assert fetch(hub, tmp_path / "home", cache_dir=str(tmp_path / "given")) == result
    assert hub.taken() == ["HEAD main/config.json"]
    result = fetch(hub, tmp_path / "home", cache_dir="~/../given", local_files_only=True)
    assert os.path.realpath(result.folder).startswith(str(tmp_path / "given"))
    assert hub.taken() == []


def test_a_snapshot_of_another_program(
    hub: HubServer, saved: dict[str, Path], tmp_path: Path
) -> None:
    """It holds files, but does not say which others the commit lacks."""
    commit = hub.add(NAME).commit(saved["bin"])
    folder = fetch(hub, tmp_path).folder
    for mark in (folder.parents[1] / ".no_exist" / commit).iterdir():
        mark.unlink()
    hub.taken()
    assert fetch(hub, tmp_path, local_files_only=True).folder == folder
    assert hub.taken() == []
    # Asked of the hub, once.
    assert fetch(hub, tmp_path, revision=commit).folder == folder
    assert hub.taken() == [f"HEAD {commit}/{name}" for name in WEIGHTS[:2]]
    assert fetch(hub, tmp_path, revision=commit).folder == folder
    assert hub.taken() == []


def test_the_hub_is_away(saved: dict[str, Path], tmp_path: Path) -> None:
    with hub_server() as server:
        server.add(NAME).commit(saved["bin"])
        folder = fetch(server, tmp_path).folder
    assert fetch(server.endpoint, tmp_path).folder == folder


def test_a_mirror_that_does_not_say_why(
    hub: HubServer, saved: dict[str, Path], tmp_path: Path
) -> None:
    hub.add(NAME).commit(saved["bin"])
    hub.says_why = False
    assert (fetch(hub, tmp_path).folder / "pytorch_model.bin").exists()


def test_private_repositories(hub: HubServer, saved: dict[str, Path], tmp_path: Path) -> None:
    hub.add(NAME, token="hf_right").commit(saved["safetensors"])
    assert fetch(hub, tmp_path / "1", token="hf_right").folder.exists()
    assert fetch(hub, tmp_path / "2", variables={"HF_TOKEN": "hf_right"}).folder.exists()
    refused = fetch(hub, tmp_path / "3", token=False, variables={"HF_TOKEN": "hf_right"})
    assert refused.error == "CheckpointError"
