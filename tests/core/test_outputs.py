"""The outputs behave like transformers' on the same operations, errors included."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import modeling_outputs
from transformers.models.xlm import modeling_xlm

import xlm_torch.outputs  # noqa: F401  (registers them with PyTorch)
from xlm_core import outputs
from xlm_core.outputs import (
    OUTPUT_CLASSES,
    GenerateOutput,
    MaskedLMOutput,
    ModelOutput,
    Seq2SeqLMOutput,
)

# Those of transformers have further fields: caches, and what each way to generate returns.
OTHERS = (GenerateOutput, Seq2SeqLMOutput)
OF_TRANSFORMERS = [ours for ours in OUTPUT_CLASSES if ours not in OTHERS]
PAIRS = [
    (
        ours,
        getattr(modeling_outputs, ours.__name__, None) or getattr(modeling_xlm, ours.__name__),
    )
    for ours in OF_TRANSFORMERS
]
IDS = [ours.__name__ for ours in OF_TRANSFORMERS]
# Which fields are set: all, all but the loss, first and last, ...
PATTERNS: dict[str, Callable[[int, int], bool]] = {
    "all": lambda index, count: True,
    "without first": lambda index, count: index > 0,
    "first only": lambda index, count: index == 0,
    "ends": lambda index, count: index in (0, count - 1),
    "every second": lambda index, count: index % 2 == 1,
}


def pair(classes: tuple[Any, Any], pattern: str = "all") -> tuple[Any, Any]:
    ours, theirs = classes
    names = ours.field_names()
    values = {
        name: torch.full((2,), float(index))
        for index, name in enumerate(names)
        if PATTERNS[pattern](index, len(names))
    }
    return ours(**values), theirs(**values)


def outcome(operation: Callable[[Any], Any], output: Any) -> Any:
    """What an operation returns, made comparable, or the class of the error it raises."""
    try:
        return plain(operation(output))
    except Exception as error:  # noqa: BLE001  (whatever it is, both must raise it)
        return type(error)


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return ("tensor", value.tolist())
    if isinstance(value, ModelOutput | modeling_outputs.ModelOutput):
        return (type(value).__name__, [(name, plain(part)) for name, part in value.items()])
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def unpacked(output: Any) -> list[Any]:
    first, *rest = output
    return [first, *rest]


def after(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The whole state after a change: attributes and items."""

    def operation(output: Any) -> Any:
        change(output)
        names = list(type(output).__dataclass_fields__)
        return [getattr(output, name) for name in names], list(output.items()), output.to_tuple()

    return operation


def first_name(output: Any) -> str:
    return next(iter(type(output).__dataclass_fields__))


def second_name(output: Any) -> str:
    return list(type(output).__dataclass_fields__)[1]


