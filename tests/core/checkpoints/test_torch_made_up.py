"""Pickles that describe tensors and storages which cannot be: each ends in one error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.checkpoints.torch_files import packed, read_all, refused


def text(content: str) -> bytes:
    return b"X" + len(content).to_bytes(4, "little") + content.encode()


def identity(
    *,
    what: bytes = text("storage"),
    kind: bytes = b"ctorch\nFloatStorage\n",
    key: bytes = text("0"),
    count: bytes = b"K\x06",
    more: bytes = b"",
) -> bytes:
    """A persistent id, and the opcode that asks for what it stands for."""
    return b"(" + what + kind + key + text("cpu") + count + more + b"tQ"


def tensor_pickle(
    *,
    storage: bytes = identity(),
    offset: bytes = b"K\x00",
    shape: bytes = b"K\x02K\x03\x86",
    strides: bytes = b"K\x03K\x01\x86",
    rest: bytes = b"\x89ccollections\nOrderedDict\n)R",
) -> bytes:
    function = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return b"\x80\x02" + function + storage + offset + shape + strides + rest + b"tR."


def with_tensor(**parts: bytes) -> bytes:
    return packed({"data.pkl": tensor_pickle(**parts), "data/0": bytes(24), "version": b"3\n"})


def test_made_up_file_is_sound(tmp_path: Path) -> None:
    assert read_all(with_tensor(), tmp_path).shape == (2, 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"offset": b"K\x01"}, "reaches beyond the 6 elements"),
        ({"offset": b"J\xff\xff\xff\xff"}, "impossible shape"),
        ({"offset": b"N"}, "impossible shape"),
        ({"offset": b"\x88"}, "impossible shape"),
        ({"shape": b"K\x02K\x04\x86"}, "repeats the 6 elements"),
        ({"shape": b"K\x02\x85"}, "impossible shape"),
        ({"shape": b"K\x02J\xff\xff\xff\xff\x86"}, "impossible shape"),
        ({"shape": b"K\x02G\0\0\0\0\0\0\0\0\x86"}, "impossible shape"),
        ({"shape": b"]"}, "a tensor cannot be made"),
        ({"shape": b"(" + b"K\x01" * 65 + b"t", "strides": b"(" + b"K\x01" * 65 + b"t"}, "impossi"),
        ({"strides": b"K\x04K\x01\x86"}, "reaches beyond the 6 elements"),
        ({"strides": b"\x8a\x10" + b"\xff" * 15 + b"\x7fK\x01\x86"}, "impossible shape"),
        ({"strides": b"J\xff\xff\xff\xffK\x01\x86"}, "impossible shape"),
        ({"rest": b"\x89}K\x01K\x01s"}, "a tensor has hooks"),
        ({"rest": b"\x89}}X\x03\0\0\0neg\x88s"}, "is to be negated or conjugated"),
        ({"rest": b"\x89}}}}"}, "a tensor has hooks"),
        ({"rest": b"\x89"}, "a tensor cannot be made"),
        ({"storage": b"N"}, "a tensor cannot be made"),
    ],
)
def test_made_up_tensor(tmp_path: Path, parts: dict[str, bytes], message: str) -> None:
    refused(with_tensor(**parts), tmp_path, message)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (identity(key=text("1")), "is missing"),
        (identity(count=b"K\x07"), "needs 28 bytes"),
        (identity(kind=b"ctorch\nLongStorage\n"), "needs 48 bytes"),
        (identity(more=b"N"), "no storage"),
        (identity(what=text("module")), "no storage"),
        (identity(kind=b"ctorch\nSize\n"), "no storage"),
        (identity(key=b"K\x00"), "no storage"),
        (identity(count=b"N"), "no storage"),
        (identity(count=b"J\xff\xff\xff\xff"), "no storage"),
        (identity(count=b"\x8a\x09" + b"\xff" * 8 + b"\x7f"), "no storage"),
        (text("0") + b"Q", "no storage"),
        (b")Q", "no storage"),
        (b"NQ", "no storage"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btRQ", "no stor"),
    ],
)
def test_made_up_storage(tmp_path: Path, storage: bytes, message: str) -> None:
    refused(with_tensor(storage=storage), tmp_path, message)


def test_storage_of_two_kinds(tmp_path: Path) -> None:
    one = tensor_pickle()
    other = one.replace(b"FloatStorage", b"IntStorage")
    both = b"\x80\x02" + one[2:-1] + other[2:-1] + b"\x86."
    content = packed({"data.pkl": both, "data/0": bytes(24)})
    refused(content, tmp_path, "6 elements of float32, and elsewhere 6 of int32")
