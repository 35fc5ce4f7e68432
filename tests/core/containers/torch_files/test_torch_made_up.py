"""Pickles that describe tensors and storages which cannot be: each ends in one error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.containers.torch_files.torch_files import packed, read_all, refused


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
        (identity(key=text("0" * 101)), "no storage"),
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


@pytest.mark.parametrize("size", [0, 20, 23, 25, 28])
def test_record_of_another_size(tmp_path: Path, size: int) -> None:
    content = packed({"data.pkl": tensor_pickle(), "data/0": bytes(size)})
    refused(content, tmp_path, f"storage '0' needs 24 bytes, but it has {size}")


def test_storage_of_two_kinds(tmp_path: Path) -> None:
    one = tensor_pickle()
    other = one.replace(b"FloatStorage", b"IntStorage")
    both = b"\x80\x02" + one[2:-1] + other[2:-1] + b"\x86."
    content = packed({"data.pkl": both, "data/0": bytes(24)})
    refused(content, tmp_path, "6 elements of float32, and elsewhere 6 of int32")


def array(
    *,
    shape: bytes = b"K\x02\x85",
    dtype: bytes = text("f8"),
    order: bytes = text("<"),
    content: bytes = b"C\x10" + bytes(16),
) -> bytes:
    """A pickle of a numpy array."""
    numbers = b"J\xff\xff\xff\xff" * 2
    kind = b"cnumpy\ndtype\n(" + dtype + b"\x89\x88tR(K\x03" + order + b"NNN" + numbers + b"K\x00tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    return b"\x80\x03" + made + b"(K\x01" + shape + kind + b"\x89" + content + b"tb."


def array_of(codes: bytes) -> bytes:
    length = str(len(codes) // 4)
    sizes = b"K" + bytes([len(codes)]) + b"K\x04K\x08"
    made = array(shape=b")", dtype=text(f"U{length}"), content=b"C" + bytes([len(codes)]) + codes)
    return made.replace(b"J\xff\xff\xff\xff" * 2 + b"K\x00", sizes)


def test_made_up_array_is_sound(tmp_path: Path) -> None:
    assert read_all(packed({"data.pkl": array()}), tmp_path).tolist() == [0, 0]
    assert read_all(packed({"data.pkl": array_of(b"a\0\0\0b\0\0\0")}), tmp_path)[()] == "ab"


@pytest.mark.parametrize(
    ("pickle", "message"),
    [
        (array(shape=b"K\x03\x85"), "has 16 bytes, not 24"),
        (array(shape=b"J\xff\xff\xff\xff\x85"), "impossible shape"),
        (array(shape=b"(" + b"K\x01" * 33 + b"t"), "impossible shape"),
        (array(shape=b"(K\x00" + b"J\xff\xff\xff\x7f" * 20 + b"t", content=b"C\0"), "impossible"),
        (array(shape=b"\x88\x85"), "impossible shape"),
        (array(shape=b"N"), "the state of a numpy array is unknown"),
        (array(content=text("a" * 16)), "the state of a numpy array is unknown"),
        (array(dtype=text("O8")), "the dtype 'O8'"),
        (array(dtype=text("U99999999")), "the dtype 'U99999999'"),
        (array(dtype=b"K\x01"), "a numpy dtype is described in an unknown way"),
        (array(dtype=text("U0"), content=b"C\0"), "impossible shape|dtype is unknown"),
        (array(dtype=text("b1"), content=b"C\x02\x01\x02"), "bools holds other values"),
        (array(order=text(">")), "big-endian"),
        (array(order=b"N"), "the state of a numpy dtype is unknown"),
        (array_of(b"\0\0\x11\0"), "impossible characters"),
        (array_of(b"\0\xd8\0\0"), "impossible characters"),
        (array()[:-2] + b"0.", "the opcode"),
        (array()[: array().index(b"(K\x01")] + b".", "before its value is complete"),
    ],
)
def test_made_up_array(tmp_path: Path, pickle: bytes, message: str) -> None:
    refused(packed({"data.pkl": pickle}), tmp_path, message)


@pytest.mark.parametrize(
    "axes", [b"K\x00\x85", b"K\x00K\x00\x86", b"K\x00\x88\x86", b"(" + b"N" * 50 + b"t"]
)
def test_made_up_order_of_axes(tmp_path: Path, axes: bytes) -> None:
    kind = b"cnumpy\ndtype\n(" + text("u1") + b"\x89\x88tR"
    call = b"cnumpy._core.numeric\n_frombuffer\n(C\x06abcdef" + kind + b"K\x02K\x03\x86" + text("K")
    refused(packed({"data.pkl": b"\x80\x05" + call + axes + b"tR."}), tmp_path, "in an unknown way")
