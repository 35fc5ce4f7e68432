"""The rows of the benchmark: who takes part, and what is asked of this project."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.speed.tasks import Shape, Task


@dataclass(frozen=True)
class Lane:
    """One line of a row.

    Attributes:
        name: As printed.
        contender: Key of `CONTENDERS`.
        options: For its side.
        long: Left out in a quick run.
    """

    name: str
    contender: str
    options: dict[str, Any] = field(default_factory=dict)
    long: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is this project's."""
        return self.contender in ("xlm_torch", "xlm_tf")


@dataclass(frozen=True)
class Bar:
    """The time of `peer` over that of `ours` is to be at least this.

    Attributes:
        allowance: What noise may take away, where both run the same code.
    """

    ours: str
    peer: str
    at_least: float
    allowance: float = 0.0


@dataclass(frozen=True)
class Row:
    """A task, its lanes, and its bars.

    Attributes:
        shares: Lane -> (share of the limit that is asked for, contender whose best product is
            the limit there, or "" for the best of all).
        long: Left out in a quick run.
    """

    name: str
    title: str
    task: Task
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...] = ()
    shares: dict[str, tuple[float, str]] = field(default_factory=dict)
    long: bool = False


OURS, OURS_TF = Lane("xlm_torch", "xlm_torch"), Lane("xlm_tf", "xlm_tf")
PEER_4, PEER_5 = Lane("transformers 4", "transformers 4"), Lane("transformers 5", "transformers 5")
LONG_5 = Lane(PEER_5.name, PEER_5.contender, long=True)
# By default it keeps the keys of a bidirectional model while it generates, and gives other ids.
KEEPING_5 = Lane("transformers 5, keeping keys (other ids)", PEER_5.contender, {"use_cache": True})
COMPILED = Lane("transformers 4, compiled", "transformers 4", {"mode": "compiled"}, long=True)
COMPILED_5 = Lane("transformers 5, compiled", "transformers 5", {"mode": "compiled"}, long=True)
FROZEN = Lane("transformers 4, frozen", "transformers 4", {"mode": "frozen"}, long=True)
ONNX = Lane("ONNX Runtime", "ONNX Runtime")
ORIGINAL = Lane("original code", "original", long=True)
EAGER = Lane("TFXLM", "TFXLM")
FUNCTION = Lane("TFXLM, tf.function", "TFXLM", {"mode": "function"})
XLA = Lane("TFXLM, XLA", "TFXLM", {"mode": "xla"})
PRODUCTS = tuple(Lane(name, name) for name in ("products, PyTorch", "products, TensorFlow"))
_OF_PYTORCH = ("foreach", "fused")
PACKED = Lane("xlm_torch, packed", "xlm_torch", {"packed": True})


def bars(ours: Lane, at_least: float, *peers: Lane) -> tuple[Bar, ...]:
    """The same bar against several."""
    return tuple(Bar(ours.name, peer.name, at_least) for peer in peers)


def own(ours: Lane, *others: Lane) -> tuple[Bar, ...]:
    """Not slower than this project's other ways."""
    return tuple(Bar(ours.name, other.name, 1.0, allowance=0.03) for other in others)


def _named(lane: Lane, name: str, **options: Any) -> Lane:
    return Lane(f"{lane.name}, {name}", lane.contender, lane.options | options, lane.long)


def of_family(row: Row, family: str) -> Row:
    """A row with the lanes of one framework alone.

    Args:
        row: Any.
        family: "torch" or "tf".
    """
    tensorflow = ("xlm_tf", "TFXLM", "products, TensorFlow")
    lanes = tuple(x for x in row.lanes if (x.contender in tensorflow) == (family == "tf"))
    names = {lane.name for lane in lanes}
    return replace(
        row,
        lanes=lanes,
        bars=tuple(bar for bar in row.bars if {bar.ours, bar.peer} <= names),
        shares={name: share for name, share in row.shares.items() if name in names},
    )


