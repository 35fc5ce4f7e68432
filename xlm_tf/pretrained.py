"""What every model of the family can do: open, save, initialise, resize, prune, train."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NoReturn, Self, overload

import keras
import numpy as np
import tensorflow as tf

from xlm_core.changes import new_vocabulary_size, prune
from xlm_core.checkpoints import (
    Checkpoint,
    float_dtype_name,
    loading_info,
    match_checkpoint,
    open_as_asked,
    save_checkpoint,
)
from xlm_core.checkpoints.finite_check import FiniteCheck
from xlm_core.checkpoints.writing import warn_of_left_out
from xlm_core.config import XLMConfig
from xlm_core.errors import (
    CheckpointError,
    ConfigError,
    UnknownArgumentError,
    refuse_unknown_arguments,
)
from xlm_core.heads import check_head
from xlm_core.loading_arguments import (
    PUBLISHED_FOLDER,
    given_path,
    needed_path,
    settle_saving,
)
from xlm_core.outputs import ModelOutput
from xlm_core.positions import sinusoidal_table
from xlm_core.weights import ENCODER_DECODER, Kind, TensorSpec, name_of, tensors_of
from xlm_tf.asked_by_tools import AskedByTools
from xlm_tf.keras_model import KerasModel
from xlm_tf.layers import Embedding, unfilled
from xlm_tf.quantization import QuantizedLinear, is_quantized

# Parameters of `save_pretrained`, for its message.
_OF_SAVING = (
    "folder",
    "is_main_process",
    "state_dict",
    "save_function",
    "max_shard_size",
    "safe_serialization",
    "variant",
)


class TFXLMPreTrainedModel(AskedByTools, KerasModel):
    """Base of all models.

    Args:
        config: The model's configuration.
        dtype: A dtype or dtype policy of Keras, e.g. "float64" or "mixed_bfloat16".
        initialize: Draw initial values; False leaves zeros, for weights that are loaded next.
        options: Keras' own: name, trainable.

    Attributes:
        config: The model's configuration; resizing and pruning change it.
        architecture: The PyTorch class's name: in the weight table and in config.json.
        check_values: Whether inputs are checked for their values too: None, when running eagerly
            on a CPU; True, wherever running eagerly; False, never.
        gradient_checkpointing: Recompute each layer in the backward pass instead of keeping it.
    """

    architecture: str = "XLMModel"
    base_model_prefix = "transformer"

    def __init__(
        self, config: XLMConfig, *, dtype: Any = None, initialize: bool = True, **options: Any
    ) -> None:
        # Inputs are cast where they are used: autocasting would round labels to half precision.
        super().__init__(dtype=dtype, autocast=False, **options)
        if not isinstance(config, XLMConfig):
            raise ConfigError(
                f"{type(self).__name__} got a {type(config).__module__}.{type(config).__name__}: "
                "expected an xlm_core.XLMConfig (to open a checkpoint, use from_pretrained; to "
                "convert another configuration, XLMConfig.from_dict(config.to_dict()))."
            )
        if not keras.backend.is_float_dtype(self.compute_dtype):
            raise ConfigError(f"dtype is {dtype!r}: expected a float dtype or policy.")
        config.validate()
        if self.architecture == ENCODER_DECODER:
            config = config.of_both_parts()
        self._check_config(config)
        self.config = config
        self._check_values: bool | None = None
        self._gradient_checkpointing = False
        self.warned_of_langs = False
        self.warned_of_token_types = False
        self._draw_initial = initialize

    def _check_config(self, config: XLMConfig) -> None:
        """Raise `ConfigError` if this class cannot be built from this configuration."""
        check_head(config, self.architecture)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables; constructors do it."""
        for layer in self._flatten_layers(include_self=False, recursive=False):
            if not layer.built and not _wants_shape(layer):
                layer.build()

    def post_init(self) -> None:
        """Make the variables and give them their initial values; ends each constructor."""
        self.build()
        self._tracker.unlock()  # a subclass may add layers of its own
        if self._draw_initial:
            bare = self.base_model is self  # in a model with a head, the encoder inside is done
            self.init_weights(spec for spec in self.tensor_specs() if bare or not spec.in_encoder)

    def encoder_options(self) -> dict[str, Any]:
        """Constructor options of the encoder inside a model with a head."""
        return {
            "name": self.base_model_prefix,
            "dtype": self.dtype_policy,
            "initialize": self._draw_initial,
        }

    # -- names and tensors ---------------------------------------------------------------------

    @property
    def base_model(self) -> Any:
        """The `TFXLMModel` inside, as transformers calls it, or the model itself."""
        return getattr(self, self.base_model_prefix, self)

    def _parts(self) -> tuple[Any, ...]:
        """Each `TFXLMModel` of this model: one, or of an encoder-decoder two."""
        return (self.base_model,)

    @property
    def check_values(self) -> bool | None:
        """Whether inputs are checked for their values too; see the class."""
        value: bool | None = self._parts()[0]._check_values
        return value

    @check_values.setter
    def check_values(self, value: bool | None) -> None:
        for part in self._parts():
            part._check_values = value

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return bool(self._parts()[0]._gradient_checkpointing)

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        for part in self._parts():
            part._gradient_checkpointing = value

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Number of parameters, tied ones counted once.

        Args:
            only_trainable: Leave out what is not trained.
            exclude_embeddings: Leave out the embeddings of words, positions and languages.
        """
        return sum(
            int(np.prod(variable.shape))
            for spec in self._owned_specs()
            if not (exclude_embeddings and spec.kind is Kind.EMBEDDING)
            if (variable := self.variable_of(spec)).trainable or not only_trainable
        )

    def tensor_specs(self) -> tuple[TensorSpec, ...]:
        """The entries of the weight table for this model as it is now."""
        return tensors_of(self.config, self.architecture)

    def _owned_specs(self) -> list[TensorSpec]:
        return [spec for spec in self.tensor_specs() if spec.tied_to is None]

    def _layer_of(self, spec: TensorSpec) -> tuple[Any, str]:
        """The layer that holds a tensor, and the attribute that is it."""
        path = name_of(spec, "keras", self.architecture)
        assert path is not None
        *steps, leaf = path.split("/")
        if self.architecture == "XLMModel" and self.base_model is not self:  # a head of a user's
            steps = [self.base_model_prefix, *steps]
        layer: Any = self
        for step in steps:
            layer = layer[int(step)] if step.isdigit() else getattr(layer, step)
        return layer, leaf

    def variable_of(self, spec: TensorSpec) -> keras.Variable:
        """The variable that holds a tensor of the weight table."""
        layer, leaf = self._layer_of(spec)
        variable: keras.Variable = getattr(layer, leaf)
        return variable

    def _set_variable(self, spec: TensorSpec, array: np.ndarray[Any, Any]) -> None:
        """Assign an array in PyTorch's orientation; another shape makes the variable anew."""
        layer, leaf = self._layer_of(spec)
        if isinstance(layer, QuantizedLinear):
            raise ConfigError(f"{spec.path} is int8: give it its values before quantize().")
        value = array.T if spec.kind is Kind.MATRIX else array
        if tuple(getattr(layer, leaf).shape) != value.shape:
            layer.create(leaf, value.shape)
        getattr(layer, leaf).assign(value)

    def _fitting_array(self, spec: TensorSpec, name: str) -> np.ndarray[Any, Any]:
        """A tensor as the weight table says.

        Raises:
            CheckpointError: If there is none, or it has another shape.
        """
        layer, leaf = self._layer_of(spec)
        if not isinstance(getattr(layer, leaf, None), (keras.Variable, tf.Variable, tf.Tensor)):
            raise CheckpointError(
                f"this model has no tensor {name}: a {type(layer).__name__} stands in its place. "
                "Put the layer back that was there before."
            )
        array = self._array_of(spec)
        if array.shape != spec.shape:
            raise CheckpointError(
                f"{name} has shape {array.shape}: expected {spec.shape}, by the configuration of "
                "this model."
            )
        return array

    def _check_matrices(self) -> None:
        """Raise `ConfigError` if embeddings or output were replaced by what does not fit."""
        for part in self._parts():
            part._check_matrices()

    def _array_of(self, spec: TensorSpec) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = self.variable_of(spec).numpy()
        return array.T if spec.kind is Kind.MATRIX else array

    # -- initialisation ------------------------------------------------------------------------

    def init_weights(self, specs: Iterable[TensorSpec] | None = None) -> None:
        """Draw fresh values for `specs` (default: all) from Keras' generators.

        Embeddings are normal with config.embed_init_std and a zero padding row, matrices normal
        with config.init_std, biases 0, norms 1 and 0.
        """
        for spec in self._owned_specs() if specs is None else specs:
            if spec.tied_to is None:
                self._set_variable(spec, self._initial_value(spec))

    def _initial_value(self, spec: TensorSpec) -> np.ndarray[Any, Any]:
        if not spec.trainable:
            return sinusoidal_table(*spec.shape)
        if spec.kind in (Kind.EMBEDDING, Kind.MATRIX):
            std = (
                self.config.embed_init_std if spec.kind is Kind.EMBEDDING else self.config.init_std
            )
            array = np.array(keras.random.normal(spec.shape, stddev=std, dtype="float32"))
            if f".{spec.path}".endswith(".embeddings.weight"):
                array[self.config.pad_index] = 0
            return array
        return np.full(spec.shape, 1.0 if spec.kind is Kind.NORM_SCALE else 0.0, np.float32)

    # -- checkpoints ---------------------------------------------------------------------------

    @overload
    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = ...,
        *,
        output_loading_info: Literal[True],
        **arguments: Any,
    ) -> tuple[Self, dict[str, list[Any]]]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = ...,
        *,
        output_loading_info: Literal[False] = ...,
        **arguments: Any,
    ) -> Self: ...

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        config: XLMConfig | str | os.PathLike[str] | None = None,
        dtype: Any = None,
        device_map: Any = None,
        state_dict: Mapping[str, Any] | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        token: str | bool | None = None,
        subfolder: str = "",
        variant: str | None = None,
        use_safetensors: bool | None = None,
        tied: str | None = None,
        **config_overrides: Any,
    ) -> Self | tuple[Self, dict[str, list[Any]]]:
        """Open a checkpoint of any layout and of any head in this class.

        What else transformers takes is accepted where it changes nothing here, and refused by name
        where it would.

        Args:
            path: A folder, a file or an index of shards, of any layout that docs/layouts.md
                lists; or the name of a published checkpoint, such as "xlm-mlm-en-2048". Also taken
                as `pretrained_model_name_or_path`, as transformers calls it.
            config: In place of the file's: an XLMConfig, ours or transformers', or the path of one.
            dtype: Of the model: tf.float64, "float64", a dtype policy such as "mixed_float16".
                Default that of `keras.config.set_dtype_policy`, float32 if nobody called it,
                whatever the file holds; "auto" takes the file's.
            device_map: Accepted where it means the devices that TensorFlow takes by itself: None,
                "auto", "cpu".
            state_dict: Tensors in place of the file's, under the names of PyTorch's state_dict;
                with config, no path is needed.
            ignore_mismatched_sizes: Start tensors of another size afresh instead of failing; the
                warning lists them, and output_loading_info returns them.
            output_loading_info: Return a pair: the model, and what the file lacks and has beside,
                which then is told there and in a warning instead of refused.
            revision: Branch, tag or commit of a published checkpoint.
            local_files_only: Of a published checkpoint, take only what was downloaded before.
            cache_dir, force_download, token, subfolder: Where its files are; see
                `xlm_core.loading_arguments.FileArguments`.
            variant: Part of the names of the weights, "fp16" for model.fp16.safetensors.
            use_safetensors: True: open safetensors only; False: none of them.
            tied: "embeddings" or "output": which counts where a file holds different values for
                the two, which else is an error.
            config_overrides: Any field of the configuration, e.g. causal=True.

        Returns:
            The model.

        Raises:
            CheckpointFileError: If there is no such file. It is an OSError, too.
            CheckpointError: Listing everything missing, unexpected and misshapen (then a
                `CheckpointShapeError`, which is a RuntimeError).
            ConfigError: For an impossible configuration, or one of a model that is no XLM.
            UnknownArgumentError: For an argument that is unknown, or that cannot be followed.
        """
        dtype = config_overrides.pop("torch_dtype", dtype)  # transformers' older name
        checkpoint = open_as_asked(
            path,
            config_overrides,
            config=config,
            tensors=None if state_dict is None else arrays_of(state_dict),
            revision=revision,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            force_download=force_download,
            token=token,
            subfolder=subfolder,
            variant=variant,
            use_safetensors=use_safetensors,
            tied=tied,
        )
        return cls._opened(
            checkpoint,
            dtype,
            device_map,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            output_loading_info=output_loading_info,
        )

    @classmethod
    def _opened(
        cls,
        checkpoint: Checkpoint,
        dtype: Any,
        device_map: Any,
        *,
        ignore_mismatched_sizes: bool,
        output_loading_info: bool,
    ) -> Any:
        """What `from_pretrained` returns of an opened checkpoint."""
        if device_map not in (None, "auto", "cpu"):
            raise ConfigError(
                f"device_map is {device_map!r:.60}: TensorFlow places by operation. Open the model "
                'within tf.device("/GPU:0"), or leave the argument out.'
            )
        model = cls._from_checkpoint(
            checkpoint, dtype, ignore_mismatched_sizes, allow_partial=output_loading_info
        )
        model.config.name_or_path = checkpoint.source
        if not output_loading_info:
            return model
        return model, loading_info(
            checkpoint, cls.architecture, ignore_mismatched_sizes=ignore_mismatched_sizes
        )

    @classmethod
    def _from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        dtype: Any,
        ignore_mismatched_sizes: bool = False,
        *,
        allow_partial: bool = False,
    ) -> Self:
        checkpoint = checkpoint.as_model(cls.architecture)
        match = match_checkpoint(
            checkpoint,
            cls.architecture,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            allow_partial=allow_partial,
        )
        policy = _resolve_dtype(dtype, {tensor.dtype for _, tensor in match.found})
        with unfilled():
            model = cls(checkpoint.config, dtype=policy, initialize=False)
        known = {id(model.variable_of(spec)) for spec in model._owned_specs()}
        if any(id(each) not in known for each in model.weights):  # a subclass fills its own layers
            model = cls(checkpoint.config, dtype=policy, initialize=False)
        check = FiniteCheck(checkpoint.source, model.variable_dtype)
        # The largest first: a tensor is in memory twice while it is handed over.
        for spec, lazy in sorted(match.found, key=lambda entry: -entry[1].nbytes):
            model._set_variable(spec, check.see(spec.path, lazy.read()))
        check.report()
        loaded = {spec.path for spec, _ in match.found}
        for spec in model.tensor_specs():
            if rows := match.fresh_rows.get(spec.path):
                array = np.array(model._array_of(spec))
                array[[*rows]] = model._initial_value(spec)[[*rows]]
                model._set_variable(spec, array)
        model.init_weights(spec for spec in model.tensor_specs() if spec.path not in loaded)
        model.config.dtype = model.variable_dtype
        model.prune_heads(checkpoint.prune)
        return model

    def save_pretrained(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        is_main_process: bool = True,
        state_dict: Mapping[str, Any] | None = None,
        save_function: Any = None,
        push_to_hub: bool = False,
        max_shard_size: int | str | None = None,
        safe_serialization: bool = True,
        variant: str | None = None,
        **others: Any,
    ) -> None:
        """Write config.json and model.safetensors, which both families and transformers open.

        Args:
            folder: Made if needed. Files are replaced only once whole. Also taken as
                `save_directory`, as transformers calls it.
            is_main_process: False writes nothing: another process does.
            state_dict: Tensors in place of the model's, under the names of PyTorch's state_dict.
            save_function: Accepted as by transformers, and not needed.
            push_to_hub: False: this library uploads nothing.
            max_shard_size: Bytes in a file, or a text such as "5GB", to split larger ones. Default:
                one file.
            safe_serialization: False writes tf_model.h5, as transformers' TensorFlow classes do.
            variant: Part of the names of the weights, "fp16" for model.fp16.safetensors.
            others: What else transformers takes and what changes nothing; and saved_model=True,
                which writes a SavedModel beside, in saved_model/1, as `export` does.

        Raises:
            CheckpointError: For an int8 model: no layout holds it. If a layer that holds no such
                variable stands in the place of one of the model's.
            ConfigError: If the embeddings were replaced by what does not go with the rest.
        """
        folder = given_path("save_pretrained", folder, others, PUBLISHED_FOLDER)
        folder = needed_path("save_pretrained", folder)
        saved_model = others.pop("saved_model", False)
        settle_saving("save_pretrained", push_to_hub=push_to_hub, others=others, known=_OF_SAVING)
        if not is_main_process:
            return
        if is_quantized(self):
            raise CheckpointError(
                "this model's matrices are int8, which no layout of checkpoints holds: save the "
                "model before quantize(), and quantize it again after from_pretrained()."
            )
        config = self.config.copy(architectures=[self.architecture], dtype=self.variable_dtype)
        tensors = self._arrays() if state_dict is None else arrays_of(state_dict)
        save_checkpoint(
            folder,
            config,
            tensors,
            architecture=self.architecture,
            layout="safetensors" if safe_serialization else "tf",
            largest=max_shard_size,
            variant=variant,
        )
        if saved_model:
            self.export(os.path.join(folder, "saved_model", "1"), verbose=False)

    def _arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every tensor under PyTorch's name, tied ones once."""
        self._check_matrices()
        arrays = {}
        for spec in self._owned_specs():
            name = name_of(spec, "torch", self.architecture)
            assert name is not None
            arrays[name] = self._fitting_array(spec, name)
        written = {id(self.variable_of(spec)) for spec in self._owned_specs()}
        warn_of_left_out(each.path for each in self.weights if id(each) not in written)
        return arrays

    # -- changing the model --------------------------------------------------------------------

    def get_input_embeddings(self) -> Embedding:
        """The word embeddings."""
        embeddings: Embedding = self._parts()[0].embeddings
        return embeddings

    def set_input_embeddings(self, value: Any) -> None:
        """Replace the word embeddings; the output follows, in size and if tied in value.

        Args:
            value: float, shape (vocabulary, hidden), or an embedding layer that holds it.

        Raises:
            ConfigError: If it is no matrix, or one of another width than the model's, or the
                vocabulary cannot be resized.
        """
        if not hasattr(value, "embeddings") and isinstance(value, keras.layers.Layer):
            raise ConfigError(
                f"the new embeddings are a {type(value).__name__} without embeddings: expected a "
                "built embedding layer, or a matrix."
            )
        table = np.asarray(tf.convert_to_tensor(getattr(value, "embeddings", value)))
        if table.ndim != 2:
            raise ConfigError(
                f"the new embeddings have shape {table.shape}: expected (vocabulary, hidden)."
            )
        rows, width = table.shape
        if width != self.config.emb_dim:
            raise ConfigError(
                f"the new embeddings have width {width}: expected emb_dim, {self.config.emb_dim}."
            )
        self.resize_token_embeddings(rows)
        self.get_input_embeddings().embeddings.assign(table)

    def get_output_embeddings(self) -> keras.layers.Layer | None:
        """The output projection of a language model, else None."""
        return None

    def set_output_embeddings(self, value: Any) -> None:
        """Replace the output projection of a language model.

        Raises:
            ConfigError: For other models, which have none.
        """
        raise ConfigError(f"{type(self).__name__} has no output embeddings to replace.")

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = False,
    ) -> Embedding:
        """Change the size of the vocabulary, in the output layer as well.

        A compiled model must be compiled again: its optimizer knows the old variables.

        Args:
            new_num_tokens: The new size; rows are cut at the end, or fresh ones added there.
                None keeps it.
            pad_to_multiple_of: Round the size up to a multiple of this.
            mean_resizing: Draw new rows from close around the mean of the old ones (transformers'
                default) in place of the distribution of initial values, as the published models
                were made.

        Returns:
            The word embeddings.

        Raises:
            ConfigError: If the size is impossible, or the output is an adaptive softmax, whose
                clusters follow word frequency.
        """
        size = new_vocabulary_size(
            self.config, self.architecture, new_num_tokens, pad_to_multiple_of
        )
        self.config.vocab_size = size
        if self._resize(mean_resizing=mean_resizing):
            self._forget_traces()
        return self.get_input_embeddings()

    def _resize(self, *, mean_resizing: bool) -> bool:
        """Give every tensor the rows that the configuration says; whether any had others."""
        changed = False
        for spec in self._owned_specs():
            layer, leaf = self._layer_of(spec)
            if isinstance(layer, QuantizedLinear) or not hasattr(layer, leaf):
                continue
            old = self._array_of(spec)
            if old.shape == spec.shape:
                continue
            if self.config.asm and not spec.in_encoder:
                self._check_matrices()  # says what to do
            changed = True
            value = self._initial_value(spec).astype(old.dtype)
            kept = min(len(old), len(value))
            if mean_resizing and kept < len(value):
                value[kept:] = _around_mean(old, len(value) - kept)
            value[:kept] = old[:kept]
            self._set_variable(spec, value)
        return changed

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Remove attention heads for good.

        A compiled model must be compiled again: its optimizer knows the old variables.

        Args:
            heads_to_prune: Layer (negative ones count from the last) -> heads, in the numbering
                of the unpruned model. Heads that are gone already are passed over.

        Raises:
            ConfigError: For a layer or a head that does not exist, or a layer's last head; for an
                int8 model.
        """
        if heads_to_prune and is_quantized(self):
            raise ConfigError("this model's matrices are int8: prune heads before quantize().")
        for layer, kept in prune(self.config, heads_to_prune).items():
            self.base_model.keep_heads(layer, kept)
        self._forget_traces()

    def _forget_traces(self) -> None:
        """Drop the graphs that Keras traced with the old variables, before their next use."""
        for part in self._parts():
            part._changes += 1

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Trade time for memory in training: recompute layers in the backward pass.

        Args:
            gradient_checkpointing_kwargs: Accepted as by transformers, and not needed.
        """
        self.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.gradient_checkpointing = False

    # -- calls ---------------------------------------------------------------------------------

    def in_asked_form(self, output: ModelOutput, return_dict: bool | None) -> Any:
        """`output`, or where `return_dict`, or the configuration, says False, its tuple."""
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def refuse(self, unknown: Mapping[str, Any]) -> NoReturn:
        """Raise for keyword arguments that `call` does not have."""
        known = [
            name
            for name, parameter in inspect.signature(type(self).call).parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        refuse_unknown_arguments(type(self).__name__, unknown, known)
        raise UnknownArgumentError(type(self).__name__)

    def draw_seed(self, training: bool | None) -> tf.Tensor | None:
        """A fresh seed for the dropouts of one layer, int64, shape (2,); None if not training.

        Each device of a distribution strategy gets another one, for it has other sentences.
        """
        if not training:
            return None
        seed = tf.cast(self.base_model.seed_generator.next(), tf.int64)
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        # Beyond what the generator draws, 32 bits each.
        own = tf.cast(replica.replica_id_in_sync_group, tf.int64) * 2**32
        return seed + tf.stack([own, tf.zeros_like(own)])


def _wants_shape(layer: keras.layers.Layer) -> bool:
    """Whether a layer, such as Keras' own, is built by its first call."""
    parameters = inspect.signature(layer.build).parameters.values()
    return any(
        each.kind is each.POSITIONAL_OR_KEYWORD and each.default is each.empty
        for each in parameters
    )


def _around_mean(old: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """New rows from a normal distribution of the old ones' mean and 1e-9 of their covariance.

    Source: Hewitt 2021, "Initializing new word embeddings for pretrained language models".
    """
    rows = old.astype(np.promote_types(old.dtype, np.float32))
    mean = rows.mean(0)
    noise = np.array(keras.random.normal((count, len(rows)), dtype="float32"), rows.dtype)
    spread = noise @ (rows - mean) * (1e-9 / len(rows)) ** 0.5
    return np.asarray((mean + spread).astype(old.dtype))


def _resolve_dtype(dtype: Any, in_file: set[str]) -> Any:
    if dtype is None:
        return keras.config.dtype_policy()
    if isinstance(dtype, keras.DTypePolicy) or dtype in ("mixed_float16", "mixed_bfloat16"):
        return dtype
    return float_dtype_name(dtype, in_file, "mixed_float16", "mixed_bfloat16")


def arrays_of(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a state_dict in PyTorch's names, of TensorFlow or numpy."""
    return {name: np.asarray(value) for name, value in state_dict.items()}
