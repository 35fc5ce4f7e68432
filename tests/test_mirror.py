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

ONLY_TORCH_FILES = {
    "fast/onednn.py": "TensorFlow chooses its products itself",
    "fast/packing.py": "TensorFlow orders matrices at each product",
    "fast/one_position.py": "a step in TensorFlow is a graph, in which calls cost nothing",
    "fast/dropout.py": "in TensorFlow the formula of layers.py draws alike",
    "training/accelerating.py": "of Accelerate",
    "training/trainable.py": "in TensorFlow a part of training/updates.py",
    "training/clipping.py": "in TensorFlow a part of the graph of a step",
    "training/reading_processes.py": "of DataLoader",
    "training/unused.py": "of DistributedDataParallel",
    "training/sharding.py": "tf.distribute has copies of a model alone",
    "fast/memory.py": "TensorFlow keeps memory by itself",
    "vector_math.py": "TensorFlow does not use MKL's functions",
    "fast/double_backward.py": "TensorFlow's custom gradients have derivatives themselves",
}
# transformers has no TensorFlow any more: only PyTorch's classes can be of its kind.
ONLY_TORCH_FOLDER = "for_transformers/"
ONLY_TF_FILES = {
    "layers.py": "PyTorch has Linear, Embedding and LayerNorm; Keras' differ from them",
    "keras_model.py": "training, saving and export are Keras' own business",
    "datasets.py": "PyTorch has DataLoader",
    "sample_weights.py": "arguments of Keras' fit, as keras_model.py",
    "fast/graphs.py": "PyTorch needs no graph to be fast",
    "fast/adam.py": "PyTorch's own operations make one pass",
    "fast/norm.py": "PyTorch's layer_norm is one operation, forward and backward",
    "generation/steps.py": "as fast/graphs.py: a step of TensorFlow is a graph",
    "training/updates.py": "as fast/graphs.py: what Keras' fit and a run have in common",
    "training/callbacks.py": "of Keras' fit",
    "training/counters.py": "of Keras' fit",
}
# The formulas and the heads are cut at the same places, private functions included.
PRIVATE_TOO = (
    "attention.py",
    "feed_forward.py",
    "model.py",
    "heads.py",
    "language_model.py",
    "classification.py",
    "question_answering.py",
)
# Keras makes variables in `build`, which PyTorch does in constructors.
KERAS_HOOK = "build"
# Arguments that Keras adds: the mode of a call, the seed of its dropout, options of a layer.
KERAS_ARGUMENTS = {
    "training": {"forward", "encode", "_encode", "_run"},
    "recompute": {"_encode"},
    "trained": {"linear"},
    "seed": {
        *("forward", "attend", "layer", "_layer", "_embed", "run_layer"),
        *("attend_to_sentence", "attend_to_cache", "attend_to_source"),
    },
    "**options": {"__init__"},
}

