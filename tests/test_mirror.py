"""xlm_tf mirrors xlm_torch: the same files, public names, order and signatures.

Both are read as text, so neither framework is imported. What only one of them needs is named
below with its reason; a name that is needed no longer fails too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TORCH, TF = ROOT / "xlm_torch", ROOT / "xlm_tf"

ONLY_TF_FILES = {
    "layers.py": "PyTorch has Linear, Embedding and LayerNorm; Keras' differ from them",
    "keras_model.py": "training, saving and export are Keras' own business",
    "optimizers.py": "PyTorch's AdamW can update in place (fused=True)",
}
# Keras makes variables in `build`, which PyTorch does in constructors.
KERAS_HOOK = "build"
# Arguments that Keras adds: the mode of a call, the seed of its dropout, options of a layer.
KERAS_ARGUMENTS = {"training": "forward", "seed": "forward", "**options": "__init__"}

ONLY_TORCH: dict[str, str] = {
    "language_model.XLMWithLMHeadModel.tie_weights": "a Keras layer is handed the shared matrix",
    "pretrained.XLMPreTrainedModel.tie_weights": "as above",
    "pretrained.XLMPreTrainedModel.base_model": "peft and transformers' Trainer ask for it",
    "pretrained.XLMPreTrainedModel.dtype": "Keras has a property of this name",
    "pretrained.XLMPreTrainedModel.device": "TensorFlow places by operation",
    "kernels.SMALLEST_MATRIX": "TensorFlow chooses its products itself",
    "kernels.HAS_ONEDNN": "as above",
    "kernels.ANY_ROWS": "as above",
    "kernels.PREFER_ONEDNN": "as above",
    "kernels.FEWER_ROWS": "as above",
    "kernels.LINEAR": "as above",
    "kernels.OWN_LINEAR": "TensorFlow's tensors are never overwritten",
    "kernels.product": "as above",
    "kernels.Recycled": "TensorFlow keeps memory by itself",
    "kernels.SMALLEST_RECYCLED": "as above",
    "kernels.recycled": "as above",
    "kernels.COPIED_AT_A_TIME": "as above",
    "kernels.needs_gradient": "a tape of TensorFlow asks afterwards",
    "kernels.gradients_of": "TensorFlow's custom gradients have derivatives themselves",
    "kernels.OneDNNLinear": "as above",
    "kernels.FlashAttention": "TensorFlow has no fused attention on CPUs",
    "kernels.pack_weights": "TensorFlow orders matrices at each product",
    "kernels.unpack_weights": "as above",
    "kernels.only_looks_up": "a Keras embedding has no such options",
    "kernels.SharedMatrix": "a function with a custom gradient, in TensorFlow private",
    "kernels.EmbeddingRows": "TensorFlow's look-ups have sparse gradients by themselves",
    "losses.VocabularyLoss": "a function with a custom gradient, in TensorFlow private",
    "padding.SENTENCE_COST": "TensorFlow decides nothing by values while tracing",
    "padding.has_varlen": "as above",
    "quantization.QuantizedLinear.extra_repr": "what PyTorch prints of a module",
}
ONLY_TF: dict[str, str] = {
    "adaptive_softmax.TailCluster": "PyTorch has nn.Sequential",
    "language_model.TiedLinear": "PyTorch shares a parameter between two modules",
    "pretrained.XLMPreTrainedModel.encoder_options": "options that Keras gives to sublayers",
    "pretrained.XLMPreTrainedModel.variable_of": "a PyTorch model has get_parameter",
    "pretrained.XLMPreTrainedModel.draw_seed": "dropout in TensorFlow takes its seed",
    "kernels.SMALLEST_WIDTH": "PyTorch needs no graph to be fast",
    "kernels.compiled": "as above",
    "kernels.forget_graphs": "as above",
    "kernels.add_rows": "PyTorch's index_add_ does it",
    "kernels.tracing": "PyTorch says by itself when it traces",
    "losses.may_keep_logits": "PyTorch knows the sizes when it computes",
    "padding.gather_rows": "PyTorch's index_select has a dense gradient",
}
ONLY_TF_EXPORTS = {"AdamW": "see optimizers.py"}
OTHER_SIGNATURE: dict[str, str] = {
    "kernels.are_traced": "TensorFlow's graph says it, PyTorch's tensors do",
    "kernels.attention": "dropout in TensorFlow takes its seed, masks are added",
    "language_model.XLMPredLayer.loss_of": "what to keep is decided before tracing",
    "language_model.XLMPredLayer.picks_rows": "as kernels.are_traced",
    "losses.linear_cross_entropy": "what to keep is decided before tracing",
    "model.MultiHeadAttention.fused": "dropout in TensorFlow takes its seed",
    "padding.Rows.attend": "as above; products of matrices want flat rows",
    "padding.rows_of": "TensorFlow decides nothing by values while tracing",
    "pretrained.XLMPreTrainedModel.__init__": "a Keras model takes its dtype when it is made",
    "language_model.XLMPredLayer.forward": "takes the matrix that it shares with the embeddings",
}


class Surface(ast.NodeVisitor):
    """Qualified public names of a module, in order, each with its signature."""

    def __init__(self, source: str) -> None:
        self.names: dict[str, tuple[str, ...]] = {}
        self.stack: list[str] = []
        self.visit(ast.parse(source))

    def _add(self, name: str, signature: tuple[str, ...] = ()) -> None:
        self.names[".".join([*self.stack, name])] = signature

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        name = node.name.removeprefix("TF")
        if not name.startswith("_"):
            self._add(name)
            self.stack.append(name)
            self.generic_visit(node)
            self.stack.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        name = "forward" if node.name == "call" and self.stack else node.name
        if name == "__init__" or not name.startswith("_"):
            self._add(name, tuple(signature(node)))

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._add_constant(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._add_constant(node.target)

    def _add_constant(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name) and target.id.isupper() and target.id[0] != "_":
            self._add(target.id)


def signature(node: ast.FunctionDef) -> Iterator[str]:
    """Decorators that change the call, then each argument with its kind and default."""
    for decorator in node.decorator_list:
        text = ast.unparse(decorator)
        if text in ("property", "classmethod", "staticmethod") or text.endswith(".setter"):
            yield f"@{text}"
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in zip(positional, defaults, strict=True):
        yield _argument(argument.arg, default)
    if arguments.vararg is not None:
        yield f"*{arguments.vararg.arg}"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield "keyword " + _argument(argument.arg, default)
    if arguments.kwarg is not None:
        yield f"**{arguments.kwarg.arg}"


def _argument(name: str, default: ast.expr | None) -> str:
    return name if default is None else f"{name}={ast.unparse(default)}"


def without_keras_arguments(name: str, found: tuple[str, ...]) -> tuple[str, ...]:
    method = name.rpartition(".")[2]
    return tuple(
        argument
        for argument in found
        if KERAS_ARGUMENTS.get(argument.removeprefix("keyword ").partition("=")[0]) != method
    )


def surfaces(file: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Qualified name -> signature in PyTorch and in TensorFlow, without what is excepted."""
    stem = file.removesuffix(".py")
    in_torch = {
        f"{stem}.{name}": s for name, s in Surface((TORCH / file).read_text()).names.items()
    }
    in_tf = {f"{stem}.{name}": s for name, s in Surface((TF / file).read_text()).names.items()}
    kept_torch = {name: s for name, s in in_torch.items() if not is_among(name, ONLY_TORCH)}
    kept_tf = {
        name: without_keras_arguments(name, s)
        for name, s in in_tf.items()
        if not name.endswith(f".{KERAS_HOOK}") and not is_among(name, ONLY_TF)
    }
    return kept_torch, kept_tf


