"""Pickles that would run something: each ends in one error, and nothing was executed."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xlm_core.containers.pickles import load
from xlm_core.containers.sources import MemorySource
from xlm_core.containers.torch_files.globals import find
from xlm_core.errors import CheckpointError

COMMANDS: list[tuple[Callable[..., Any], str]] = [
    (os.system, "posix.system"),
    (eval, "builtins.eval"),
    (exec, "builtins.exec"),
    (subprocess.Popen, "subprocess.Popen"),
    (os.mkdir, "posix.mkdir"),
    (getattr, "builtins.getattr"),
    (torch.load, "torch.serialization.load"),
    (np.load, "numpy.load"),
]


class Call:
    """Is pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def refused(content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load(MemorySource(np.frombuffer(content, np.uint8), "x.pth"), names=find)
    assert "x.pth" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(("function", "name"), COMMANDS)
def test_calls(tmp_path: Path, protocol: int, function: Callable[..., Any], name: str) -> None:
    """A torch file that Python's own machine would execute names what it asks for."""
    sentinel = tmp_path / "sentinel"
    content = pickle.dumps({"a": Call(function, f"touch {sentinel}")}, protocol)
    name = name.replace("builtins", r"(builtins|__builtin__)").replace(
        "subprocess", r"(subprocess|commands)"
    )
    refused(content, f"nothing in it was executed.*asks for {name}, which")
    assert not sentinel.exists()


def test_the_danger_is_real(tmp_path: Path) -> None:
    """The same bytes do run under Python's machine: the tests above test something."""
    sentinel = tmp_path / "sentinel"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {sentinel}"), 2))
    assert sentinel.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"(S'touch x'\nios\nsystem\n.", "0x53"),
        (b"\x80\x02(X\x01\0\0\0xios\nsystem\n.", "the opcode INST"),
        (b"\x80\x02(ccollections\nOrderedDict\no.", "the opcode OBJ"),
        (b"\x80\x02\x82\x01.", "the opcode EXT1"),
        (b"\x80\x02\x83\x01\0.", "the opcode EXT2"),
        (b"\x80\x02\x84\x01\0\0\0.", "the opcode EXT4"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", r"asks for posix\.system"),
        (b"\x80\x04\x8c\x05torch\x8c\x05_C._x\x93.", r"asks for torch\._C\._x"),
        (b"\x80\x04K\x01\x8c\x06system\x93.", "a name is no text"),
        (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
        (b"\x80\x05N\x98.", "the opcode READONLY_BUFFER"),
        (b"\x80\x02Pid\n.", "the opcode PERSID"),
        (b"\x80\x02K\x01Q.", "refers to something outside"),
        (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "the opcode NEWOBJ_EX"),
        (b"\x80\x02I1\n.", "0x49"),
        (b"\x80\x02N0.", "0x30"),
        (b"\x80\x01N.", "protocol 1"),
        (b"\x80\xffN.", "protocol 255"),
        (b"\x80\x02cos\xff\nsystem\n.", "not in UTF-8"),
        (b"\x80\x02c" + b"a" * 3000 + b"\nb\n.", "absurdly long"),
        (b"\x80\x02cos\n", "cut off"),
    ],
)
def test_opcodes(content: bytes, message: str) -> None:
    refused(content, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02K\x01)R.", "calls a int"),
        (b"\x80\x02X\x01\0\0\0a)R.", "calls a str"),
        (b"\x80\x02]]R.", "calls a list"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls numpy.ndarray"),
        (b"\x80\x02c__builtin__\nint\n)R.", "calls builtins.int"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls a StorageClass"),
        (b"\x80\x02ccollections\nOrderedDict\n]R.", "without arguments"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "an OrderedDict cannot be made"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85\x81.", "an OrderedDict cannot be made"),
        # A state, which would be given to `__setstate__` or to `__dict__`.
        (b"\x80\x02}}b.", "gives a state to a dict"),
        (b"\x80\x02]}b.", "gives a state to a list"),
        (b"\x80\x02cnumpy\nndarray\n}X\x04\0\0\0nameX\x01\0\0\0xsb.", "gives a state to a Known"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}b}b.", "gives a state to a dict"),
        (b"\x80\x02cargparse\nNamespace\n)\x81]b.", "are no dictionary"),
        (b"\x80\x02cargparse\nNamespace\n.", "which is no value by itself"),
        (b"\x80\x02ctorch\nFloatStorage\n\x85.", "torch.FloatStorage, which is no value"),
    ],
)
def test_calls_and_states_of_known_names(content: bytes, message: str) -> None:
    refused(content, message)