ONLY_TORCH: dict[str, str] = {
    **dict.fromkeys(
        (
            *(f"training/reading.GlobalBatches{name}" for name in ("", ".__init__")),
            *(
                f"training/states.{name}"
                for name in (
                    *("whole", "fill", "lazy_tensors", "optimizer_state"),
                    *("check_optimizer_class", "check_optimizer_state", "fill_optimizer"),
                )
            ),
            "training/run.LOGITS_OF_EVALUATION",
            *(f"optimizers.{name}" for name in ("local_part", "refuse_sparse")),
        ),
        "the engine is Accelerate, of TensorFlow tf.distribute: see training/updates.py",
    ),
    "pretrained.tensor_of": "Keras' variables take arrays",
    **dict.fromkeys(
        (
            *(f"generation/decoding.{kind}Decoding.select" for kind in ("Cached", "Masked")),
            *(f"generation/logits.ScoreRules.{name}" for name in ("__init__", "append")),
        ),
        "a decoding of TensorFlow has no state of its own: its loops run in a graph",
    ),
    "generation/greedy.in_full": "losses.at_least_float32 in TensorFlow",
    **dict.fromkeys(
        (
            f"asked_by_tools.AskedByTools.{name}"
            for name in (
                "enable_input_require_grads",
                "disable_input_require_grads",
                "set_attn_implementation",
                "add_model_tags",
            )
        ),
        "transformers' TensorFlow models have none",
    ),
    "language_model.XLMWithLMHeadModel._get_name": "asked by transformers' Trainer",
    "language_model._tie_again": "a Keras layer is handed the shared matrix",
    "language_model.WithOutputLayer._apply": "as above",
    "model.XLMModel._embeddings_dtype": "a Keras model has a dtype of its own",
    "attention._selected": "a Keras layer keeps columns by itself, see Linear.keep",
    "language_model.WithOutputLayer.tie_weights": "a Keras layer is handed the shared matrix",
    "language_model.WithOutputLayer._sizes_changed": "Keras' layers read their sizes off",
    "translation.XLMForConditionalGeneration.tie_weights": "a Keras layer is handed the matrix",
    "optimizers.local_part": "a Keras variable on several devices is a copy on each",
    "optimizers.refuse_sparse": "Keras adds up sparse gradients by itself",
    "pretrained.XLMPreTrainedModel.tie_weights": "a Keras layer is handed the shared matrix",
    "pretrained.XLMPreTrainedModel.dtype": "Keras has a property of this name",
    "pretrained.XLMPreTrainedModel.device": "TensorFlow places by operation",
    "fast/attention.FlashAttention": "TensorFlow has no fused attention on CPUs",
    "fast/embedding.only_looks_up": "a Keras embedding has no such options",
    "fast/embedding.SharedMatrix": "a function with a custom gradient, in TensorFlow private",
    "fast/embedding.EmbeddingRows": "TensorFlow's look-ups have sparse gradients by themselves",
    "fast/integers.EXACT_IN_FLOAT32": "TensorFlow has other products of integers, tried alike",
    "fast/integers.IntegerProduct.dtype": "as above",
    "fast/integers.UNSIGNED": "as above",
    "fast/integers.SIGNED": "as above",
    "fast/integers.INT_MM": "as above",
    "fast/integers.FLOATS": "as above",
    "fast/integers.TRIALS": "as above",
    "fast/integers.is_exact_and_fast": "as above",
    "fast/integers.Trial.given_to": "as above",
    "fast/integers.LAST_BITS": "XLA fuses what PyTorch adds in one operation",
    "fast/integers.BLOCK": "XLA reuses memory by itself",
    "fast/path.one_position": "see fast/one_position.py",
    **{
        f"cache.KeyValueCache.{name}": "positions that fast/one_position.py writes in place"
        for name in ("is_reserved", "open_position")
    },
    "fast/layer.attend_with_weights": "TensorFlow's linear layers are as fast by the formula",
    "fast/rule.needs_gradient": "a tape of TensorFlow asks afterwards",
    "fast/rule.is_on_cpu": "TensorFlow places by operation",
    "fast/unpadding.SENTENCE_COST": "TensorFlow decides nothing by values while tracing",
    "fast/unpadding.has_varlen": "as above",
    "fast/unpadding.keep_one_position": "TensorFlow counts new positions, see `fast_path`",
    "fast/vocabulary_loss.VocabularyLoss": "a function with a custom gradient, as above private",
    "quantization.QuantizedLinear.extra_repr": "what PyTorch prints of a module",
    "optimizers.OriginalAdam.step": "what an optimizer of PyTorch has to define",
    "optimizers.OriginalAdam.add_param_group": "Keras' optimizers have one group",
    "training/collating.ObjectiveCollator.draw_seed": "Keras' seed sets Python's numbers too",
}
ONLY_TF: dict[str, str] = {
    **dict.fromkeys(
        (
            *(
                f"training/losses.WithObjectives.{name}"
                for name in (
                    *("compile", "updates", "fit", "make_train_function", "get_metrics_result"),
                    *("reset_metrics", "make_test_function", "make_predict_function", "tally"),
                    *("get_config", "from_config", "get_compile_config", "compile_from_config"),
                    "train_on_batch",
                )
            ),
            *(
                f"training/optimizing.Schedule{name}"
                for name in ("", ".__init__", ".get_config", ".from_config")
            ),
            *(
                f"training/reading.{name}"
                for name in (
                    *("NAMES", "Pass", "dataset_of", "piece_of", "marks_of", "check_passes"),
                    "is_distributed",
                    "passes_of",
                )
            ),
            *(f"training/states.{name}" for name in ("write_run", "read_into", "seed_generators")),
        ),
        "Keras' fit and a run share models, datasets and states: see training/updates.py",
    ),
    "optimizers.OriginalAdam.take": "PyTorch's optimizers have a dictionary of states",
    **dict.fromkeys(
        (
            *(
                f"generation/decoding.{name}"
                for name in ("BLOCK", "UncachedDecoding", "moved_left", "room_for", "with_room")
            ),
            *(f"generation/decoding.{kind}Decoding.grow" for kind in ("Cached", "Masked")),
            "generation/decoding.select",
            "generation/greedy.random_numbers",
            "generation/greedy.generate_rows_in_graph",
            "generation/logits.ScoreRules.of",
            "generation/logits.ScoreRules.look_back",
        ),
        "loops run in a graph: their state is tensors, their settings can be hashed",
    ),
    **dict.fromkeys(
        (f"generation/generate.GenerationMixin.{name}" for name in ("get_config", "from_config")),
        "Keras' own files",
    ),
    **dict.fromkeys(
        (
            f"asked_by_tools.AskedByTools.{name}"
            for name in (
                "input_signature",
                "build_in_name_scope",
                "serving_output",
                "get_lm_head",
                "get_bias",
                "set_bias",
            )
        ),
        "transformers' TensorFlow models alone have it",
    ),
    "optimizers.total_norm": "in PyTorch a part of training/clipping.py: Keras' optimizers clip",
    "optimizers.clipped": "as above",
    "adaptive_softmax.TailCluster": "PyTorch has nn.Sequential",
    **dict.fromkeys(
        (
            "losses.cross_entropies",
            "losses.negative_log_likelihoods",
            "losses.mean_of_counted",
            "squad_head.SQuADHead.logits_to_train",
        ),
        "what Keras' sample_weight and class_weight multiply",
    ),
    "language_model.TiedLinear": "PyTorch shares a parameter between two modules",
    "language_model.WithOutputLayer._score": "what runs as a graph",
    "model.if_fitting": "a graph's inputs have one shape, PyTorch looks when it computes",
    "model._recomputed": "PyTorch has torch.utils.checkpoint",
    "pretrained.XLMPreTrainedModel.encoder_options": "options that Keras gives to sublayers",
    "pretrained.XLMPreTrainedModel.variable_of": "a PyTorch model has get_parameter",
    "pretrained.XLMPreTrainedModel.draw_seed": "dropout in TensorFlow takes its seed",
    "fast/embedding.add_rows": "PyTorch's index_add_ does it",
    "fast/integers.XLA": "PyTorch has other products of integers, tried alike",
    "fast/integers.ONEDNN": "as above",
    "fast/integers.SMALLEST_COMPILED": "PyTorch compiles nothing",
    "fast/integers.Trial.is_summed_exactly_by": "as fast/integers.XLA",
    "fast/integers.Trial.seconds": "as above",
    "fast/integers.NO_GRADIENT": "a tape of TensorFlow asks afterwards",
    "fast/integers.without_gradient": "as above",
    "fast/integers.POWERS_OF_TWO": "PyTorch compiles nothing",
    "fast/integers.STEPS": "as above",
    "fast/integers.rounded_up": "as above",
    "fast/rule.tracing": "PyTorch says by itself when it traces",
    "fast/rule.is_tracing": "as above",
    "fast/rule.runs_its_class_alone": "asked for graphs too",
    "fast/unpadding.gather_rows": "PyTorch's index_select has a dense gradient",
    "fast/vocabulary_loss.may_keep_logits": "PyTorch knows the sizes when it computes",
    "optimizers.AdamW": "PyTorch's can update in place (fused=True)",
    "optimizers.PART": "of AdamW",
    "optimizers.SMALLEST_IN_PARTS": "of AdamW",
    "training/collating.ObjectiveCollator.output_signature": "PyTorch asks for none",
    "training/collating.collated_dataset": "PyTorch has DataLoader",
    "training/configured.workers_in": "torchrun says it in WORLD_SIZE",
    "optimizers.OriginalAdam.apply_times": "as optimizers.clipped",
    "optimizers.OriginalAdam.build": "what an optimizer of Keras has to define",
    "optimizers.OriginalAdam.get_config": "as above",
    "optimizers.OriginalAdam.update_step": "as above",
}
ONLY_TORCH_EXPORTS = {
    *("pack_weights", "unpack_weights"),  # see fast/packing.py
    *("GlobalBatches", "accelerator_of"),  # see training/updates.py
}
ONLY_TF_EXPORTS = {
    "AdamW": "PyTorch's can update in place (fused=True)",
    **dict.fromkeys(("CheckpointCallback", "EvaluationCallback", "Schedule"), "of Keras"),
    **dict.fromkeys(("collated_dataset", "dataset_of"), "PyTorch has DataLoader"),
}
OTHER_SIGNATURE: dict[str, str] = {
    **dict.fromkeys(
        (
            f"generation/decoding.{kind}Decoding.{name}"
            for kind in ("Cached", "Masked")
            for name in ("__init__", "first", "next")
        ),
        "a decoding of TensorFlow has no state of its own: its loops run in a graph",
    ),
    **dict.fromkeys(
        (
            "attention.attention_mask_of",
            "fast/path.fast_path",
            "fast/unpadding.keep_new_positions",
            "model.FormulaPath.__init__",
        ),
        "caches in a graph of TensorFlow return their whole buffers: new positions are counted",
    ),
    **dict.fromkeys(
        ("fast/path.FastPath.layer", "model.FormulaPath.layer"),
        "what TensorFlow recomputes has gradients for its arguments alone",
    ),
    "fast/unpadding.choose_source": "TensorFlow decides nothing by values while tracing",
    "fast/attention.attend_within_sentences": "products of matrices want flat rows; seeds",
    "fast/attention.fused_attention": "dropout in TensorFlow takes its seed, masks are added",
    "fast/integers.chosen_product": "small matrices are not worth compiling for",
    "fast/integers.row_scales": "XLA must not know the number that it divides by",
    "fast/integers.round_rows": "as above; PyTorch may overwrite what it rounds",
    "fast/layer.add_linear": "dropout in TensorFlow takes its seed, and where it is drawn for",
    "fast/rule.are_traced": "TensorFlow's graph says it, PyTorch's tensors do",
    "fast/rule.are_unmodified": "Keras says layers where PyTorch says modules",
    "fast/rule.have_their_methods": "as above",
    "fast/unpadding.choose_unpadding": "TensorFlow decides nothing by values while tracing",
    "fast/vocabulary_loss.linear_cross_entropy": "what to keep is decided before tracing",
    "language_model.XLMPredLayer.loss_of": "what to keep is decided before tracing",
    "language_model.XLMPredLayer.picks_labelled": "as fast/rule.are_traced",
    "language_model.XLMPredLayer.forward": "takes the matrix that it shares with the embeddings",
    "optimizers.OriginalAdam.__init__": "as each framework calls the arguments of optimizers",
    "pretrained.XLMPreTrainedModel.__init__": "a Keras model takes its dtype when it is made",
    "training/run.TrainingRun.__init__": "a strategy in place of an accelerator",
}


