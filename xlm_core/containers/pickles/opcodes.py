"""What each opcode of a pickle does, apart from those that the machine's loop does itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from xlm_core.containers.pickles.limits import DEEPEST
from xlm_core.containers.pickles.state import State

BINUNICODE, SHORT_BINUNICODE = 0x58, 0x8C
BININT, BININT1, BININT2 = 0x4A, 0x4B, 0x4D
LONG_BINGET, LONG_BINPUT, MEMOIZE = 0x6A, 0x72, 0x94
GLOBAL, FRAME, STOP = 0x63, 0x95, 0x2E

# Of the opcodes below that have an operand: its bytes, and whether these are the length of a
# content that follows. That of GLOBAL is two lines.
OPERANDS: dict[int, tuple[int, bool]] = {
    0x80: (1, False),  # PROTO
    FRAME: (8, False),
    GLOBAL: (0, False),
    0x47: (8, False),  # BINFLOAT
    0x68: (1, False),  # BINGET
    0x71: (1, False),  # BINPUT
    LONG_BINPUT: (4, False),
    0x8A: (1, True),  # LONG1
    0x8B: (4, True),  # LONG4
    BINUNICODE: (4, True),
    SHORT_BINUNICODE: (1, True),
    0x8D: (8, True),  # BINUNICODE8
    0x54: (4, True),  # BINSTRING
    0x55: (1, True),  # SHORT_BINSTRING
    0x42: (4, True),  # BINBYTES
    0x43: (1, True),  # SHORT_BINBYTES
    0x8E: (8, True),  # BINBYTES8
    0x96: (8, True),  # BYTEARRAY8
}
# Those that can do more than build values, to be named in messages.
_REFUSED = {
    0x69: "INST",
    0x6F: "OBJ",
    0x50: "PERSID",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x92: "NEWOBJ_EX",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
_LONGEST_INTEGER = 64

Action = Callable[["State", bytes], None]


def describe(opcode: int) -> str:
    """An opcode's name, or its number."""
    return _REFUSED.get(opcode, f"{opcode:#04x}")


def _begin(machine: State, operand: bytes) -> None:
    if not 2 <= operand[0] <= 5:
        raise machine.refusal(f"it is of protocol {operand[0]}, not 2 to 5")


def _frame(machine: State, operand: bytes) -> None:
    """Only says how much follows; the machine looks whether it does."""


def _constant(value: Any) -> Action:
    return lambda machine, operand: machine.stack.append(value)


def _integer(machine: State, operand: bytes) -> None:
    if len(operand) > _LONGEST_INTEGER:
        raise machine.refusal(f"an integer has {len(operand)} bytes, which nothing needs")
    machine.stack.append(int.from_bytes(operand, "little", signed=True))


def _float(machine: State, operand: bytes) -> None:
    machine.stack.append(struct.unpack(">d", operand)[0])


def _text(machine: State, operand: bytes) -> None:
    machine.stack.append(operand.decode())


def _bytes(machine: State, operand: bytes) -> None:
    machine.stack.append(operand)


# -- containers --------------------------------------------------------------------------------


def _mark(machine: State, operand: bytes) -> None:
    if len(machine.marks) >= DEEPEST:
        raise machine.refusal(f"its containers lie more than {DEEPEST} deep in each other")
    machine.marks.append(machine.stack)
    machine.stack = []


def _since_mark(machine: State) -> list[Any]:
    items, machine.stack = machine.stack, machine.marks.pop()
    return items


def _empty(kind: type) -> Action:
    def action(machine: State, operand: bytes) -> None:
        machine.count()
        machine.stack.append(kind())

    return action


def _target(machine: State, kind: type) -> Any:
    target = machine.stack[-1]
    if type(target) is not kind:
        raise machine.refusal(f"it adds items to a {type(target).__name__}, not a {kind.__name__}")
    return target


def _append(machine: State, operand: bytes) -> None:
    item = machine.stack.pop()
    _target(machine, list).append(item)


def _appends(machine: State, operand: bytes) -> None:
    items = _since_mark(machine)
    _target(machine, list).extend(items)


def _set_item(machine: State, operand: bytes) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.put(_target(machine, dict), [key], [value])


def _set_items(machine: State, operand: bytes) -> None:
    items = _since_mark(machine)
    if len(items) % 2:
        raise machine.refusal("the last of some keys has no value")
    machine.put(_target(machine, dict), items[::2], items[1::2])


def _add_items(machine: State, operand: bytes) -> None:
    items = _since_mark(machine)
    machine.put(_target(machine, set), items, None)


def _frozen_set(machine: State, operand: bytes) -> None:
    items: set[Any] = set()
    machine.count()
    machine.put(items, _since_mark(machine), None)
    machine.stack.append(frozenset(items))


def _tuple(machine: State, operand: bytes) -> None:
    machine.count()
    items = tuple(_since_mark(machine))
    machine.stack.append(items)


def _tuple_of(length: int) -> Action:
    def action(machine: State, operand: bytes) -> None:
        machine.count()
        if len(machine.stack) < length:
            raise IndexError
        machine.stack[-length:] = [tuple(machine.stack[-length:])]

    return action


# -- numbered values and names -----------------------------------------------------------------


def _get(machine: State, operand: bytes) -> None:
    machine.stack.append(machine.memo[int.from_bytes(operand, "little")])


def _put(machine: State, operand: bytes) -> None:
    machine.memoize(int.from_bytes(operand, "little"))


def _find(machine: State, name: str) -> None:
    found = machine.names(name)
    if found is None:
        raise machine.refusal(
            f"it asks for {name[:200]}, which no checkpoint of tensors, texts and numbers needs. "
            "If you trust the file, load it with the program that wrote it, and save only these"
        )
    machine.stack.append(found)


def _global(machine: State, operand: bytes) -> None:
    _find(machine, operand.decode())


def _stack_global(machine: State, operand: bytes) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise machine.refusal("a name is no text")
    _find(machine, f"{module}.{name}")


def _call(machine: State, operand: bytes) -> None:
    arguments = machine.stack.pop()
    function = machine.stack.pop()
    machine.call(function, arguments)


def _build(machine: State, operand: bytes) -> None:
    state = machine.stack.pop()
    machine.build(machine.stack[-1], state)


def _persistent(machine: State, operand: bytes) -> None:
    machine.persist(machine.stack.pop())


ACTIONS: dict[int, Action] = {
    0x80: _begin,
    FRAME: _frame,
    0x4E: _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    0x29: _constant(()),
    0x47: _float,
    0x8A: _integer,
    0x8B: _integer,
    BINUNICODE: _text,
    SHORT_BINUNICODE: _text,
    0x8D: _text,
    0x54: _text,
    0x55: _text,
    0x42: _bytes,
    0x43: _bytes,
    0x8E: _bytes,
    0x96: _bytes,
    0x28: _mark,
    0x5D: _empty(list),
    0x61: _append,
    0x65: _appends,
    0x7D: _empty(dict),
    0x73: _set_item,
    0x75: _set_items,
    0x8F: _empty(set),
    0x90: _add_items,
    0x91: _frozen_set,
    0x74: _tuple,
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    0x68: _get,
    0x71: _put,
    LONG_BINPUT: _put,
    GLOBAL: _global,
    0x93: _stack_global,
    0x52: _call,
    0x81: _call,
    0x62: _build,
    0x51: _persistent,
}
