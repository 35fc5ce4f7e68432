"""Downloads that break off, commits that do not belong together, and indexes from strangers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_calls import fetch, fetch_all
from tests.support.hub_server import HubServer, hub_server

NAME = "FacebookAI/xlm-mlm-en-2048"
CONFIG = {"config.json": b"{}"}
WEIGHTS = {**CONFIG, "model.safetensors": os.urandom(300_000)}
KINDS = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_broken_download_is_continued(hub: HubServer, tmp_path: Path, cuts: int) -> None:
    # huggingface_hub writes pieces of 10 MiB.
    content = os.urandom(24 << 20)
    hub.add(NAME).commit({**CONFIG, "model.safetensors": content})
    hub.cuts = cuts
    folder = fetch(hub, tmp_path).folder
    assert (folder / "model.safetensors").read_bytes() == content
    assert hub.ranges == [f"bytes={10 << 20}-"] * cuts


def test_a_download_that_never_ends(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME).commit(WEIGHTS)
    hub.cuts = 10**6
    result = fetch(hub, tmp_path)
    assert result.error == "CheckpointError"
    assert (
        f"model.safetensors of {NAME} at revision main from {hub.endpoint} broke off"
        in result.message
    )
    # No half of it is taken for the file, then or later.
    assert not list(tmp_path.rglob("model.safetensors"))
    assert fetch(hub, tmp_path, local_files_only=True).error == "CheckpointError"
    hub.cuts = 0
    folder = fetch(hub, tmp_path).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS["model.safetensors"]


def test_a_remainder_that_is_too_long(hub: HubServer, tmp_path: Path) -> None:
    """What an earlier download left is thrown away if it cannot be the file's beginning."""
    hub.add(NAME).commit(WEIGHTS)
    hub.cuts = 10**6
    fetch(hub, tmp_path)
    for remainder in tmp_path.rglob("*.incomplete"):
        remainder.write_bytes(bytes(400_000))
    hub.cuts = 0
    folder = fetch(hub, tmp_path).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS["model.safetensors"]


def test_files_of_another_commit(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.add(NAME)
    commit = repository.commit(WEIGHTS)
    fetch(hub, tmp_path)
    next(tmp_path.rglob("model.safetensors")).unlink()
    hub.commit_claimed = "1" * 40
    result = fetch(hub, tmp_path, revision=commit)
    assert result.error == "CheckpointError"
    assert f"with commit {'1' * 40}, but {commit} was asked for" in result.message


def test_the_folder_cannot_be_written(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME).commit(WEIGHTS)
    (tmp_path / "file").write_text("")
    result = fetch(hub, tmp_path, cache_dir=str(tmp_path / "file"))
    assert result.error == "CheckpointError"
    assert f"cannot be stored in {tmp_path / 'file'}" in result.message


def fetch_indexes(hub: HubServer, home: Path, indexes: list[bytes]) -> list[str]:
    """The messages of the errors for repositories that have these indexes, of every kind."""
    names = []
    for number, index in enumerate(indexes):
        for kind in KINDS:
            names.append(f"owner/{kind.partition('.')[0]}{number}")
            hub.add(names[-1]).commit({**CONFIG, f"{kind}.index.json": index, "inside": b"x"})
    results = fetch_all(hub.endpoint, home, [{"name": name} for name in names])
    assert [result.error for result in results] == ["CheckpointError"] * len(names)
    return [result.message for result in results]


def test_hostile_names(hub: HubServer, tmp_path: Path) -> None:
    shards = ["../config.json", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "C:x", "a\0b", "a\nb"]
    shards += ["\ud800", "inside/", "./inside", 7, None, ["inside"], {"a": "inside"}]
    indexes = [json.dumps({"weight_map": {"t": "inside", "u": shard}}) for shard in shards]
    messages = fetch_indexes(hub, tmp_path, [index.encode() for index in indexes])
    for number, message in enumerate(messages):
        assert f"names the shard {shards[number // 3]!r:.80}: expected the plain name" in message
    # Nothing was asked for but configurations, weights and indexes: not the shard that is inside.
    asked = {request.rpartition("/")[2] for request in hub.taken()}
    assert asked == {
        "config.json",
        "generation_config.json",
        *KINDS,
        *(f"{kind}.index.json" for kind in KINDS),
    }


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"weight_map": {}}',
        b'{"weight_map": ["inside"]}',
        b'{"weight_map": {"t": "inside", "t": "other"}}',
        b'{"weight_map": ' + b"[" * 100_000,
        b'{"weight_map": {"t": ' + b"9" * 10_000 + b"}}",
    ],
    ids=range(9),
)
def test_damaged_indexes(hub: HubServer, tmp_path: Path, index: bytes) -> None:
    for kind, message in zip(KINDS, fetch_indexes(hub, tmp_path, [index]), strict=True):
        assert f"{kind}.index.json" in message


def test_an_index_of_files_that_are_not_there(hub: HubServer, tmp_path: Path) -> None:
    for message in fetch_indexes(hub, tmp_path, [b'{"weight_map": {"t": "absent.bin"}}']):
        assert "has no absent.bin at revision main" in message
    [message, *_] = fetch_indexes(
        hub, tmp_path, [json.dumps({"weight_map": {"t": "x" * 5000}}).encode()]
    )
    assert "x" * 100 in message


def test_the_same_shard_once(hub: HubServer, tmp_path: Path) -> None:
    weight_map = dict.fromkeys("abc", "part.bin")
    index = json.dumps({"weight_map": weight_map}).encode()
    hub.add(NAME).commit({**CONFIG, "pytorch_model.bin.index.json": index, "part.bin": b"x"})
    fetch(hub, tmp_path)
    assert sum(request.endswith("/part.bin") for request in hub.taken()) == 1