class Surface(ast.NodeVisitor):
    """Qualified names of a module, in order, each with its signature: public ones, or all."""

    def __init__(self, source: str, *, private: bool = False) -> None:
        self.private = private
        self.names: dict[str, tuple[str, ...]] = {}
        self.stack: list[str] = []
        self.visit(ast.parse(source))

    def _add(self, name: str, signature: tuple[str, ...] = ()) -> None:
        self.names[".".join([*self.stack, name])] = signature

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        name = node.name.removeprefix("TF")
        if self.private or not name.startswith("_"):
            self._add(name)
            self.stack.append(name)
            self.generic_visit(node)
            self.stack.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        name = "forward" if node.name == "call" and self.stack else node.name
        if self.private or name == "__init__" or not name.startswith("_"):
            self._add(name, tuple(signature(node)))

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._add_constant(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._add_constant(node.target)

    def _add_constant(self, target: ast.expr) -> None:
        named = isinstance(target, ast.Name) and target.id.isupper()
        if named and (self.private or target.id[0] != "_"):
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
        if method
        not in KERAS_ARGUMENTS.get(argument.removeprefix("keyword ").partition("=")[0], ())
    )


def surfaces(file: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Qualified name -> signature in PyTorch and in TensorFlow, without what is excepted."""
    in_torch, in_tf = names_in(TORCH, file), names_in(TF, file)
    kept_torch = {name: s for name, s in in_torch.items() if not is_among(name, ONLY_TORCH)}
    kept_tf = {
        name: without_keras_arguments(name, s)
        for name, s in in_tf.items()
        if not name.endswith(f".{KERAS_HOOK}") and not is_among(name, ONLY_TF)
    }
    return kept_torch, kept_tf


def names_in(family: Path, file: str) -> dict[str, tuple[str, ...]]:
    """Qualified name, after the file's -> signature."""
    surface = Surface((family / file).read_text(), private=file in PRIVATE_TOO)
    return {f"{file.removesuffix('.py')}.{name}": s for name, s in surface.names.items()}


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
        ("_private(self)", "_other(self, x)", True),  # unless private names count too
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


def test_private_names_count_where_asked_for() -> None:
    changed = BEFORE.replace("_private(self)", "_other(self, x)")
    one, other = (Surface(source, private=True).names for source in (BEFORE, changed))
    assert "XLMHead._private" in one
    assert list(one) != list(other)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


SHARED = sorted(files(TORCH) & files(TF))


def test_the_same_files() -> None:
    assert files(TF) - files(TORCH) == set(ONLY_TF_FILES)
    alone = files(TORCH) - files(TF)
    assert {file for file in alone if not file.startswith(ONLY_TORCH_FOLDER)} == set(
        ONLY_TORCH_FILES
    )
    assert any(file.startswith(ONLY_TORCH_FOLDER) for file in alone)
    assert set(PRIVATE_TOO) <= set(SHARED)
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
    expected = [name for name in exported(TORCH / file) if name not in ONLY_TORCH_EXPORTS]
    assert [name for name in exported(TF / file) if name not in ONLY_TF_EXPORTS] == expected


def test_the_package_exports_something() -> None:
    assert "XLMForTokenClassification" in exported(TORCH / "__init__.py")


def test_every_exception_is_needed() -> None:
    in_torch: dict[str, tuple[str, ...]] = {}
    in_tf: dict[str, tuple[str, ...]] = {}
    for file in SHARED:
        in_torch |= names_in(TORCH, file)
        in_tf |= names_in(TF, file)
    assert in_torch.keys() >= ONLY_TORCH.keys()
    assert in_tf.keys() >= ONLY_TF.keys()
    assert not ONLY_TORCH.keys() & in_tf.keys()
    assert not ONLY_TF.keys() & in_torch.keys()
    packages = ("__init__.py", "training/__init__.py")
    in_both = [
        {name for package in packages for name in exported(family / package)}
        for family in (TORCH, TF)
    ]
    assert in_both[0] - in_both[1] == ONLY_TORCH_EXPORTS
    assert in_both[1] - in_both[0] == set(ONLY_TF_EXPORTS)
    for name in OTHER_SIGNATURE:
        assert in_torch[name] != without_keras_arguments(name, in_tf[name]), name
