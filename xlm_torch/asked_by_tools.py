"""What transformers' tools ask of a model besides computing: names, counts and switches.

Trainer, accelerate, PEFT and the like reach for these by the names that transformers gave them;
nothing else in the library uses them. docs/differences.md says which of transformers' names are
left out, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from xlm_core.checkpoints import float_dtype_name
from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, refuse_unknown_arguments


class AskedByTools(nn.Module):
    """Base of all models: answers for tools, none of which changes what is computed.

    Attributes:
        config_class: The class of the configuration.
        main_input_name: The first argument of `forward`.
        supports_gradient_checkpointing: That layers can be recomputed in the backward pass.
        framework: "pt", PyTorch.
    """

    config: XLMConfig
    config_class: ClassVar[type[XLMConfig]] = XLMConfig
    main_input_name: ClassVar[str] = "input_ids"
    framework: ClassVar[str] = "pt"
    supports_gradient_checkpointing: ClassVar[bool] = True
    is_parallelizable: ClassVar[bool] = False
    # transformers' Trainer would otherwise pass num_items_in_batch to a forward with **unknown.
    accepts_loss_kwargs = False

    # Which parameters share their values, may be absent from a file, stay on one device or in
    # float32: read by Trainer, PEFT and accelerate.
    _tied_weights_keys: ClassVar[Any] = None
    _keys_to_ignore_on_save: Any = None
    _keys_to_ignore_on_load_missing: Any = None
    _keys_to_ignore_on_load_unexpected: Any = None
    _keep_in_fp32_modules: Any = None
    _no_split_modules: Any = None
    _skip_keys_device_placement: Any = None

    @property
    def name_or_path(self) -> str:
        """Where the model was opened; "" for a new one."""
        return str(getattr(self.config, "name_or_path", None) or "")

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """A small batch to try the model with: input_ids, int64, shape (3, 5).

        Of an encoder-decoder, decoder_input_ids as well.
        """
        ids = [[7, 6, 0, 0, 1], [1, 2, 3, 0, 0], [0, 0, 0, 4, 5]]
        device = next(self.parameters()).device
        tensor = torch.tensor(ids, device=device) % self.config.vocab_size
        inputs = {"input_ids": tensor}
        if self.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = tensor
        return inputs

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return bool(self.gradient_checkpointing)

    @classmethod
    def can_generate(cls) -> bool:
        """False: there is no `generate`."""
        return False

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes of the parameters, tied ones counted once, and with return_buffers the buffers'."""
        tensors = [*self.parameters(), *(self.buffers() if return_buffers else ())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def estimate_tokens(self, input_dict: Mapping[str, Any]) -> int:
        """Number of tokens of a batch, padding included; 0 where it has no input_ids."""
        ids = input_dict.get(self.main_input_name)
        return ids.numel() if isinstance(ids, Tensor) else 0

    def floating_point_ops(
        self, input_dict: Mapping[str, Any], exclude_embeddings: bool = True
    ) -> int:
        """Operations of a training step with this batch, roughly: 6 for each token and parameter.

        Source: Kaplan et al. 2020, section 2.1.
        """
        model: Any = self  # an `XLMPreTrainedModel`
        parameters: int = model.num_parameters(exclude_embeddings=exclude_embeddings)
        return 6 * self.estimate_tokens(input_dict) * parameters

    def enable_input_require_grads(self) -> None:
        """Let gradients flow to the word vectors, so that adapters train on frozen embeddings."""
        self.disable_input_require_grads()
        model: Any = self
        self._require_grads_hook = model.get_input_embeddings().register_forward_hook(
            _require_grads
        )

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        hook = self.__dict__.pop("_require_grads_hook", None)
        if hook is not None:
            hook.remove()

    def set_attn_implementation(self, attn_implementation: str | Mapping[str, str]) -> None:
        """Accept "eager" and "sdpa": fused attention is used wherever it gives the same.

        Raises:
            ConfigError: For any other.
        """
        if attn_implementation not in ("eager", "sdpa"):
            raise ConfigError(
                f"attn_implementation is {attn_implementation!r}: expected 'eager' or 'sdpa', of "
                "which attention is chosen at each call."
            )

    def add_model_tags(self, tags: object) -> None:
        """Nothing: tags are for model cards, which the library does not write."""

    @classmethod
    def _from_config(cls, config: XLMConfig, **options: Any) -> Self:
        # What transformers' classes call `AutoModel.from_config` by.
        dtype = options.pop("dtype", None) or options.pop("torch_dtype", None)
        attention = options.pop("attn_implementation", None) or "eager"
        refuse_unknown_arguments("_from_config", options, ("dtype", "attn_implementation"))
        model = cls(config)
        model.set_attn_implementation(attention)
        return model if dtype is None else model.to(getattr(torch, float_dtype_name(dtype, set())))


def _require_grads(module: nn.Module, inputs: object, output: Tensor) -> None:
    output.requires_grad_(True)
