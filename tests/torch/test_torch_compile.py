"""torch.compile and torch.export take every head whole, with and without labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.export import Dim

from tests.support.cases import Case, random_case, random_labels
from tests.support.parity import assert_all_close
from tests.support.torch_reference import as_tensors, flatten, our_model
from xlm_core.weights import ARCHITECTURES

# With labels, these heads return all that they do without, from the same graph and more.
COVERED = ("XLMForMultipleChoice", "XLMForTokenClassification", "XLMForQuestionAnsweringSimple")
WITH_AND_WITHOUT = [
    pytest.param(name, labels, marks=[pytest.mark.full] if name in COVERED and not labels else [])
    for name in ARCHITECTURES
    for labels in (False, True)
    if name != "XLMModel" or not labels
]
EACH = pytest.mark.parametrize(("architecture", "labels"), WITH_AND_WITHOUT)
PLAIN = {
    "num_labels": 2,
    "problem_type": "single_label_classification",
    "pruned_heads": {},
    "chunk_size_feed_forward": 0,
    "n_layers": 1,
    "summary_use_proj": True,
    "summary_proj_to_labels": True,
}
FLAGS = {"output_hidden_states": True, "output_attentions": True}


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.set_stance("default")
    torch._dynamo.reset()


def _case(architecture: str, **values: Any) -> Case:
    values = {"asm": False, "n_langs": 2, "use_lang_emb": True, **PLAIN, **values}
    return random_case(3, architecture, **values)


def _arguments(case: Case, labels: bool, rows: int = 3, sequence: int = 7) -> dict[str, Tensor]:
    """input_ids, attention_mask and langs, and labels if asked for, of another size each time."""
    rng = np.random.default_rng(rows)
    choices = (3,) if case.architecture == "XLMForMultipleChoice" else ()
    shape = (rows, *choices, sequence)
    lengths = rng.integers(4, sequence + 1, shape[:-1])
    mask = np.arange(sequence) < lengths[..., None]
    ids = np.where(mask, rng.integers(8, 24, shape), case.config["pad_index"])
    arrays = {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int64),
        "langs": rng.integers(0, 2, shape),
    }
    if labels:
        config = case.xlm_config()
        arrays |= random_labels(rng, config, case.architecture, rows, sequence, mask)
        if case.architecture == "XLMForQuestionAnswering":
            arrays |= {"cls_index": lengths - 1, "is_impossible": np.ones(rows)}
        elif case.architecture == "XLMForSequenceClassification":
            arrays["labels"] = rng.integers(0, 2, rows)
    return as_tensors(arrays)


def _results(model: Any, arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        return flatten(dict(model(**arguments, **FLAGS)))


@EACH
def test_compile(architecture: str, labels: bool) -> None:
    case = _case(architecture)
    model, arguments = our_model(case), _arguments(case, labels)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    actual = _results(compiled, arguments)
    assert ("loss" in actual) is labels
    assert_all_close(actual, _results(model, arguments), 1e-13)


def test_compile_once_for_all_sizes() -> None:
    case = _case("XLMWithLMHeadModel")
    model = our_model(case)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows, sequence in ((3, 7), (5, 9), (2, 11)):
        arguments = _arguments(case, True, rows, sequence)
        assert_all_close(_results(compiled, arguments), _results(model, arguments), 1e-13)
        torch.compiler.set_stance("fail_on_recompile")


@pytest.mark.parametrize(
    "values",
    [
        {"asm": True, "asm_cutoffs": [9, 20], "asm_div_value": 2.0, "tie_word_embeddings": False},
        {"causal": True, "chunk_size_feed_forward": 2},
        {"sinusoidal_embeddings": True, "n_heads": 4, "emb_dim": 20, "pruned_heads": {0: [1]}},
    ],
    ids=["adaptive", "causal", "pruned"],
)
def test_compile_and_export_of_other_configurations(values: dict[str, Any]) -> None:
    case = _case("XLMWithLMHeadModel", **values)
    model, arguments = our_model(case), _arguments(case, labels=True)
    expected = _results(model, arguments)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_all_close(_results(compiled, arguments), expected, 1e-13)
    exported = torch.export.export(model, (), {**arguments, **FLAGS})
    assert_all_close(_results(exported.module(), arguments), expected, 1e-13)


def test_compiled_gradients() -> None:
    case = _case("XLMWithLMHeadModel")
    model, arguments = our_model(case), _arguments(case, labels=True)
    gradients = []
    for function in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        function(**arguments).loss.backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    assert_all_close(gradients[1], gradients[0], 1e-13, one_scale=True)


# PyTorch's own compiler still uses what PyTorch deprecates.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="inductor needs a C++ compiler")
def test_compile_with_inductor() -> None:
    case = _case("XLMModel", n_layers=1)
    model, arguments = our_model(case), _arguments(case, labels=False)
    compiled = torch.compile(model, fullgraph=True)
    assert_all_close(_results(compiled, arguments), _results(model, arguments), 1e-12)


@EACH
def test_export_with_dynamic_sizes(architecture: str, labels: bool) -> None:
    case = _case(architecture)
    model, arguments = our_model(case), _arguments(case, labels)
    batch, sequence = Dim("batch", min=2, max=64), Dim("sequence", min=4, max=11)
    shapes: dict[str, Any] = {}
    for name, tensor in arguments.items():
        shapes[name] = {0: batch}
        if tensor.shape[-1] == 7:
            shapes[name][tensor.dim() - 1] = sequence
    exported = torch.export.export(
        model, (), {**arguments, **FLAGS}, dynamic_shapes={**shapes, **dict.fromkeys(FLAGS)}
    ).module()
    for rows, length in ((3, 7), (4, 5), (2, 11)):
        given = _arguments(case, labels, rows, length)
        assert_all_close(_results(exported, given), _results(model, given), 1e-13)


@pytest.mark.parametrize("architecture", ["XLMModel", "XLMWithLMHeadModel"])
def test_export_of_the_other_ways_to_give_input(architecture: str) -> None:
    case = _case(architecture)
    model = our_model(case)
    arguments = _arguments(case, labels=False)
    embeddings = model.get_input_embeddings()(arguments["input_ids"]).detach()
    langs, lengths = arguments["langs"], arguments["attention_mask"].sum(-1)
    for given in (
        {"inputs_embeds": embeddings, "langs": langs},
        {"input_ids": arguments["input_ids"], "langs": langs, "lengths": lengths},
        {"input_ids": arguments["input_ids"], "langs": langs, "position_ids": langs},
        {"input_ids": arguments["input_ids"], "langs": langs, "token_type_ids": langs + 3},
        {**arguments, "head_mask": torch.ones(case.config["n_heads"])},
    ):
        exported = torch.export.export(model, (), {**given, **FLAGS}).module()
        assert_all_close(_results(exported, given), _results(model, given), 1e-13)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_check_of_values_is_traced(architecture: str) -> None:
    """The graph reads no tensor's value: no item, no data-dependent assertion."""
    case = _case(architecture)
    labels = architecture != "XLMModel"
    exported = torch.export.export(our_model(case), (), _arguments(case, labels))
    targets = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    forbidden = ("aten.item", "local_scalar", "assert_async", "assert_scalar", "nonzero", "aminmax")
    assert not [target for target in targets if any(word in target for word in forbidden)]
    assert targets


def test_a_compiled_model_still_refuses_wrong_shapes() -> None:
    case = _case("XLMModel")
    model, arguments = our_model(case), _arguments(case, labels=False)
    compiled = torch.compile(model, backend="aot_eager")
    with pytest.raises(Exception, match=r"langs has shape"):
        compiled(**{**arguments, "langs": arguments["langs"][:, :3]})


def test_a_missing_language_compiles_too() -> None:
    case = _case("XLMModel")
    model, arguments = our_model(case), _arguments(case, labels=False)
    del arguments["langs"]
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    actual = _results(compiled, arguments)
    with pytest.warns(UserWarning, match="langs was not given"):
        expected = _results(model, arguments)
    assert_all_close(actual, expected, 1e-13)