def rows(shape: Shape, large_vocabulary: int = 200_000) -> tuple[Row, ...]:
    """All rows, in their order."""
    dense, plain = _named(OURS, "no mask", dense=True), _named(OURS, "plain", plain=True)
    dense_tf = _named(OURS_TF, "no mask", dense=True)
    plain_tf = _named(OURS_TF, "plain", plain=True)
    half, half_tf = (_named(x, "bfloat16", dtype="bfloat16") for x in (OURS, OURS_TF))
    eighth, eighth_tf = (_named(x, "int8", quantized="all") for x in (OURS, OURS_TF))
    weights, weights_tf = (
        replace(_named(x, "weights only", quantized="weights"), long=True) for x in (OURS, OURS_TF)
    )
    keras_adamw = _named(OURS_TF, "Keras' AdamW", optimizer="keras")
    keras_adamw = replace(keras_adamw, long=True)
    causal, causal_tf = (
        Lane(lane.name, lane.contender, {"causal": True}) for lane in (OURS, OURS_TF)
    )
    beams, beams_tf = (_named(lane, "5 beams", beams=5) for lane in (causal, causal_tf))
    small, small_tf = (_named(lane, "int8", quantized="all") for lane in (causal, causal_tf))
    late, late_tf = (_named(lane, "after 490", prompt=490) for lane in (causal, causal_tf))
    early, early_tf = (_named(lane, "after 2", prompt=2) for lane in (causal, causal_tf))
    adamw = replace(_named(OURS, "PyTorch's AdamW", optimizer="adamw"), long=True)
    foreach, fused = (_named(OURS, f"AdamW, {name}", optimizer=name) for name in _OF_PYTORCH)
    narrow = replace(shape, vocab_size=2_000, emb_dim=min(shape.emb_dim, 64), n_layers=24)
    large = Shape(**{**shape.__dict__, "vocab_size": large_vocabulary})
    return (
        Row(
            "encode",
            "encode 8 x 128",
            Task("encode", 8, 128, shape=shape),
            (
                *(OURS, PEER_4, COMPILED, FROZEN, PEER_5, COMPILED_5, ONNX, ORIGINAL),
                *(OURS_TF, EAGER, FUNCTION, XLA),
            ),
            bars(OURS, 2.0, PEER_4, COMPILED, FROZEN, PEER_5, COMPILED_5)
            + bars(OURS, 1.0, ONNX)
            + bars(OURS_TF, 1.05, FUNCTION, XLA)
            + bars(OURS_TF, 1.25, EAGER),
            {OURS.name: (0.85, ""), OURS_TF.name: (0.9, "products, TensorFlow")},
        ),
        Row(
            "packed",
            "encode 8 x 128, weights packed",
            Task("encode", 8, 128, shape=shape),
            (PACKED, PEER_4),
            bars(PACKED, 2.2, PEER_4),
            long=True,
        ),
        Row(
            "padded",
            "encode 32 x 128, 45 % filled",
            Task("encode", 32, 128, filled=0.45, shape=shape),
            (OURS, PEER_4, LONG_5, ONNX, ORIGINAL, OURS_TF, FUNCTION),
            bars(OURS, 4.5, PEER_4, PEER_5) + bars(OURS, 2.0, ONNX) + bars(OURS_TF, 2.2, FUNCTION),
        ),
        Row(
            "full",
            "encode 32 x 128, 100 % filled",
            Task("encode", 32, 128, shape=shape),
            (OURS, dense, plain, OURS_TF, dense_tf, plain_tf),
            own(OURS, dense, plain) + own(OURS_TF, dense_tf, plain_tf),
            long=True,
        ),
        Row(
            "bfloat16",
            "encode 8 x 128 in bfloat16",
            Task("encode", 8, 128, shape=shape),
            (half, PEER_4, _named(PEER_4, "bfloat16", dtype="bfloat16"), half_tf),
            bars(half, 4.0, PEER_4),
        ),
        Row(
            "int8",
            "encode 8 x 128 in int8",
            Task("encode", 8, 128, shape=shape),
            (eighth, OURS, half, weights, PEER_4, eighth_tf, OURS_TF, half_tf, weights_tf),
            bars(eighth, 2.5, OURS)
            + bars(eighth, 1.0, half)
            + bars(eighth_tf, 2.5, OURS_TF)
            + bars(eighth_tf, 1.0, half_tf),
        ),
        Row(
            "int8-padded",
            "encode 32 x 128, 45 % filled, in int8",
            Task("encode", 32, 128, filled=0.45, shape=shape),
            (eighth, OURS, half, eighth_tf, OURS_TF, half_tf),
            bars(eighth, 2.5, OURS)
            + bars(eighth, 1.0, half)
            + bars(eighth_tf, 2.5, OURS_TF)
            + bars(eighth_tf, 1.0, half_tf),
            long=True,
        ),
        Row(
            "int8-parts",
            "what int8 and bfloat16 consist of, 32 x 128, 45 % filled, one by one",
            Task("parts", 32, 128, filled=0.45, shape=shape),
            PRODUCTS,
            long=True,
        ),
        Row(
            "loss",
            "masked language model, loss, 8 x 128",
            Task("loss", 8, 128, shape=shape),
            (OURS, PEER_4, LONG_5, ORIGINAL, OURS_TF, FUNCTION),
            bars(OURS, 3.0, PEER_4, PEER_5) + bars(OURS_TF, 2.0, FUNCTION),
        ),
        Row(
            "train",
            "training step, 8 x 64",
            Task("train", 8, 64, shape=shape),
            (OURS, PEER_4, LONG_5, OURS_TF, keras_adamw, FUNCTION),
            bars(OURS, 3.5, PEER_4, PEER_5) + bars(OURS_TF, 1.5, FUNCTION),
        ),
        Row(
            "pretrain",
            "pretraining, sentences in the order of a file, 16 x 128, half filled",
            Task("pretrain", 16, 128, filled=0.5, shape=shape),
            (OURS, adamw, PEER_4, OURS_TF, FUNCTION),
            bars(OURS, 2.5, PEER_4) + bars(OURS_TF, 2.0, FUNCTION) + own(OURS, adamw),
            {OURS.name: (0.8, ""), OURS_TF.name: (0.8, "products, TensorFlow")},
            long=True,
        ),
        Row(
            "pretrain-full",
            "pretraining, full batches of running text, 16 x 128",
            Task("pretrain", 16, 128, shape=shape),
            (OURS, PEER_4, OURS_TF, FUNCTION),
            bars(OURS, 1.8, PEER_4) + bars(OURS_TF, 1.6, FUNCTION),
            {OURS.name: (0.8, ""), OURS_TF.name: (0.8, "products, TensorFlow")},
            long=True,
        ),
        *(
            Row(
                name,
                f"update by the original's Adam beside AdamW, {title}",
                Task("update", 1, 1, shape=each),
                (OURS, foreach, fused, OURS_TF, keras_adamw),
                bars(OURS, 1.0, foreach) + own(OURS, fused) + own(OURS_TF, keras_adamw),
                long=True,
            )
            for name, title, each in (
                ("update", "all parameters of a language model", shape),
                ("update-small", "those of 24 layers of width 64", narrow),
            )
        ),
        Row(
            "memory",
            f"memory of a training step, 8 x 64, vocabulary {large_vocabulary:,}",
            Task("memory", 8, 64, shape=large),
            (OURS, PEER_4, OURS_TF, keras_adamw, FUNCTION),
            bars(OURS, 3.0, PEER_4) + bars(OURS_TF, 2.0, FUNCTION),
            long=True,
        ),
        Row(
            "one-row",
            "products of one row (decoding)",
            Task("one row", 1, 1, shape=shape),
            PRODUCTS,
        ),
        Row(
            "few-rows",
            "products of few rows: F.linear's time over oneDNN's",
            Task("few rows", 1, 1, shape=shape),
            PRODUCTS[:1],
            long=True,
        ),
        Row(
            "rounding",
            "rounding of products of 512 rows, against float64",
            Task("rounding", 4, 128, shape=shape),
            PRODUCTS,
            long=True,
        ),
        Row(
            "generate",
            "generate 48 tokens after 16, batch 1: a token",
            Task("generate", 1, 16, shape=shape),
            (causal, PEER_4, PEER_5, KEEPING_5, causal_tf, EAGER),
            bars(causal, 3.5, PEER_4) + bars(causal, 5.0, PEER_5) + bars(causal_tf, 8.0, EAGER),
            {causal.name: (1 / 1.3, ""), causal_tf.name: (1 / 1.5, "products, TensorFlow")},
            long=True,
        ),
        Row(
            "generate-16",
            "generate 48 tokens after 16, batch 16: a token",
            Task("generate", 16, 16, shape=shape),
            (causal, PEER_5, KEEPING_5, causal_tf),
            bars(causal, 8.0, PEER_5),
            long=True,
        ),
        Row(
            "generate-beams",
            "generate 48 tokens after 16 with 5 beams, beside greedy search: a token",
            Task("generate", 1, 16, shape=shape),
            (causal, beams, causal_tf, beams_tf),
            bars(beams, 1 / 2.5, causal),
            long=True,
        ),
        Row(
            "generate-int8",
            "generate 48 tokens after 16 in int8: a token",
            Task("generate", 1, 16, shape=shape),
            (causal, small, causal_tf, small_tf),
            long=True,
        ),
        Row(
            "generate-late",
            "generate 20 tokens at the beginning and at the end of 512 positions: a token",
            Task("generate", 1, 16, shape=shape, new=20),
            (early, late, early_tf, late_tf),
            bars(late, 0.9, early) + bars(late_tf, 0.9, early_tf),
            long=True,
        ),
    )
