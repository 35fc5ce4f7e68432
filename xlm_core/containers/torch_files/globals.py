"""The names that the pickle of a torch file may use, and what each of them makes.

Nothing here is torch's, numpy's or the library's own code under that name: a name stands for a
few lines of this file, which build plain values from arguments of the exact form that torch
writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import Any

from xlm_core.containers.lazy_tensors import DTYPES, LazyTensor
from xlm_core.containers.pickles.numpy_values import NUMPY_NAMES
from xlm_core.containers.pickles.state import Known, State
from xlm_core.containers.torch_files.storages import CLASSES, StorageClass, View, tensor

_ODD = "its arguments are of an unknown form"


def finder(namespaces: Collection[str] = ()) -> Callable[[str], Any]:
    """What says what stands for "module.name" in a torch file; None for a name that is refused.

    Args:
        namespaces: Names of classes, of whose instances the attributes are read.
    """

    def find(name: str) -> Any:
        # Python 2's name of the module, which protocol 2 keeps.
        if name.startswith("__builtin__."):
            name = f"builtins.{name.removeprefix('__builtin__.')}"
        if name in namespaces:
            return Known(name, _namespace)
        return _NAMES.get(name)

    return find


# -- tensors -----------------------------------------------------------------------------------


def _tensor_1(machine: State, arguments: tuple[Any, ...]) -> LazyTensor:
    """`_rebuild_tensor(storage, offset, shape, strides)`, of torch before 0.4."""
    match arguments:
        case (View() as view, offset, tuple(shape), tuple(strides)):
            return tensor(machine, view, offset, shape, strides, view.storage.dtype)
    raise machine.refusal(f"a tensor cannot be made: {_ODD}")


def _tensor_2(machine: State, arguments: tuple[Any, ...]) -> LazyTensor:
    """`_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks[, metadata])`."""
    match arguments:
        case (View(), _, tuple(), tuple(), bool(), hooks, *metadata):
            _refuse_extras(machine, hooks, *metadata)
            return _tensor_1(machine, arguments[:4])
    raise machine.refusal(f"a tensor cannot be made: {_ODD}")


def _tensor_3(machine: State, arguments: tuple[Any, ...]) -> LazyTensor:
    """`_rebuild_tensor_v3`: as v2, with the dtype before the metadata, over a storage of bytes."""
    match arguments:
        case (View() as view, offset, tuple(shape), tuple(strides), bool(), hooks, str(dtype), *_):
            _refuse_extras(machine, hooks, *arguments[7:])
            dtype = dtype.removeprefix("torch.")
            return tensor(machine, view, offset, shape, strides, dtype)
    raise machine.refusal(f"a tensor cannot be made: {_ODD}")


def _parameter(machine: State, arguments: tuple[Any, ...]) -> LazyTensor:
    """`_rebuild_parameter(tensor, requires_grad, hooks)`, or with a state of its own, ignored."""
    match arguments:
        case (LazyTensor() as values, bool(), hooks) | (LazyTensor() as values, bool(), hooks, _):
            _refuse_extras(machine, hooks)
            return values
    raise machine.refusal(f"a parameter cannot be made: {_ODD}")


def _refuse_extras(machine: State, hooks: Any, metadata: Any = None, *more: Any) -> None:
    """Hooks are never saved; metadata say that all numbers are to be negated or conjugated."""
    if more or not _is_empty(hooks):
        raise machine.refusal("a tensor has hooks, which torch never saves")
    if not _is_empty(metadata):
        raise machine.refusal(
            "a tensor is to be negated or conjugated on reading. Save what `resolve_neg()` gives"
        )


def _is_empty(value: Any) -> bool:
    return value is None or (type(value) is dict and not value)


# -- other values ------------------------------------------------------------------------------


def _size(machine: State, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    match arguments:
        case (tuple(sizes),):
            return sizes
    raise machine.refusal(f"a torch.Size cannot be made: {_ODD}")


def _device(machine: State, arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (str(kind),):
            return kind
        case (str(kind), int(index)) if len(kind) < 20:
            return f"{kind}:{index}"
    raise machine.refusal(f"a torch.device cannot be made: {_ODD}")


def _ordered_dict(machine: State, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An empty dictionary. Attributes, such as the versions of modules, are ignored."""
    result: dict[Any, Any] = {}
    if arguments:
        raise machine.refusal(f"an OrderedDict cannot be made: {_ODD}")
    machine.expect(result, lambda attributes: None)
    return result


def _default_dict(machine: State, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """The items follow; what absent keys would get is forgotten."""
    if len(arguments) > 1:
        raise machine.refusal(f"a defaultdict cannot be made: {_ODD}")
    return {}


def _namespace(machine: State, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The attributes of a namespace, as a dictionary."""
    result: dict[str, Any] = {}

    def finish(state: Any) -> None:
        if type(state) is not dict:
            raise machine.refusal("the attributes of a namespace are no dictionary")
        machine.charge(len(state))
        machine.put(result, list(state), list(state.values()))

    if arguments:
        raise machine.refusal(f"a namespace cannot be made: {_ODD}")
    machine.expect(result, finish)
    return result


def _set(machine: State, arguments: tuple[Any, ...]) -> set[Any]:
    result: set[Any] = set()
    match arguments:
        case (list() as items,):
            machine.charge(len(items))
            machine.put(result, items, None)
            return result
    raise machine.refusal(f"a set cannot be made: {_ODD}")


def _bytes(machine: State, arguments: tuple[Any, ...]) -> bytes:
    """Protocol 2 has no bytes: `_codecs.encode(text, "latin1")`, and `bytes()` if empty."""
    match arguments:
        case ():
            return b""
        case (str(text), str("latin1" | "latin-1")):
            machine.charge(len(text))
            with contextlib.suppress(UnicodeEncodeError):
                return text.encode("latin-1")
    raise machine.refusal(f"bytes cannot be made: {_ODD}")


def _names() -> dict[str, Any]:
    table = [
        Known("torch._utils._rebuild_tensor", _tensor_1),
        Known("torch._utils._rebuild_tensor_v2", _tensor_2),
        Known("torch._utils._rebuild_tensor_v3", _tensor_3),
        Known("torch._utils._rebuild_parameter", _parameter),
        Known("torch._utils._rebuild_parameter_with_state", _parameter),
        Known("torch.Size", _size),
        Known("torch.device", _device),
        Known("collections.OrderedDict", _ordered_dict),
        Known("collections.defaultdict", _default_dict),
        Known("argparse.Namespace", _namespace),
        Known("builtins.set", _set),
        Known("builtins.frozenset", lambda machine, items: frozenset(_set(machine, items))),
        Known("builtins.bytes", _bytes),
        Known("_codecs.encode", _bytes),
        # What defaultdicts are made with, and never called here.
        *(Known(f"builtins.{name}") for name in ("int", "long", "float", "str", "list", "dict")),
    ]
    storages = [StorageClass(f"torch.{name}", dtype) for dtype, name in CLASSES.items()] + [
        StorageClass("torch.storage.UntypedStorage", "uint8")
    ]
    return {
        **NUMPY_NAMES,
        **{known.name: known for known in table},
        **{known.name: known for known in storages},
        **{f"torch.{dtype}": f"torch.{dtype}" for dtype in DTYPES},
    }


_NAMES = _names()

# The names of a torch file without classes of its own.
find = finder()
