"""The original code's pickle: what its entries mean, and how such a file is composed.

Source: xlm/trainer.py (save_checkpoint), xlm/model/__init__.py (build_model) and
xlm/evaluation/xnli.py of the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlm_core.checkpoints.layouts.base import Content, Layout, TextFiles
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.checkpoints.moments import OPTIMIZER_STATE, Moments
from xlm_core.checkpoints.original import Original, can_encode
from xlm_core.checkpoints.original_params import params_of
from xlm_core.checkpoints.others import refuse_fairseq, without_prefix
from xlm_core.checkpoints.weights import Weights
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import Progress
from xlm_core.containers.torch_files import write_torch
from xlm_core.errors import CheckpointError, ConfigError
from xlm_core.weights import ENCODER_DECODER, PARTS

# Parameters that published config.json files carry beside the fields.
_KEPT = ("same_enc_dec", "share_inout_emb", "max_vocab", "min_count")
_DICTIONARY = ("dico_id2word", "dico_word2id", "dico_counts")
_XNLI_LABELS = ("contradiction", "neutral", "entailment")
_HEAD = "proj.1."
_ALONE = "Convert the file (`xlm convert`) to start from its weights alone."
_POSITIONS = "position_embeddings.weight"


class FacebookLayout(Layout):
    """A checkpoint of the original: weights, parameters and dictionary in one file."""

    name = "facebook"
    title = "the original code's pickle"
    dialect = "facebook"
    file = "checkpoint.pth"
    alone = ".pth"
    patterns = ("*.pth",)
    repeats_tied = True
    holds_dictionary = True
    text_files = TextFiles(codes="codes", dictionary="vocab")

    def recognises(self, file: WeightsFile) -> bool:
        """A file of `torch.save` with entries of the original; not a plain table of tensors."""
        return file.is_torch and is_facebook(file.torch)

    def read(self, file: WeightsFile) -> Content:
        """See `Layout.read`."""
        return interpret(file.torch, str(file))

    def moments(self, file: WeightsFile, config: XLMConfig) -> Moments:
        """See `Layout.moments`."""
        return _moments(self, file.torch, config, str(file))

    def refuses(self, config: XLMConfig, architecture: str) -> str | None:
        """See `Layout.refuses`."""
        if architecture == "XLMForSequenceClassification":
            is_projection = (
                config.summary_type == "first"
                and config.summary_use_proj
                and config.summary_proj_to_labels
                and config.summary_activation is None
            )
            if not is_projection:
                return (
                    "the original's classifier is a projection of the first hidden state to the "
                    "labels; this one's summary is something else"
                )
        elif architecture not in ("XLMModel", "XLMWithLMHeadModel", ENCODER_DECODER):
            return "of task heads, the original has the XNLI classifier only"
        depths = [config.part(part).n_layers for part in PARTS]
        if architecture == ENCODER_DECODER and depths[0] != depths[1]:
            return (
                f"the original has one n_layers for both parts, this encoder has {depths[0]} "
                f"layers and its decoder {depths[1]}"
            )
        if config.pruned_heads:
            return "the original's attention cannot be pruned"
        if config.layer_norm_eps != 1e-12:
            return f"the original's layer_norm_eps is 1e-12, this model's {config.layer_norm_eps:g}"
        return None

    def notes(self, weights: Weights) -> list[str]:
        """What the original's code lacks in the file."""
        notes = []
        if weights.original is None or weights.original.words is None:
            notes.append("there is no dictionary: the original's translate.py needs one")
        if weights.architecture in ("XLMModel", "XLMForSequenceClassification"):
            notes.append(
                "the model has no output layer: the original's code, which builds one, loads it "
                "with with_output=False only"
            )
        return notes

    def write_weights(
        self,
        folder: Path,
        weights: Weights,
        *,
        largest: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """See `Layout.write_weights`; the file holds everything, as it does without a folder."""
        self.write_alone(folder / self.file, weights, progress=progress)

    def write_alone(
        self, path: Path, weights: Weights, *, progress: Progress | None = None
    ) -> None:
        """See `Layout.write_alone`."""
        original = weights.original or Original()
        content = compose(self.named(weights), weights.config, weights.architecture, original)
        # The form that the original's PyTorch knows, and every later one.
        write_torch(path, content, legacy=True, progress=progress)


def is_facebook(content: Any) -> bool:
    """Whether the value in a torch file is a checkpoint of the original."""
    if not isinstance(content, Mapping):
        return False
    return any(isinstance(content.get(name), Mapping) for name in ("model", "embedder", *PARTS))


def interpret(content: Mapping[str, Any], source: str) -> Content:
    """Interpret the entries of a checkpoint of the original.

    Args:
        content: What the file holds; tensors are lazy.
        source: What messages call the file.

    Raises:
        CheckpointError: If it is not one that this library can use.
    """
    entries = dict(content)
    params = entries.pop("params", None)
    if params is not None and not isinstance(params, Mapping):
        raise CheckpointError(f"{source}: params is a {type(params).__name__}; expected a table.")
    dropped: list[str] = []
    notes: list[str] = []
    tensors, architecture = _tensors(entries, source, dropped, notes)
    refuse_fairseq(tensors, source)
    _refuse_memory(tensors, params or {}, source)
    words, counts = _dictionary(entries, source)
    ours = entries.pop("config", None)
    for name in [*entries]:
        if name.endswith("optimizer"):
            dropped.append(f"{OPTIMIZER_STATE} ({name})")
            del entries[name]
        elif not can_encode(entries[name]):
            dropped.append(name)
            del entries[name]
    kept = {}
    for name, value in (params or {}).items():
        if isinstance(name, str) and can_encode(value):
            kept[name] = value
        else:
            dropped.append(f"params[{name!r:.40}]")
    config = None
    if params is not None:
        config = _config(kept, ours, tensors, architecture, source)
        if words is not None and len(words) != config.vocab_size:
            raise CheckpointError(
                f"{source}: its dictionary has {len(words)} words, its params say "
                f"{config.vocab_size}."
            )
    original = Original(kept, words, counts, entries)
    return Content(tensors, architecture, config, original, tuple(dropped), notes=tuple(notes))


def _tensors(
    entries: dict[str, Any], source: str, dropped: list[str], notes: list[str]
) -> tuple[dict[str, LazyTensor], str]:
    """Pop the state dictionaries from the entries; returns the tensors and their class."""
    if "decoder" in entries:
        tensors = {}
        for part in PARTS:
            if part not in entries:
                raise CheckpointError(f"{source} has a decoder and no encoder; expected both.")
            for name, tensor in _state(entries.pop(part), part, source, notes).items():
                tensors[f"{part}.{name}"] = tensor
        return tensors, ENCODER_DECODER
    name = next(name for name in ("model", "encoder", "embedder") if name in entries)
    tensors = _state(entries.pop(name), name, source, notes)
    if "proj" in entries:  # a classifier that was saved beside its encoder
        for key, tensor in _state(entries.pop("proj"), "proj", source, notes).items():
            tensors[_HEAD + key.removeprefix("proj.").removeprefix("1.")] = tensor
    if any(key.startswith(_HEAD) for key in tensors):
        # A classifier keeps the output layer of the language model that it came from, unused.
        unused = [key for key in tensors if key.startswith("pred_layer.")]
        for key in unused:
            del tensors[key]
            dropped.append(f"{key} (the classifier does not use it)")
        return tensors, "XLMForSequenceClassification"
    head = any(key.startswith("pred_layer.") for key in tensors)
    return tensors, "XLMWithLMHeadModel" if head else "XLMModel"


def _state(value: Any, name: str, source: str, notes: list[str]) -> dict[str, LazyTensor]:
    if not isinstance(value, Mapping) or not value:
        raise CheckpointError(f"{source}: {name} is a {type(value).__name__}; expected tensors.")
    for key, tensor in value.items():
        if not isinstance(key, str) or not isinstance(tensor, LazyTensor):
            raise CheckpointError(
                f"{source}: {name}[{key!r:.60}] is a {type(tensor).__name__}; expected a tensor."
            )
    # What wraps a model puts its name before all others: data parallelism, compilation, the
    # sentence embedder, whose classifier stands beside it.
    state: dict[str, LazyTensor] = dict(value)
    beside = {key: tensor for key, tensor in state.items() if key.startswith("proj.")}
    inside = {key: tensor for key, tensor in state.items() if key not in beside}
    inside, prefix = without_prefix(inside)
    if prefix:
        notes.append(f"all names of {name} begin with {prefix!r}, which was taken off")
    return beside | inside


def _refuse_memory(
    tensors: Mapping[str, LazyTensor], params: Mapping[str, Any], source: str
) -> None:
    keys = [name for name in tensors if "memories." in name]
    if keys or params.get("use_memory") is True:
        raise CheckpointError(
            f"{source} has product-key memory layers ({keys[0] if keys else 'use_memory'}): they "
            "replace feed-forward layers by a computation that no XLM class, here or in "
            "transformers, has. Such checkpoints run in the original code only."
        )


def _dictionary(
    entries: dict[str, Any], source: str
) -> tuple[tuple[str, ...] | None, tuple[int, ...] | None]:
    """Pop the dictionary from the entries: words and counts, both ordered by id."""
    id2word, word2id, counted = (entries.pop(name, None) for name in _DICTIONARY)
    if id2word is None:
        return None, None
    if not isinstance(id2word, Mapping) or {*id2word} != {*range(len(id2word))}:
        raise CheckpointError(f"{source}: dico_id2word does not give a word to each id from 0 up.")
    words = tuple(id2word[index] for index in range(len(id2word)))
    if not all(isinstance(word, str) for word in words) or len({*words}) != len(words):
        raise CheckpointError(f"{source}: dico_id2word does not give another word to each id.")
    if word2id is not None and word2id != {word: index for index, word in enumerate(words)}:
        raise CheckpointError(f"{source}: dico_word2id and dico_id2word contradict each other.")
    if counted is None:
        return words, None
    table = counted if isinstance(counted, Mapping) else {}
    counts = tuple(count for word in words if type(count := table.get(word)) is int)
    if len(counts) != len(words) or len(table) != len(words):
        raise CheckpointError(f"{source}: dico_counts does not give a number to each word.")
    return words, counts


def _config(
    params: Mapping[str, Any],
    ours: Any,
    tensors: Mapping[str, LazyTensor],
    architecture: str,
    source: str,
) -> XLMConfig:
    translates = architecture == ENCODER_DECODER
    stem = "encoder." if translates else ""
    values: dict[str, Any] = {
        "architectures": [architecture],
        "is_encoder": not translates,
        "is_encoder_decoder": translates,
    }
    # Written by this library: fields that params do not have. Those that they have decide.
    base = dict(ours) if isinstance(ours, Mapping) and can_encode(ours) else {}
    # What params of 2019 leave to constants and to the weights.
    positions = _rows(tensors, f"{stem}position_embeddings.weight")
    words = _rows(tensors, f"{stem}embeddings.weight")
    labels = _rows(tensors, f"{_HEAD}weight")
    if positions is not None:
        values["max_position_embeddings"] = positions
    if words is not None and "n_words" not in params:
        values["vocab_size"] = words
    if labels is not None and "id2label" not in {**base, **params}:
        if labels == len(_XNLI_LABELS):
            values["id2label"] = dict(enumerate(_XNLI_LABELS))
        else:
            values["num_labels"] = labels
    try:
        config = XLMConfig.from_facebook({**base, **params}, **values)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{source}: params: {error}") from error
    for name in [*config.extra]:
        if name not in _KEPT and name not in base:
            del config.extra[name]
    return config


def _rows(tensors: Mapping[str, LazyTensor], name: str) -> int | None:
    """Number of rows of a matrix, or None if there is no matrix of this name."""
    tensor = tensors.get(name)
    return tensor.shape[0] if tensor is not None and len(tensor.shape) == 2 else None


# -- Adam's state ------------------------------------------------------------------------------


def _moments(layout: Layout, content: Mapping[str, Any], config: XLMConfig, source: str) -> Moments:
    """Adam's state under the names of its parameters: in the file, they are numbered.

    The optimizer was given the parameters of all modules that require gradients, in the order of
    the modules' state dictionaries. Early versions had an optimizer for each module, of all its
    parameters.
    """
    translates = "decoder" in content
    whole = PARTS if translates else ("model",)
    updates: list[int] = []
    steps: dict[str, int] = {}
    both: tuple[dict[str, LazyTensor], dict[str, LazyTensor]] = ({}, {})
    for entry, modules in (("model", whole), *((part, (part,)) for part in PARTS)):
        saved = content.get(f"{entry}_optimizer")
        if saved is None or any(module not in content for module in modules):
            continue
        weights = {
            (f"{module}.{name}" if translates else name): tensor
            for module in modules
            for name, tensor in _state(content[module], module, source, []).items()
            if not (name.endswith("pred_layer.proj.weight") and config.ties_output)
        }
        name_of_it = f"{source}: {entry}_optimizer"
        try:
            states, order, counted = _adam_of(saved)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(name_of_it, error) from error
        if len(order) != len(weights) and config.sinusoidal_embeddings:
            weights = {n: x for n, x in weights.items() if not n.endswith(_POSITIONS)}
        if len(order) != len(weights):
            raise CheckpointError(
                f"{name_of_it} has {len(order)} parameters, expected {len(weights)}. {_ALONE}"
            )
        if type(counted) is int and counted >= 0:
            updates.append(counted)
        try:
            for number, (name, tensor) in zip(order, weights.items(), strict=True):
                if number in states:
                    steps[name] = _step(states[number]["step"])
                    for key, moments in zip(("exp_avg", "exp_avg_sq"), both, strict=True):
                        moments[name] = _moment(states[number][key], tensor)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _damaged(name_of_it, error) from error
    first, second = (layout.canonical(moments, config, source) for moments in both)
    named = dict(zip(both[0], first, strict=True))
    counts = {named[name]: number for name, number in steps.items()}
    # Where each module has an optimizer, each counts its own: the most are the run's.
    return Moments(max(updates, default=None), counts, first, second)


def _adam_of(saved: Any) -> tuple[Mapping[Any, Any], list[Any], Any]:
    """States by number, the numbers in order, and updates; no states if it is none of Adam.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: If it is no state of an optimizer.
    """
    # Early runs in fp16 wrapped it by apex's, which keeps it beside its scale of the loss.
    saved = saved.get("optimizer_state_dict", saved)
    states, groups = saved["state"], saved["param_groups"]
    if len(groups) != 1:  # whose parameters would be in another order than the model's
        raise ValueError(f"{len(groups)} groups of parameters, expected 1")
    [group] = groups
    order = [*group["params"]]
    if len({*order}) != len(order):
        raise ValueError("parameters with the same number")
    if not any("exp_avg_sq" in state for state in states.values()):
        states = {}
    return states, order, group.get("num_updates")


def _damaged(what: str, error: Exception) -> CheckpointError:
    found: CheckpointError = CheckpointError(
        f"{what} is damaged, or not of the original's program: {error!r:.120}. {_ALONE}"
    )
    return found


def _step(value: Any) -> int:
    step = value.read().item() if isinstance(value, LazyTensor) else value
    if type(step) not in (int, float) or step != int(step) or step < 0:
        raise ValueError(f"a step of {step!r:.40}")
    return int(step)


def _moment(value: Any, weight: LazyTensor) -> LazyTensor:
    if not isinstance(value, LazyTensor) or value.shape != weight.shape:
        raise ValueError(f"a moment of shape {getattr(value, 'shape', None)} of {weight.shape}")
    return value


# -- writing -----------------------------------------------------------------------------------


def compose(
    tensors: Mapping[str, LazyTensor], config: XLMConfig, architecture: str, original: Original
) -> dict[str, Any]:
    """Compose the value that the original saves as a checkpoint.

    Args:
        tensors: Name in the "facebook" dialect -> tensor.
        config: The configuration of the model.
        architecture: The name of its class, such as "XLMModel".
        original: Parameters and dictionary, as far as known; the rest follows from `config`.
    """
    content: dict[str, Any] = {}
    if architecture == ENCODER_DECODER:
        for part in PARTS:
            dot = f"{part}."
            content[part] = {
                n.removeprefix(dot): t for n, t in tensors.items() if n.startswith(dot)
            }
    else:
        content["model"] = dict(tensors)
    content["params"] = params_of(config, architecture, original.params)
    content["config"] = config.to_dict()
    if original.words is not None:
        counts = original.counts or (0,) * len(original.words)
        content["dico_id2word"] = dict(enumerate(original.words))
        content["dico_word2id"] = {word: index for index, word in enumerate(original.words)}
        content["dico_counts"] = dict(zip(original.words, counts, strict=True))
    return content | {name: value for name, value in original.extra.items() if name not in content}