def test_attributes_are_no_methods() -> None:
    """Attributes of an OrderedDict are dropped, those of a namespace are items."""
    state = b"}X\x05\0\0\0itemsK\x01s"
    for module, expected in (
        (b"collections\nOrderedDict", {}),
        (b"argparse\nNamespace", {"items": 1}),
    ):
        content = b"\x80\x02c" + module + b"\n)\x81" + state + b"b."
        value, _ = load(MemorySource(np.frombuffer(content, np.uint8)), names=find)
        assert type(value) is dict
        assert value == expected
        assert callable(value.items)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02h\x00.", "damaged or cut off"),
        (b"\x80\x02j\xff\xff\xff\xff.", "damaged or cut off"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "numbers a value 4294967295 after only 0"),
        (b"\x80\x02Nq\x02.", "numbers a value 2"),
        (b"\x80\x02q\x00.", "damaged or cut off"),
        (b"\x80\x04\x94.", "damaged or cut off"),
        (b"\x80\x02(Nq\x01h\x00t.", "an absent value"),
        (b"\x80\x02a.", "damaged or cut off"),
        (b"\x80\x02Na.", "damaged or cut off"),
        (b"\x80\x02NNa.", "adds items to a NoneType"),
        (b"\x80\x02]NNs.", "adds items to a list"),
        (b"\x80\x02](NNu.", "adds items to a list"),
        (b"\x80\x02}(Nu.", "has no value"),
        (b"\x80\x02}(Ne.", "adds items to a dict"),
        (b"\x80\x04](N\x90.", "adds items to a list"),
        (b"\x80\x02t.", "damaged or cut off"),
        (b"\x80\x02e.", "damaged or cut off"),
        (b"\x80\x02N\x86.", "damaged or cut off"),
        (b"\x80\x02N(N\x86.", "damaged or cut off"),
        (b"\x80\x02NN.", "ends before its value is complete"),
        (b"\x80\x02N(N.", "ends before its value is complete"),
        (b"\x80\x02.", "damaged or cut off"),
        (b"", "damaged or cut off"),
        (b"\x80\x02X\x01\0\0\0\xff.", "not in UTF-8"),
        (b"\x80\x02X\x03\0\0\0\xed\xa0\x80.", "not in UTF-8"),
        (b"\x80\x02U\x01\xff.", "not in UTF-8"),
        (b"\x80\x02\x8a\x41" + b"\x01" * 65 + b".", "an integer has 65 bytes"),
    ],
)
def test_wrong_values(content: bytes, message: str) -> None:
    refused(content, message)


@pytest.mark.parametrize("opcode", [b"X", b"T", b"B", b"\x8b"])
def test_announced_sizes_of_32_bits(opcode: bytes) -> None:
    for size in (100, 2**31 - 1, 2**32 - 1):
        refused(b"\x80\x02" + opcode + struct.pack("<L", size) + b"x" * 50 + b".", "cut off")


@pytest.mark.parametrize("opcode", [b"\x8d", b"\x8e", b"\x95", b"\x96"])
def test_announced_sizes_of_64_bits(opcode: bytes) -> None:
    for size in (100, 2**62, 2**64 - 1):
        refused(b"\x80\x04" + opcode + struct.pack("<Q", size) + b"x" * 50 + b".", "cut off")
