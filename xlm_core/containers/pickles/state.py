"""What a pickle has built so far, under the limits that keep a machine from harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xlm_core.containers.pickles.limits as limits
from xlm_core.containers.sources import Source
from xlm_core.errors import CheckpointError


@dataclass(frozen=True)
class Known:
    """What stands for a name of the table.

    Attributes:
        name: The name, with its module.
        call: Makes the value, from the machine and a tuple of arguments; without it, the name can
            only be an argument itself.
    """

    name: str
    call: Callable[[State, tuple[Any, ...]], Any] | None = None

    def __str__(self) -> str:
        return self.name


Persistent = Callable[["State", Any], Any]


class State:
    """What opcodes work on, and what the functions of a table see of the machine.

    Attributes:
        stack: Values since the last mark.
        marks: The stacks below.
        memo: Values by their number in the pickle.
        names, persistent: As in `pickles.load`.
        at: Position in the source of the opcode that runs; at the end, of the first byte after.
    """

    def __init__(
        self,
        source: Source,
        position: int,
        names: Callable[[str], Any],
        persistent: Persistent | None,
    ) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: list[Any] = []
        self.names, self.persistent = names, persistent
        self.at = self._start = position
        self._source = source
        self._keys = limits.Keys()
        self._copied, self._containers, self._unfinished = 0, 0, 0
        self._builders: dict[int, tuple[Any, Callable[[Any], None], bool]] = {}

    def refusal(self, reason: str) -> CheckpointError:
        """The error that ends the reading."""
        error: CheckpointError = CheckpointError(
            f"{self._source.name} was not opened, and nothing in it was executed. Its pickle "
            f"cannot be read at byte {self.at}: {reason}."
        )
        return error

    def memoize(self, index: int) -> None:
        """Number the topmost value; numbers count up, in some writers from 1."""
        if index == len(self.memo) + 1 == 1:
            self.memo.append(Known("an absent value"))
        if index > len(self.memo):
            raise self.refusal(f"it numbers a value {index} after only {len(self.memo)} others")
        self.memo[index : index + 1] = [self.stack[-1]]

    def count(self) -> None:
        """To be called for every container or other object that a few bytes can make."""
        self._containers += 1
        if self._containers > limits.MOST_CONTAINERS:
            raise self.refusal(f"it builds more than {limits.MOST_CONTAINERS:,} objects")

    def charge(self, amount: int) -> None:
        """To be called before `amount` bytes or items that exist are copied."""
        self._copied += amount
        if self._copied > 4 * (self.at - self._start) + (1 << 20):
            raise self.refusal("it copies the same content again and again")

    def put(self, target: Any, keys: list[Any], values: list[Any] | None) -> None:
        """Add items to a dictionary, or, without values, to a set."""
        step = limits.KEYS_AT_ONCE
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            reason = self._keys.refusal(len(target), some)
            if reason:
                raise self.refusal(reason)
            if values is None:
                target.update(some)
            else:
                for key, value in zip(some, values[start : start + step], strict=True):
                    target[key] = value

    def call(self, function: Any, arguments: Any) -> None:
        """Put what a function of the table makes of the arguments on the stack."""
        if not isinstance(function, Known) or function.call is None:
            name = function if isinstance(function, Known) else f"a {type(function).__name__}"
            raise self.refusal(f"it calls {name}, which makes no value")
        if type(arguments) is not tuple:
            raise self.refusal(f"it calls {function} without arguments")
        self.count()
        self.stack.append(function.call(self, arguments))

    def persist(self, identity: Any) -> None:
        """Put what stands for a persistent id on the stack."""
        if self.persistent is None:
            raise self.refusal("it refers to something outside of it")
        self.count()
        self.stack.append(self.persistent(self, identity))

    def expect(self, value: Any, finish: Callable[[Any], None], *, needed: bool = False) -> None:
        """Let `finish` have the state with which the pickle may go on to build `value`.

        Args:
            value: An object just made.
            finish: Takes the state; changes the value in place.
            needed: Whether the value is nothing without.
        """
        self._builders[id(value)] = (value, finish, needed)
        self._unfinished += needed

    def build(self, value: Any, state: Any) -> None:
        """See `expect`."""
        if id(value) not in self._builders:
            raise self.refusal(f"it gives a state to a {type(value).__name__}")
        _, finish, needed = self._builders.pop(id(value))
        self._unfinished -= needed
        finish(state)

    def result(self) -> Any:
        """The value, once the pickle has ended."""
        value = self.stack.pop()
        if self.stack or self.marks or self._unfinished:
            raise self.refusal("it ends before its value is complete")
        return value
