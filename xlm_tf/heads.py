"""What the models with a head share: one call of the encoder."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_tf.fast.rule import Code, are_unmodified, code_of
from xlm_tf.model import TFXLMModel
from xlm_tf.outputs import BaseModelOutput
from xlm_tf.pretrained import TFXLMPreTrainedModel

_ENCODER = code_of(TFXLMModel)


class TFXLMModelWithHead(TFXLMPreTrainedModel):
    """Base of the models that put a head on the encoder.

    Attributes:
        transformer: The encoder.
        encoder_code: That class's code, by which an unmodified encoder is known.
    """

    encoder_code: Code = _ENCODER

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(config, **options)
        with keras.name_scope(self.name):
            self.transformer = TFXLMModel(config, **self.encoder_options())

    def encoder(self) -> Any:
        """The `TFXLMModel` inside."""
        return self.transformer

    def encode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        langs: tf.Tensor | None,
        token_type_ids: tf.Tensor | None,
        position_ids: tf.Tensor | None,
        lengths: tf.Tensor | None,
        cache: Any,
        head_mask: tf.Tensor | None,
        inputs_embeds: tf.Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        unknown: dict[str, Any],
        *,
        output_positions: tf.Tensor | int | None = None,
        embedding_matrix: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> BaseModelOutput:
        """Call the encoder, after refusing what the head's `call` does not know.

        Args:
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, training: As in
                `TFXLMModel.call`.
            unknown: The head's other keyword arguments.
            output_positions, embedding_matrix: As in `TFXLMModel.call`; ignored unless the
                encoder's `call` is unmodified.

        Raises:
            UnknownArgumentError: If there is anything in `unknown`.
        """
        if unknown:
            self.refuse(unknown)
        requests = {"output_positions": output_positions, "embedding_matrix": embedding_matrix}
        if not are_unmodified((self.transformer,), self.encoder_code):
            requests = {}
        encoded: BaseModelOutput = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            langs=langs,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            lengths=lengths,
            cache=cache,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            training=training,
            **requests,
        )
        return encoded