def is_among(name: str, excepted: dict[str, str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in excepted)


BEFORE = """
RATE = 0.5
class XLMHead(nn.Module):
    def __init__(self, config): ...
    def forward(self, hidden, mask=None, *, scale=1.0, **unknown): ...
    def _private(self): ...
def loss(scores, labels): ...
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("class XLMHead(nn.Module)", "class TFXLMHead(keras.Layer)", True),
        ("def forward(self, hidden,", "def call(self, hidden,", True),
        ("_private(self)", "_other(self, x)", True),
        ("RATE = 0.5", "RATE: float = 0.25", True),
        ("RATE", "SPEED", False),
        ("XLMHead", "XLMTail", False),
        ("hidden, mask=None", "mask=None, hidden=None", False),
        ("mask=None", "mask=0", False),
        ("scale=1.0", "factor=1.0", False),
        (", **unknown", "", False),
        ("*, ", "", False),
        ("def loss(scores, labels): ...", "", False),
        ("def loss", "def losses", False),
    ],
)
def test_what_counts_as_a_difference(old: str, new: str, same: bool) -> None:
    assert old in BEFORE
    changed = Surface(BEFORE.replace(old, new)).names
    assert (list(Surface(BEFORE).names.items()) == list(changed.items())) is same


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


SHARED = sorted(files(TORCH) & files(TF))


def test_the_same_files() -> None:
    assert files(TF) - files(TORCH) == set(ONLY_TF_FILES)
    assert files(TORCH) - files(TF) == set()
    assert len(SHARED) > 10


@pytest.mark.parametrize("file", SHARED)
def test_the_same_names_in_the_same_order(file: str) -> None:
    in_torch, in_tf = surfaces(file)
    assert list(in_tf) == list(in_torch)


@pytest.mark.parametrize("file", SHARED)
def test_the_same_signatures(file: str) -> None:
    in_torch, in_tf = surfaces(file)
    differing = {
        name: (in_torch[name], in_tf[name])
        for name in in_torch.keys() & in_tf.keys() - OTHER_SIGNATURE.keys()
        if in_torch[name] != in_tf[name]
    }
    assert differing == {}


def exported(file: Path) -> list[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name.removeprefix("TF") for name in ast.literal_eval(node.value)]
    return []


@pytest.mark.parametrize("file", SHARED)
def test_the_same_exports(file: str) -> None:
    only_torch = {name.rpartition(".")[2] for name in ONLY_TORCH}
    expected = [name for name in exported(TORCH / file) if name not in only_torch]
    assert [name for name in exported(TF / file) if name not in ONLY_TF_EXPORTS] == expected


def test_the_package_exports_something() -> None:
    assert "XLMForTokenClassification" in exported(TORCH / "__init__.py")


def test_every_exception_is_needed() -> None:
    in_torch: dict[str, tuple[str, ...]] = {}
    in_tf: dict[str, tuple[str, ...]] = {}
    for file in SHARED:
        stem = file.removesuffix(".py")
        in_torch |= {f"{stem}.{n}": s for n, s in Surface((TORCH / file).read_text()).names.items()}
        in_tf |= {f"{stem}.{n}": s for n, s in Surface((TF / file).read_text()).names.items()}
    assert in_torch.keys() >= ONLY_TORCH.keys()
    assert in_tf.keys() >= ONLY_TF.keys()
    assert not ONLY_TORCH.keys() & in_tf.keys()
    assert not ONLY_TF.keys() & in_torch.keys()
    assert set(ONLY_TF_EXPORTS) == set(exported(TF / "__init__.py")) - set(
        exported(TORCH / "__init__.py")
    )
    for name in OTHER_SIGNATURE:
        assert in_torch[name] != without_keras_arguments(name, in_tf[name]), name
