"""What every model of the family can do: open, save, initialise, resize, prune, tie."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NoReturn, Self, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xlm_core.changes import new_vocabulary_size, prune, refuse_untied
from xlm_core.checkpoints import (
    Checkpoint,
    LazyTensor,
    float_dtype_name,
    loading_info,
    match_checkpoint,
    open_as_asked,
    save_checkpoint,
)
from xlm_core.checkpoints.finite_check import FiniteCheck
from xlm_core.checkpoints.writing import warn_of_left_out
from xlm_core.config import XLMConfig
from xlm_core.containers.streaming import in_parallel
from xlm_core.errors import (
    CheckpointError,
    ConfigError,
    UnknownArgumentError,
    refuse_unknown_arguments,
)
from xlm_core.heads import check_head
from xlm_core.loading_arguments import (
    PUBLISHED_FOLDER,
    chosen_device,
    given_path,
    needed_path,
    settle_saving,
)
from xlm_core.outputs import ModelOutput
from xlm_core.positions import sinusoidal_table
from xlm_core.weights import ENCODER_DECODER, Kind, TensorSpec, name_of, tensors_of
from xlm_torch.asked_by_tools import AskedByTools
from xlm_torch.quantization import is_quantized

Output = TypeVar("Output", bound=ModelOutput)
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


class XLMPreTrainedModel(AskedByTools):
    """Base of all models.

    Attributes:
        config: The model's configuration; resizing and pruning change it.
        architecture: The class's name in the weight table and in config.json.
        check_values: Whether inputs are checked for their values too: None, when running eagerly
            on a CPU; True, wherever running eagerly; False, never.
        gradient_checkpointing: Recompute each layer in the backward pass instead of keeping it.
    """

    architecture: str = "XLMModel"
    base_model_prefix = "transformer"

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        if not isinstance(config, XLMConfig):
            raise ConfigError(
                f"{type(self).__name__} got a {type(config).__module__}.{type(config).__name__}: "
                "expected an xlm_core.XLMConfig (to open a checkpoint, use from_pretrained; to "
                "convert another configuration, XLMConfig.from_dict(config.to_dict()))."
            )
        config.validate()
        if self.architecture == ENCODER_DECODER:
            config = config.of_both_parts()
        self._check_config(config)
        self.config = config
        self._check_values: bool | None = None
        self._gradient_checkpointing = bool(getattr(config, "gradient_checkpointing", False))
        self.warned_of_langs = False
        self.warned_of_token_types = False

    def _check_config(self, config: XLMConfig) -> None:
        """Raise `ConfigError` if this class cannot be built from this configuration."""
        check_head(config, self.architecture)

    def post_init(self) -> None:
        """Give every parameter its initial value and tie what is tied; ends each constructor."""
        self.tie_weights()
        bare = self.base_model is self  # in a model with a head, the encoder inside is done
        self.init_weights(spec for spec in self.tensor_specs() if bare or not spec.in_encoder)

    # -- names and tensors ---------------------------------------------------------------------

    @property
    def base_model(self) -> Any:
        """The `XLMModel` inside, under the name that transformers gives it, or the model itself."""
        return getattr(self, self.base_model_prefix, self)

    def _parts(self) -> tuple[Any, ...]:
        """Each `XLMModel` of this model: one, or of an encoder-decoder two."""
        return (self.base_model,)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

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
            only_trainable: Leave out those that require no gradient.
            exclude_embeddings: Leave out the matrices of all embeddings, so also an output that is
                tied to one.
        """
        left_out = {
            id(module.weight)
            for module in (self.modules() if exclude_embeddings else ())
            if isinstance(module, nn.Embedding)
        }
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if id(parameter) not in left_out and (parameter.requires_grad or not only_trainable)
        )

    def tensor_specs(self) -> tuple[TensorSpec, ...]:
        """The entries of the weight table for this model as it is now."""
        return tensors_of(self.config, self.architecture)

    def _name(self, spec: TensorSpec) -> str:
        name = name_of(spec, "torch", self.architecture)
        assert name is not None
        if self.architecture == "XLMModel" and self.base_model is not self:  # a head of a user's
            return f"{self.base_model_prefix}.{name}"
        return name

    def _parameter(self, spec: TensorSpec) -> Tensor:
        """The parameter of an entry of the weight table.

        Raises:
            CheckpointError: If there is none, or it has another shape.
        """
        name = self._name(spec)
        path, _, leaf = name.rpartition(".")
        module: Any = self
        for step in path.split("."):
            module = getattr(module, step, None)
        parameter = getattr(module, leaf, None)
        if not isinstance(parameter, Tensor):
            raise CheckpointError(
                f"this model has no tensor {name}: {path} is a {type(module).__name__}. Put the "
                "module back that was there before something took its place."
            )
        if tuple(parameter.shape) != spec.shape:
            raise CheckpointError(
                f"{name} has shape {tuple(parameter.shape)}: expected {spec.shape}, by the "
                "configuration of this model."
            )
        return parameter

    def _check_matrices(self) -> None:
        """Raise `ConfigError` if embeddings or output were replaced by what does not fit."""
        for part in self._parts():
            part._check_matrices()

    def _set_parameter(self, spec: TensorSpec, tensor: Tensor) -> None:
        module_path, _, leaf = self._name(spec).rpartition(".")
        module = self.get_submodule(module_path)
        trainable = bool(getattr(module, leaf).requires_grad) and spec.trainable
        setattr(module, leaf, nn.Parameter(tensor, requires_grad=trainable))

    # -- initialisation ------------------------------------------------------------------------

    def init_weights(self, specs: Iterable[TensorSpec] | None = None) -> None:
        """Draw fresh values for `specs` (default: all) from PyTorch's generator.

        Embeddings are normal with config.embed_init_std and a zero padding row, matrices normal
        with config.init_std, biases 0, norms 1 and 0.

        Raises:
            ConfigError: For an int8 model.
        """
        if is_quantized(self):
            raise ConfigError("this model's matrices are int8: initialise before quantize().")
        for spec in self.tensor_specs() if specs is None else specs:
            if spec.tied_to is None:
                parameter = self.get_parameter(self._name(spec))
                self._init_tensor(spec, parameter.data)
                parameter.requires_grad_(spec.trainable)

    def _init_tensor(self, spec: TensorSpec, tensor: Tensor) -> None:
        if not spec.trainable:
            tensor.copy_(torch.from_numpy(sinusoidal_table(*spec.shape)))
        elif spec.kind is Kind.EMBEDDING:
            nn.init.normal_(tensor, std=self.config.embed_init_std)
            if f".{spec.path}".endswith(".embeddings.weight"):
                tensor[self.config.pad_index].zero_()
        elif spec.kind is Kind.MATRIX:
            nn.init.normal_(tensor, std=self.config.init_std)
        else:
            nn.init.constant_(tensor, 1.0 if spec.kind is Kind.NORM_SCALE else 0.0)

    def tie_weights(self) -> None:
        """Make tied parameters one; nothing to do in models without an output matrix."""

    # -- checkpoints ---------------------------------------------------------------------------

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        # Copied into floats, the integers of an int8 matrix would lose their scale.
        for name, parameter in self.named_parameters():
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and value.dtype == torch.int8:
                raise CheckpointError(
                    f"{prefix}{name} is int8 in the state_dict, and {parameter.dtype} here: call "
                    "quantize() on this model before loading the state of a quantized one."
                )
        super()._load_from_state_dict(state_dict, prefix, *arguments)

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
        dtype: torch.dtype | str | None = None,
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
            dtype: Of the model: torch.float64, "float64", ... Default float32, whatever the file
                holds; "auto" takes the file's.
            device_map: The device to put the model on: its name or number, "auto" for the
                accelerator if there is one, or {"": device}.
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
            The model, in evaluation mode.

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
        dtype: torch.dtype | str | None,
        device_map: Any,
        *,
        ignore_mismatched_sizes: bool,
        output_loading_info: bool,
    ) -> Any:
        """What `from_pretrained` returns of an opened checkpoint."""
        accelerators = ["cuda"] if torch.cuda.is_available() else []
        device = chosen_device(device_map, accelerators)
        model = cls._from_checkpoint(
            checkpoint, dtype, ignore_mismatched_sizes, allow_partial=output_loading_info
        )
        if device is not None:
            model = model.to(device)
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
        dtype: torch.dtype | str | None,
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
        with torch.device("meta"), _Unfilled():
            model = cls(checkpoint.config)
        wanted = _resolve_dtype(dtype, {tensor.dtype for _, tensor in match.found})
        known = {model._name(spec) for spec in model.tensor_specs()}
        named = (*model.named_parameters(), *model.named_buffers())
        if any(tensor.is_meta and name not in known for name, tensor in named):
            model = cls(checkpoint.config).to(wanted)  # a subclass fills layers of its own
        check = FiniteCheck(checkpoint.source, str(wanted).removeprefix("torch."))

        def read(entry: tuple[TensorSpec, LazyTensor]) -> Tensor:
            return tensor_of(check.see(entry[0].path, entry[1].read())).to(wanted)

        for (spec, _), tensor in zip(match.found, in_parallel(read, match.found), strict=True):
            model._set_parameter(spec, tensor)
        check.report()
        loaded = {spec.path for spec, _ in match.found}
        for spec in model.tensor_specs():
            rows = match.fresh_rows.get(spec.path)
            if spec.tied_to is None and (spec.path not in loaded or rows):
                tensor = torch.empty(spec.shape, dtype=wanted, device="cpu")
                model._init_tensor(spec, tensor)
                if rows:
                    model._parameter(spec).data[[*rows]] = tensor[[*rows]]
                else:
                    model._set_parameter(spec, tensor)
        model.tie_weights()
        model.config.dtype = str(wanted)
        model.prune_heads(checkpoint.prune)
        return model.eval()

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
            safe_serialization: False writes pytorch_model.bin.
            variant: Part of the names of the weights, "fp16" for model.fp16.safetensors.
            others: What else transformers takes and what changes nothing.

        Raises:
            CheckpointError: For an int8 model: no layout holds it. If a module that holds no such
                tensor stands in the place of one of the model's.
            ConfigError: If the embeddings or the output were replaced by what does not go together.
        """
        folder = given_path("save_pretrained", folder, others, PUBLISHED_FOLDER)
        folder = needed_path("save_pretrained", folder)
        settle_saving("save_pretrained", push_to_hub=push_to_hub, others=others, known=_OF_SAVING)
        if not is_main_process:
            return
        if is_quantized(self):
            raise CheckpointError(
                "this model's matrices are int8, which no layout of checkpoints holds: save the "
                "model before quantize(), and quantize it again after from_pretrained()."
            )
        config = self.config.copy(
            architectures=[self.architecture], dtype=str(self.dtype).removeprefix("torch.")
        )
        tensors = self._arrays() if state_dict is None else arrays_of(state_dict)
        save_checkpoint(
            folder,
            config,
            tensors,
            architecture=self.architecture,
            layout="safetensors" if safe_serialization else "torch",
            largest=max_shard_size,
            variant=variant,
        )

    def _arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every tensor under its name, tied ones once."""
        self._check_matrices()
        specs = {spec.path: spec for spec in self.tensor_specs()}
        arrays = {}
        written = set()
        for spec in specs.values():
            tensor = self._parameter(spec)
            written.add(id(tensor))
            if spec.tied_to is None:
                arrays[str(name_of(spec, "torch", self.architecture))] = _to_array(tensor)
                continue
            other = self._parameter(specs[spec.tied_to])
            if tensor is not other and not torch.equal(tensor, other):
                refuse_untied()
        # What torch's parametrizations and pruning are made of is in the tensor that they give.
        warn_of_left_out(
            name
            for name, parameter in self.named_parameters()
            if id(parameter) not in written
            and ".parametrizations." not in name
            and not name.endswith("_orig")
        )
        return arrays

    # -- changing the model --------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        embeddings: nn.Embedding = self._parts()[0].embeddings
        return embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings; the output follows, in size and if tied in value.

        Args:
            value: With weight of shape (vocabulary, hidden).

        Raises:
            ConfigError: If it has no weight, or one of another width than the model's, or the
                vocabulary cannot be resized.
        """
        if not isinstance(getattr(value, "weight", None), nn.Parameter):
            raise ConfigError(
                f"the new embeddings are a {type(value).__name__} without a weight: expected an "
                "nn.Embedding."
            )
        rows, width = value.weight.shape
        if width != self.config.emb_dim:
            raise ConfigError(
                f"the new embeddings have width {width}: expected emb_dim, {self.config.emb_dim}."
            )
        self.resize_token_embeddings(rows)
        self._parts()[0].embeddings = value
        self.tie_weights()

    def get_output_embeddings(self) -> nn.Module | None:
        """The output projection of a language model, else None."""
        return None

    def set_output_embeddings(self, value: nn.Module) -> None:
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
    ) -> nn.Embedding:
        """Change the size of the vocabulary, in the output layer as well.

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
            self._sizes_changed()
            self.tie_weights()
        return self.get_input_embeddings()

    def _resize(self, *, mean_resizing: bool) -> bool:
        """Give every tensor the rows that the configuration says; whether any had others."""
        changed = False
        for spec in self.tensor_specs():
            module, _, name = self._name(spec).rpartition(".")
            old = getattr(self.get_submodule(module), name, None)
            if not isinstance(old, Tensor) or tuple(old.shape) == spec.shape:
                continue
            if self.config.asm and not spec.in_encoder:
                self._check_matrices()  # says what to do
            changed = True
            if spec.tied_to is None:
                tensor = old.new_empty(spec.shape)
                self._init_tensor(spec, tensor)
                kept = min(len(old), len(tensor))
                if mean_resizing and kept < len(tensor):
                    tensor[kept:] = _around_mean(old.detach(), len(tensor) - kept)
                tensor[:kept] = old.detach()[:kept]
                self._set_parameter(spec, tensor)
        return changed

    def _sizes_changed(self) -> None:
        """Bring the sizes that modules remember in line with the configuration."""
        self.get_input_embeddings().num_embeddings = self.config.vocab_size

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Remove attention heads for good.

        Args:
            heads_to_prune: Layer (-1 is the last) -> heads, in the numbering of the unpruned
                model. Heads that are gone already are passed over.

        Raises:
            ConfigError: For a layer or a head that does not exist, or a layer's last head; for an
                int8 model.
        """
        if heads_to_prune and is_quantized(self):
            raise ConfigError("this model's matrices are int8: prune heads before quantize().")
        for layer, kept in prune(self.config, heads_to_prune).items():
            self.base_model.keep_heads(layer, kept)

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

    def in_asked_form(self, output: Output, return_dict: bool | None) -> Output | tuple[Any, ...]:
        """`output`, or where `return_dict`, or the configuration, says False, its tuple."""
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        loss = getattr(output, "loss", None)
        if (
            loss is not None
            and not loss.requires_grad
            and torch.is_grad_enabled()
            and is_quantized(self)
            and not torch.compiler.is_compiling()
        ):
            output["loss"] = _refusing_gradients(loss)
        return output if return_dict else output.to_tuple()

    def refuse(self, unknown: Mapping[str, Any]) -> NoReturn:
        """Raise for keyword arguments that `forward` does not have."""
        known = [
            name
            for name, parameter in inspect.signature(type(self).forward).parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        refuse_unknown_arguments(type(self).__name__, unknown, known)
        raise UnknownArgumentError(type(self).__name__)


class _Unfilled(TorchFunctionMode):
    """Modules made under it skip their initial values, whose code for meta tensors is costly.

    The first random number "drawn" on the meta device imports torch's compiler, which takes longer
    than opening a checkpoint.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _RefusedGradient(torch.autograd.Function):
    """A loss through which no gradient goes back."""

    @staticmethod
    def forward(context: Any, loss: Tensor, _: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        raise ConfigError(
            "this model's matrices are int8, for inference, and nothing of it is trainable: train "
            "it before quantize()."
        )


def _refusing_gradients(loss: Tensor) -> Tensor:
    """The loss of an int8 model, whose `backward()` says why there is no gradient."""
    refused: Tensor = _RefusedGradient.apply(loss, loss.new_empty(0, requires_grad=True))
    return refused


def _around_mean(old: Tensor, count: int) -> Tensor:
    """New rows from a normal distribution of the old ones' mean and 1e-9 of their covariance.

    Source: Hewitt 2021, "Initializing new word embeddings for pretrained language models".
    """
    rows = old.to(torch.promote_types(old.dtype, torch.float32))
    mean = rows.mean(0)
    noise = torch.randn(count, len(rows), dtype=rows.dtype, device=rows.device)
    spread = noise @ (rows - mean) * (1e-9 / len(rows)) ** 0.5
    return (mean + spread).to(old.dtype)


def _resolve_dtype(dtype: torch.dtype | str | None, in_file: set[str]) -> torch.dtype:
    resolved: torch.dtype = getattr(torch, float_dtype_name(dtype, in_file))
    return resolved


def tensor_of(array: np.ndarray[Any, Any]) -> Tensor:
    """An array as a tensor over the same memory."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _to_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def arrays_of(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a state_dict, PyTorch's or numpy's."""
    return {
        name: _to_array(value) if isinstance(value, Tensor) else np.asarray(value)
        for name, value in state_dict.items()
    }