NEW = torch.tensor([7.0])
READS: dict[str, Callable[[Any], Any]] = {
    "attributes": lambda o: [getattr(o, name) for name in type(o).__dataclass_fields__],
    "keys": lambda o: list(o.keys()),
    "values": lambda o: list(o.values()),
    "items": lambda o: list(o.items()),
    "iteration": list,
    "unpacking": unpacked,
    "star": lambda o: [*o],
    "double star": lambda o: list(dict(**o).items()),
    "dict": lambda o: list(dict(o).items()),
    "to_tuple": lambda o: o.to_tuple(),
    "len": len,
    "bool": bool,
    "index 0": lambda o: o[0],
    "index -1": lambda o: o[-1],
    "index 1": lambda o: o[1],
    "index 99": lambda o: o[99],
    "slice": lambda o: o[:2],
    "slice 1:": lambda o: o[1:],
    "slice ::-1": lambda o: o[::-1],
    "key": lambda o: [o[name] for name in o],
    "key of None or absent": lambda o: o["no_such_field"],
    "key second": lambda o: o[second_name(o)],
    "in": lambda o: [name in o for name in type(o).__dataclass_fields__],
    "not in": lambda o: "no_such_field" in o,
    "get": lambda o: [o.get(name, "default") for name in type(o).__dataclass_fields__],
    "get absent": lambda o: o.get("no_such_field"),
    "attribute absent": lambda o: o.no_such_field,
    "reversed": lambda o: list(reversed(o)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda o: pickle.loads(pickle.dumps(o)),
    "rebuilt from its items": lambda o: type(o)(dict(o)),
    "rebuilt from pairs": lambda o: type(o)(iter(list(o.items()))),
    "rebuilt from values": lambda o: type(o)(**o),
    "is dict": lambda o: isinstance(o, dict),
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "set attribute": lambda o: setattr(o, next(iter(o)), NEW),
    "set key": lambda o: o.__setitem__(next(iter(o)), NEW),
    "set another key": lambda o: o.__setitem__("another", NEW),
    "set another attribute": lambda o: setattr(o, "another", NEW),
    "set another key, then as attribute": lambda o: (
        o.__setitem__("another", 1),
        setattr(o, "another", NEW),
    ),
    "set attribute to None": lambda o: setattr(o, "no_such_field", None),
    "delete": lambda o: o.__delitem__(next(iter(o))),
    "pop": lambda o: o.pop(next(iter(o))),
    "update": lambda o: o.update({next(iter(o)): NEW}),
    "setdefault": lambda o: o.setdefault(next(iter(o)), NEW),
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("classes", PAIRS, ids=IDS)
def test_reading_as_transformers(classes: tuple[Any, Any], read: str, pattern: str) -> None:
    ours, theirs = pair(classes, pattern)
    assert outcome(READS[read], ours) == outcome(READS[read], theirs)


# transformers raises a bare Exception for what it refuses; here it is a TypeError.
REFUSED = ("delete", "pop", "update", "setdefault")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("classes", PAIRS, ids=IDS)
def test_changing_as_transformers(classes: tuple[Any, Any], change: str) -> None:
    ours, theirs = pair(classes, "ends")
    expected = outcome(after(CHANGES[change]), theirs)
    if change in REFUSED:
        before = plain(ours), ours.to_tuple()
        assert expected is Exception
        assert outcome(CHANGES[change], ours) is TypeError
        assert plain(ours) == before[0]
    else:
        assert outcome(after(CHANGES[change]), ours) == expected


@pytest.mark.parametrize("classes", PAIRS, ids=IDS)
def test_fields_and_their_order(classes: tuple[Any, Any]) -> None:
    ours, theirs = classes
    assert list(ours.field_names()) == list(theirs.__dataclass_fields__)
    assert all(getattr(ours(), name) is None for name in ours.field_names())
    assert ours().to_tuple() == ()


@pytest.mark.parametrize("output_class", OUTPUT_CLASSES)
def test_attributes_and_items_stay_one(output_class: type[ModelOutput]) -> None:
    """Any order of setting ends in field order; setting None takes an item out."""
    names = output_class.field_names()
    output = output_class(**{names[-1]: 1})
    for value, name in enumerate(reversed(names)):
        setattr(output, name, value)
    assert list(output) == list(names)
    assert output.to_tuple() == tuple(reversed(range(len(names))))
    output[names[0]] = None
    assert names[0] not in output
    assert getattr(output, names[0]) is None
    assert list(output) == list(names[1:])
    setattr(output, names[0], "again")
    assert list(output) == list(names)


@pytest.mark.parametrize("source", [dict, lambda pairs: iter(list(pairs.items()))])
def test_a_mapping_spreads_over_the_fields(source: Callable[[dict[str, int]], Any]) -> None:
    output = MaskedLMOutput(source({"attentions": 3, "logits": 2}))
    assert (output.loss, output.logits, output.hidden_states, output.attentions) == (
        None,
        2,
        None,
        3,
    )
    assert list(output) == ["logits", "attentions"]
    assert dict(MaskedLMOutput(source({"other": 1, "loss": 2}))) == {"loss": 2, "other": 1}


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(TypeError):
        MaskedLMOutput(no_such_field=1)


@pytest.mark.parametrize("name", ["pop", "popitem", "update", "setdefault", "clear"])
def test_every_way_out_of_step_is_refused(name: str) -> None:
    output = MaskedLMOutput(logits=1)
    with pytest.raises(TypeError, match="fields of MaskedLMOutput cannot be deleted or merged"):
        getattr(output, name)("logits")
    assert dict(output) == {"logits": 1}


def test_merging_in_place_is_refused_too() -> None:
    output = MaskedLMOutput(logits=1)
    with pytest.raises(TypeError, match="fields of MaskedLMOutput"):
        output |= {"logits": 2}


def test_copies_keep_class_and_values() -> None:
    output = MaskedLMOutput(logits=[1], attentions=([2],))
    for duplicate in (output.copy(), copy.copy(output)):
        assert type(duplicate) is MaskedLMOutput
        assert duplicate.logits is output.logits
        duplicate.logits = None
        assert output.logits == [1]
    deep = copy.deepcopy(output)
    assert deep.logits == [1]
    assert deep.logits is not output.logits


def test_first_field_may_hold_what_is_no_mapping() -> None:
    def values() -> Iterator[int]:
        yield 1

    assert MaskedLMOutput([("logits", 1)]).logits == 1
    assert MaskedLMOutput([("a", 1, 2)]).loss == [("a", 1, 2)]
    assert MaskedLMOutput(loss={"a": 1}, logits=2).loss == {"a": 1}
    with pytest.raises(TypeError):
        MaskedLMOutput(values())


def test_all_classes_of_the_module_are_listed() -> None:
    defined = {
        value
        for value in vars(outputs).values()
        if isinstance(value, type) and issubclass(value, ModelOutput) and value is not ModelOutput
    }
    assert defined == set(OUTPUT_CLASSES)


def _with_another(output: Any) -> Any:
    output["another"] = NEW
    return output


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("classes", PAIRS, ids=IDS)
def test_reading_other_keys_as_transformers(classes: tuple[Any, Any], read: str) -> None:
    ours, theirs = map(_with_another, pair(classes, "every second"))
    assert outcome(READS[read], ours) == outcome(READS[read], theirs)
    assert ours.another is NEW


def test_other_keys_survive_flattening() -> None:
    output = _with_another(MaskedLMOutput(logits=torch.ones(2), attentions=(torch.ones(3),)))
    doubled = torch.utils._pytree.tree_map(lambda x: 2 * x, output)
    assert type(doubled) is MaskedLMOutput
    assert list(doubled) == ["logits", "attentions", "another"]
    assert doubled.another.tolist() == [14.0]
    assert doubled.attentions[0].tolist() == [2.0, 2.0, 2.0]
