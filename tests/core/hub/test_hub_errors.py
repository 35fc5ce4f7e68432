"""What a hub can refuse or break, and what a person is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_calls import fetch
from tests.support.hub_server import HubServer, hub_server

NAME = "FacebookAI/xlm-mlm-en-2048"
CONFIG = {"config.json": b"{}"}
WEIGHTS = {**CONFIG, "model.safetensors": os.urandom(300_000)}
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


def index(*shards: object) -> bytes:
    return json.dumps({"weight_map": {f"t{i}": shard for i, shard in enumerate(shards)}}).encode()


# -- what is not there -----------------------------------------------------------------------


def test_unknown_repository(hub: HubServer, tmp_path: Path) -> None:
    result = fetch(hub, tmp_path, "nobody/nothing")
    assert result.error == "CheckpointError"
    assert f"no folder nobody/nothing, and {hub.endpoint} has no repository" in result.message
    assert "token" in result.message


def test_unknown_revision(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME).commit(WEIGHTS)
    for revision in ("v9", "0" * 40):
        result = fetch(hub, tmp_path, revision=revision)
        assert result.error == "CheckpointError"
        assert f"{hub.endpoint}/{NAME} has no revision '{revision}'" in result.message


@pytest.mark.parametrize("files", [{"README.md": b""}, {"model.safetensors": b""}])
def test_no_configuration(hub: HubServer, tmp_path: Path, files: dict[str, bytes]) -> None:
    hub.add(NAME).commit(files)
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    assert "has no config.json at revision main" in result.message


def test_no_weights(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME).commit({**CONFIG, "flax_model.msgpack": b"x"})
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    for name in ("model.safetensors", "pytorch_model.bin", "tf_model.h5.index.json", NAME):
        assert name in result.message


@pytest.mark.parametrize("lacking", ["vocab.json", "merges.txt"])
def test_no_tokenizer(hub: HubServer, tmp_path: Path, lacking: str) -> None:
    files = {**CONFIG, "vocab.json": b"{}", "merges.txt": b""}
    del files[lacking]
    hub.add(NAME).commit(files)
    result = fetch(hub, tmp_path, files="tokenizer")
    assert result.error == "CheckpointError"
    assert f"has no {lacking} at revision main" in result.message


# -- what is not open to everyone --------------------------------------------------------------


def test_gated(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, gated=True).commit(WEIGHTS)
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    assert f"{hub.endpoint}/{NAME} is gated" in result.message


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_refusals(hub: HubServer, tmp_path: Path, status: int) -> None:
    hub.add(NAME).commit(WEIGHTS)
    hub.status = status
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    assert f"HTTP status {status}" in result.message
    assert hub.endpoint in result.message
    assert ("HF_TOKEN" in result.message) == (status in (401, 403))


def test_a_wrong_token_is_not_shown(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, token="hf_right").commit(WEIGHTS)
    result = fetch(hub, tmp_path, token="hf_wrong")
    assert result.error == "CheckpointError"
    assert "HTTP status 401" in result.message
    assert "hf_wrong" not in result.message


# -- no network --------------------------------------------------------------------------------


def test_nothing_in_the_cache(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME).commit(WEIGHTS)
    for result in (
        fetch(hub, tmp_path, variables=OFFLINE),
        fetch(hub, tmp_path, local_files_only=True),
        fetch(hub, tmp_path, files="tokenizer", local_files_only=True),
    ):
        assert result.error == "CheckpointError"
        assert (
            f"of {NAME} at revision main is not in the cache {tmp_path / 'hub'}" in result.message
        )
        assert "nothing may be downloaded" in result.message
    assert hub.taken() == []


def test_a_part_in_the_cache(hub: HubServer, tmp_path: Path) -> None:
    shards = ("model-1.safetensors", "model-2.safetensors")
    files = {**CONFIG, "model.safetensors.index.json": index(*shards)}
    files |= dict.fromkeys(shards, b"x")
    commit = hub.add(NAME).commit(files)
    folder = fetch(hub, tmp_path).folder
    (folder / shards[1]).unlink()
    result = fetch(hub, tmp_path, local_files_only=True)
    assert result.error == "CheckpointError"
    assert f"{shards[1]} of {NAME} at revision main is not in the cache" in result.message
    (folder / "model.safetensors.index.json").unlink()
    result = fetch(hub, tmp_path, revision=commit, variables=OFFLINE)
    assert result.error == "CheckpointError"
    assert "weights (model.safetensors, " in result.message
    assert f"at revision {commit} is not in the cache" in result.message


def test_the_hub_is_gone(tmp_path: Path) -> None:
    with hub_server() as server:
        commit = server.add(NAME).commit(CONFIG)
        fetch(server, tmp_path)
    for mark in tmp_path.rglob(f".no_exist/{commit}/*"):
        mark.unlink()
    for revision, missing in ((None, "weights"), ("other", "config.json")):
        result = fetch(server.endpoint, tmp_path, revision=revision)
        assert result.error == "CheckpointError"
        assert f"{server.endpoint} cannot be reached" in result.message
        assert result.message.startswith(missing)
    result = fetch(server.endpoint, tmp_path / "empty", files="tokenizer")
    assert result.message.startswith("vocab.json")
    assert f"{server.endpoint} cannot be reached" in result.message


@pytest.mark.parametrize(
    "endpoint", ["hub", "ftp://127.0.0.1", "http://", "http://[", "http://a:b"]
)
def test_no_address(tmp_path: Path, endpoint: str) -> None:
    result = fetch(endpoint, tmp_path)
    assert result.error == "CheckpointError"
    assert f"HF_ENDPOINT is {endpoint!r}: expected the address" in result.message


def test_a_hub_in_trouble_is_asked_no_further(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME).commit(CONFIG)
    fetch(hub, tmp_path)
    for mark in tmp_path.rglob(".no_exist/*/*"):
        mark.unlink()
    hub.taken()
    hub.status = 503
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    assert result.message.startswith("weights (")
    asked = {request.rpartition("/")[2] for request in hub.taken()}
    assert asked == {"config.json", "generation_config.json"}  # the first that is not known


def test_another_server(hub: HubServer, tmp_path: Path) -> None:
    """One that knows nothing of commits."""
    hub.add(NAME).commit(WEIGHTS)
    hub.bare = True
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    assert f"{hub.endpoint} does not answer as a hub does" in result.message
