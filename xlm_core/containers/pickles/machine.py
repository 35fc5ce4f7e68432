"""A pickle machine that builds plain values: it imports nothing and calls nothing by name.

Protocols 2 to 5 are read. Names in a pickle are looked up in a table that the caller gives, of
functions that were written for that purpose; any other name ends the reading.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import xlm_core.containers.pickles.limits as limits
from xlm_core.containers.pickles.opcodes import (
    ACTIONS,
    BININT,
    BININT1,
    BININT2,
    BINUNICODE,
    FRAME,
    GLOBAL,
    LONG_BINGET,
    LONG_BINPUT,
    MEMOIZE,
    OPERANDS,
    SHORT_BINUNICODE,
    STOP,
    describe,
)
from xlm_core.containers.pickles.state import Persistent, State
from xlm_core.containers.sources import Source, check_extent, read_bytes

# What is held of the pickle's bytes at once: little at first, as tensors may follow. No opcode with
# its fixed operand is longer than the margin; what may be longer is read on its own.
_FIRST, _WINDOW, _MARGIN = 1 << 13, 1 << 20, 16
_LONGEST_NAME = 1_000
_U4, _I4 = struct.Struct("<I").unpack_from, struct.Struct("<i").unpack_from


def load(
    source: Source,
    position: int = 0,
    *,
    names: Callable[[str], Any] = lambda name: None,
    persistent: Persistent | None = None,
    leaves: tuple[type, ...] = (),
) -> tuple[Any, int]:
    """The value of a pickle, and the position after it.

    Args:
        source: Where it lies. It is read in pieces; what follows it is read by chance only.
        position: Of its first byte.
        names: From "module.name" to what stands for it, mostly a `Known`; None for unknown.
        persistent: Makes the value of a persistent id.
        leaves: Types that the value may hold besides texts, numbers, numpy's arrays and scalars,
            and lists, tuples, sets and dictionaries of them.

    Raises:
        CheckpointError: If it is damaged, asks for anything unknown, or builds what nobody could
            use: too much, too deep, or containing itself.
    """
    machine = Machine(source, position, names, persistent)
    value = machine.run()
    reason = limits.why_unusable(value, machine.at - position, leaves)
    if reason:
        raise machine.refusal(reason)
    return value, machine.at


class Machine(State):
    """Runs one pickle."""

    def __init__(
        self,
        source: Source,
        position: int,
        names: Callable[[str], Any],
        persistent: Persistent | None,
    ) -> None:
        super().__init__(source, position, names, persistent)
        self._base = position
        self._step = _FIRST

    def run(self) -> Any:
        """The value that the pickle leaves."""
        memo, position = self.memo, 0
        stack = self.stack
        push = stack.append
        data, edge = self._window(self.at)
        try:
            # What fills dictionaries is done here, all else by an action.
            for _ in range(limits.MOST_OPCODES):
                if position > edge:
                    data, edge = self._window(self._base + position)
                    position = 0
                opcode = data[position]
                if opcode == BINUNICODE:
                    end = position + 5 + _U4(data, position + 1)[0]
                    if end <= len(data):
                        push(data[position + 5 : end].decode())
                        position = end
                        continue
                elif opcode == LONG_BINPUT:
                    if _U4(data, position + 1)[0] == len(memo):
                        memo.append(stack[-1])
                        position += 5
                        continue
                elif opcode == LONG_BINGET:
                    push(memo[_U4(data, position + 1)[0]])
                    position += 5
                    continue
                elif opcode == BININT2:
                    push(data[position + 1] + 256 * data[position + 2])
                    position += 3
                    continue
                elif opcode == BININT:
                    push(_I4(data, position + 1)[0])
                    position += 5
                    continue
                elif opcode == BININT1:
                    push(data[position + 1])
                    position += 2
                    continue
                elif opcode == SHORT_BINUNICODE:
                    end = position + 2 + data[position + 1]
                    if end <= len(data):
                        push(data[position + 2 : end].decode())
                        position = end
                        continue
                elif opcode == MEMOIZE:
                    memo.append(stack[-1])
                    position += 1
                    continue
                elif opcode == STOP:
                    self.at = self._base + position + 1
                    return self.result()
                self.at = self._base + position
                action = ACTIONS.get(opcode)
                if action is None:
                    raise self.refusal(f"it has the opcode {describe(opcode)}, which none needs")
                if opcode in OPERANDS:
                    operand, position = self._operand(opcode, data, position + 1)
                    action(self, operand)
                else:
                    action(self, b"")
                    position += 1
                stack = self.stack
                push = stack.append
        except (IndexError, struct.error):
            self.at = self._base + min(position, len(data))
            raise self.refusal("it is damaged or cut off here") from None
        except UnicodeDecodeError:
            self.at = self._base + position
            raise self.refusal("a text is not in UTF-8") from None
        raise self.refusal(f"it has more than {limits.MOST_OPCODES:,} opcodes")

    def _window(self, base: int) -> tuple[bytes, int]:
        """Bytes from `base` on, and the last position in them where an opcode may begin."""
        self._base = base
        count = min(self._step, _WINDOW, self._source.size - base)
        self._step *= 4
        more = base + count < self._source.size
        return read_bytes(self._source, base, count), count - _MARGIN if more else count

    def _operand(self, opcode: int, data: bytes, start: int) -> tuple[bytes, int]:
        """What follows an opcode, and the position after it, maybe beyond the window."""
        fixed, counted = OPERANDS[opcode]
        if opcode == GLOBAL:
            text = data[start : start + 2 * _LONGEST_NAME]
            if len(text) < 2 * _LONGEST_NAME:
                left = self._source.size - self._base - start
                text = read_bytes(self._source, self._base + start, min(left, 2 * _LONGEST_NAME))
            module, _, rest = text.partition(b"\n")
            name, newline, _ = rest.partition(b"\n")
            if not newline:
                raise self.refusal("a name is cut off or absurdly long")
            return module + b"." + name, start + len(module) + len(name) + 2
        operand = data[start : start + fixed]
        if len(operand) < fixed:
            raise IndexError
        start, length = start + fixed, int.from_bytes(operand, "little")
        if opcode == FRAME:
            check_extent(self._source, self._base + start, length, "a frame of its pickle")
        if not counted:
            return operand, start
        if start + length <= len(data):
            return data[start : start + length], start + length
        return read_bytes(self._source, self._base + start, length), start + length
