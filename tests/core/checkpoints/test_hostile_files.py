"""Damaged and hostile files of every layout, from the outside: what opens is right or an error.

Each container has tests of its own; here a whole checkpoint is opened and every tensor read.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from conversion.convert import weights_of
from tests.conftest import FULL
from tests.support.layout_models import make
from xlm_core import CheckpointError, ConfigError
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from xlm_core.checkpoints.writing import write_alone, write_folder

FORMS = ("safetensors", "torch", "legacy", "tf", "tf-safetensors", "facebook", "keras", "archive")
FLIPS = 400 if FULL else 120
CANARY = "os.system was called"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Form -> its file of weights, each in a folder with config.json."""
    weights = make("XLMWithLMHeadModel", "2 languages")
    root = tmp_path_factory.mktemp("whole")
    result = {}
    for form in FORMS:
        folder = root / form
        folder.mkdir()
        if form == "archive":
            result[form] = folder / "model.keras"
            write_alone(result[form], weights, LAYOUTS["keras"])
            continue
        layout = LAYOUTS["torch" if form == "legacy" else form]
        write_folder(folder, weights, layout)
        result[form] = folder / layout.file
        if form == "legacy":
            state = torch.load(result[form], weights_only=True)
            torch.save(state, result[form], _use_new_zipfile_serialization=False)
    return result


def contents(path: Path) -> dict[str, bytes]:
    """Every tensor of a checkpoint, complete and in place."""
    found = weights_of(open_checkpoint(path))
    return {spec.path: tensor.read().tobytes() for spec, tensor in found.tensors}


@contextmanager
def guarded(seconds: int = 20) -> Iterator[None]:
    """An error instead of a hang, and instead of more than 2 GB."""
    import resource

    def hang(*arguments: Any) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, hang)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 500_000


def refused(path: Path) -> str:
    with guarded(), pytest.raises((CheckpointError, ConfigError)) as caught:
        contents(path)
    text = str(caught.value)
    assert str(path.name) in text or str(path.parent) in text, text  # says where
    assert len(text) > 40  # and what
    return text


