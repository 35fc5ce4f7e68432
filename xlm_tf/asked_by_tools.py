"""What transformers' tools ask of a model besides computing: names, counts and switches.

Code written for transformers' TensorFlow models reaches for these by the names that it gave them;
nothing else in the library uses them. docs/differences.md says which of transformers' names are
left out, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError
from xlm_core.weights import ENCODER_DECODER


class AskedByTools:
    """Base of all models: answers for tools, none of which changes what is computed.

    Attributes:
        config_class: The class of the configuration.
        main_input_name: The first argument of `call`.
        supports_gradient_checkpointing: That layers can be recomputed in the backward pass.
        framework: "tf", TensorFlow.
    """

    config: XLMConfig
    architecture: str
    # Of KerasModel and TFXLMPreTrainedModel.
    variables: Any
    gradient_checkpointing: Any
    num_parameters: Any
    get_output_embeddings: Any
    _signature: Any

    config_class: ClassVar[type[XLMConfig]] = XLMConfig
    main_input_name: ClassVar[str] = "input_ids"
    framework: ClassVar[str] = "tf"
    supports_gradient_checkpointing: ClassVar[bool] = True

    @property
    def name_or_path(self) -> str:
        """Where the model was opened; "" for a new one."""
        return str(getattr(self.config, "name_or_path", None) or "")

    @property
    def dummy_inputs(self) -> dict[str, tf.Tensor]:
        """A small batch to try the model with: int32, shape (3, 5), or (3, 2, 5) of choices."""
        rows = [[7, 6, 0, 0, 1], [1, 2, 3, 0, 0], [0, 0, 0, 4, 5]]
        ids = tf.constant(rows, tf.int32) % self.config.vocab_size
        if self.architecture == "XLMForMultipleChoice":
            ids = tf.tile(ids[:, None], (1, 2, 1))
        inputs = {"input_ids": ids, "attention_mask": tf.ones_like(ids)}
        if self.config.has_lang_embeddings:
            inputs["langs"] = tf.zeros_like(ids)
        if self.architecture == ENCODER_DECODER:
            inputs |= {f"decoder_{name}": tensor for name, tensor in inputs.items()}
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
        """Bytes of the variables, tied ones counted once.

        Args:
            return_buffers: Whether those that are not trained count too.
        """
        return sum(
            int(np.prod(variable.shape)) * int(tf.as_dtype(variable.dtype).size)
            for variable in self.variables
            if return_buffers or variable.trainable
        )

    def estimate_tokens(self, input_dict: Mapping[str, Any]) -> int:
        """Number of tokens of a batch, padding included; 0 where it has no input_ids."""
        ids = input_dict.get(self.main_input_name)
        return 0 if ids is None else int(np.prod(ids.shape))

    def floating_point_ops(
        self, input_dict: Mapping[str, Any], exclude_embeddings: bool = True
    ) -> int:
        """Operations of a training step with this batch, roughly: 6 for each token and parameter.

        Source: Kaplan et al. 2020, section 2.1.
        """
        parameters = int(self.num_parameters(exclude_embeddings=exclude_embeddings))
        return 6 * self.estimate_tokens(input_dict) * parameters

    # -- of transformers' TensorFlow models alone ----------------------------------------------

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """What `export` makes a graph for: any batch and length, int32."""
        signature: dict[str, tf.TensorSpec] = self._signature(tf.int32)
        return signature

    def build_in_name_scope(self) -> None:
        """Nothing to do: constructors build."""

    def serving_output(self, output: Any) -> Any:
        """What a SavedModel returns of `output`: the same."""
        return output

    def get_lm_head(self) -> keras.layers.Layer | None:
        """The output projection of a language model, else None."""
        head: keras.layers.Layer | None = self.get_output_embeddings()
        return head

    def get_bias(self) -> dict[str, tf.Variable] | None:
        """The bias of a language model's output by its name, else None."""
        bias = getattr(self.get_lm_head(), "bias", None)
        return None if bias is None else {"pred_layer.proj.bias": bias.value}

    def set_bias(self, value: Mapping[str, Any]) -> None:
        """Replace the bias of a language model's output.

        Args:
            value: As from `get_bias`.

        Raises:
            ConfigError: If there is none, or it has another shape.
        """
        bias = getattr(self.get_lm_head(), "bias", None)
        if bias is None:
            raise ConfigError(f"{type(self).__name__} has no bias of an output to replace.")
        (array,) = value.values()
        if tuple(array.shape) != tuple(bias.shape):
            raise ConfigError(
                f"the new bias has shape {tuple(array.shape)}: expected {tuple(bias.shape)}. To "
                "change the size of the vocabulary, call resize_token_embeddings() first."
            )
        bias.assign(array)