@pytest.mark.parametrize("form", FORMS)
def test_cut_off_at_every_hundredth(files: dict[str, Path], tmp_path: Path, form: str) -> None:
    copy = shutil.copytree(files[form].parent, tmp_path / "copy") / files[form].name
    whole = files[form].read_bytes()
    for percent in range(100):
        copy.write_bytes(whole[: len(whole) * percent // 100])
        refused(copy)
    copy.write_bytes(whole[:-1])
    refused(copy)
    copy.write_bytes(whole)
    assert contents(copy) == contents(files[form])


# A key with a changed letter is one that nobody knows.
@pytest.mark.filterwarnings("ignore:The configuration has keys without effect")
@pytest.mark.parametrize("form", FORMS)
def test_flipped_bytes(files: dict[str, Path], tmp_path: Path, form: str) -> None:
    """Outside of the numbers, a changed byte is an error, or changes no number."""
    copy = shutil.copytree(files[form].parent, tmp_path / "copy") / files[form].name
    whole = files[form].read_bytes()
    expected = contents(copy)
    numbers = bytearray(len(whole))
    for _, tensor in weights_of(open_checkpoint(copy)).tensors:
        start = tensor.offset + getattr(tensor.source, "_offset", 0)
        numbers[start : start + tensor.nbytes] = b"\1" * tensor.nbytes
    places = [place for place in range(len(whole)) if not numbers[place]]
    rng = random.Random(form)
    outcomes = {"refused": 0, "same": 0, "different": 0}
    for _ in range(FLIPS):
        damaged = bytearray(whole)
        for place in rng.sample(places, rng.choice((1, 1, 1, 2, 4))):
            damaged[place] ^= 1 << rng.randrange(8)
        copy.write_bytes(damaged)
        with guarded():
            try:
                same = contents(copy) == expected
                outcomes["same" if same else "different"] += 1
            except (CheckpointError, ConfigError):
                outcomes["refused"] += 1
    print(form, outcomes)
    assert outcomes["different"] == 0, outcomes


class Call:
    """Its pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("form", ["torch", "legacy", "facebook"])
@pytest.mark.parametrize("where", ["state", "params", "name", "optimizer"])
def test_nothing_is_executed(files: dict[str, Path], tmp_path: Path, form: str, where: str) -> None:
    canary = tmp_path / "canary"
    call = Call(os.system, f"echo {CANARY} > {canary}")
    content: Any = dict(torch.load(files[form], weights_only=False))
    state = content["model"] if form == "facebook" else content
    if where == "state":
        state["embeddings.weight"] = call
    elif where == "name":
        state[call] = torch.zeros(2)
    else:
        content[where] = {"a": [call]}
    copy = shutil.copytree(files[form].parent, tmp_path / "copy") / files[form].name
    torch.save(content, copy, _use_new_zipfile_serialization=form == "torch")
    assert "system" in refused(copy)
    assert not canary.exists()


@pytest.mark.parametrize("function", [eval, exec, open, getattr, print, os.remove, __import__])
def test_no_function_is_called(files: dict[str, Path], tmp_path: Path, function: Any) -> None:
    copy = shutil.copytree(files["torch"].parent, tmp_path / "copy") / files["torch"].name
    torch.save({"a": Call(function, str(copy))}, copy)
    assert function.__name__ in refused(copy)
    assert copy.exists()


def edited_header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        content = file.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return edit


def names(header: dict[str, Any]) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def overlapping(header: dict[str, Any]) -> None:
    one, other = [name for name in names(header) if name.endswith("_lin.bias")][:2]
    header[one]["data_offsets"] = header[other]["data_offsets"]


HEADERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "overlapping": overlapping,
    "out of range": lambda h: h[names(h)[0]].update(data_offsets=[1 << 40, (1 << 40) + 8]),
    "negative": lambda h: h[names(h)[0]].update(data_offsets=[-8, 0]),
    "backwards": lambda h: h[names(h)[0]].update(data_offsets=[96, 0]),
    "absurd shape": lambda h: h[names(h)[0]].update(shape=[1 << 61, 1 << 61]),
    "many axes": lambda h: h[names(h)[0]].update(shape=[1] * 1000),
    "wrong dtype": lambda h: h[names(h)[0]].update(dtype="F16"),
    "no such dtype": lambda h: h[names(h)[0]].update(dtype=["F32"]),
    "half numbers": lambda h: h[names(h)[0]].update(shape=[1.5, 2]),
    "no offsets": lambda h: h[names(h)[0]].pop("data_offsets"),
    "no entry": lambda h: h.update({names(h)[0]: 7}),
    "metadata": lambda h: h.update(__metadata__={"a": {"b": 1}}),
}


@pytest.mark.parametrize("change", HEADERS)
def test_headers_that_lie(files: dict[str, Path], tmp_path: Path, change: str) -> None:
    file = files["safetensors"]
    copy = shutil.copytree(file.parent, tmp_path / "copy") / file.name
    edited_header(HEADERS[change])(copy)
    refused(copy)


def test_headers_that_never_end(files: dict[str, Path], tmp_path: Path) -> None:
    file = files["safetensors"]
    copy = shutil.copytree(file.parent, tmp_path / "copy") / file.name
    for text in (b"[" * 5_000_000, b'{"a":' * 900_000, b"{" + b'"":0,' * 900_000, b" " * 9_000_000):
        copy.write_bytes(struct.pack("<Q", len(text)) + text)
        refused(copy)


@pytest.mark.parametrize(
    "shard", ["../outside", "/etc/passwd", "..", "a/b", "a\\..\\b", "C:model", "\0", ""]
)
@pytest.mark.parametrize("form", ["safetensors", "torch", "tf"])
def test_indices_that_leave_the_folder(
    files: dict[str, Path], tmp_path: Path, form: str, shard: str
) -> None:
    copy = shutil.copytree(files[form].parent, tmp_path / "copy")
    file = copy / files[form].name
    shutil.copy(file, tmp_path / "outside")
    index = copy / f"{file.name}.index.json"
    file.unlink()
    index.write_text(json.dumps({"weight_map": {"embeddings.weight": shard}}))
    assert "which is no file beside it" in refused(index)


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "raw", "chunks", "gzip", "empty"])
@pytest.mark.parametrize("form", ["tf", "keras"])
def test_hdf5_that_points_elsewhere(
    files: dict[str, Path], tmp_path: Path, form: str, kind: str
) -> None:
    copy = shutil.copytree(files[form].parent, tmp_path / "copy") / files[form].name
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones((53, 12), np.float32)
    (tmp_path / "raw").write_bytes(b"\0" * 53 * 12 * 4)
    with h5py.File(copy, "r+") as file:
        sizes = {}
        file.visititems(lambda name, entry: sizes.update({name: getattr(entry, "shape", None)}))
        name = next(name for name, shape in sizes.items() if shape == (53, 12))
        del file[name]
        shape = (53, 12)
        if kind == "external":
            file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
        elif kind == "soft":
            file[name] = h5py.SoftLink("/elsewhere")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, np.float32)
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", shape)
            file.create_virtual_dataset(name, layout)
        elif kind == "raw":
            outside = [(str(tmp_path / "raw"), 0, 53 * 12 * 4)]
            file.create_dataset(name, shape, np.float32, external=outside)
        elif kind == "empty":
            file.create_dataset(name, shape, np.float32)
        else:
            options = {"compression": "gzip"} if kind == "gzip" else {"chunks": (8, 12)}
            file.create_dataset(name, data=np.zeros(shape, np.float32), **options)
    refused(copy)


@pytest.mark.parametrize("kind", ["deflated", "bomb", "twice", "traversal", "no weights", "class"])
def test_archives_that_lie(files: dict[str, Path], tmp_path: Path, kind: str) -> None:
    with zipfile.ZipFile(files["archive"]) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    copy = tmp_path / "model.keras"
    method = zipfile.ZIP_DEFLATED if kind in ("deflated", "bomb") else zipfile.ZIP_STORED
    if kind == "bomb":
        parts["model.weights.h5"] = b"\0" * (1 << 26)
    if kind == "no weights":
        del parts["model.weights.h5"]
    if kind == "class":
        parts["config.json"] = parts["config.json"].replace(b"TFXLM", b"TFXLNet")
    with zipfile.ZipFile(copy, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        if kind == "twice":
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("config.json", parts["config.json"])
        if kind == "traversal":
            archive.writestr("../../evil.h5", b"evil")
    if kind == "traversal":  # nothing is unpacked: a name is only a name
        assert contents(copy) == contents(files["archive"])
    else:
        refused(copy)
    assert not (tmp_path.parent.parent / "evil.h5").exists()


OTHERS = (
    b"",
    b"\0" * 4096,
    b"<html></html>" * 99,
    b"PK\5\6" + b"\0" * 18,
    random.Random(0).randbytes(999),
    b"\x80\2.",
    b"\x89HDF\r\n\x1a\n" + b"\0" * 200,
    b"version https://git-lfs.github.com/spec/v1",
)


@pytest.mark.parametrize("form", FORMS)
def test_files_of_another_kind(files: dict[str, Path], tmp_path: Path, form: str) -> None:
    copy = shutil.copytree(files[form].parent, tmp_path / "copy") / files[form].name
    for content in OTHERS:
        copy.write_bytes(content)
        refused(copy)
