"""What the models with a head share: one call of the encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xlm_core.config import XLMConfig
from xlm_torch.fast.rule import Code, are_unmodified, code_of
from xlm_torch.model import XLMModel
from xlm_torch.outputs import BaseModelOutput
from xlm_torch.pretrained import XLMPreTrainedModel

_ENCODER = code_of(XLMModel)


class XLMModelWithHead(XLMPreTrainedModel):
    """Base of the models that put a head on the encoder.

    Attributes:
        transformer: The encoder.
        encoder_class: Its class.
        encoder_code: That class's code, by which an unmodified encoder is known.
    """

    encoder_class: type[XLMModel] = XLMModel
    encoder_code: Code = _ENCODER

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.transformer = self.encoder_class(config)

    def encoder(self) -> Any:
        """The `XLMModel` inside."""
        return self.transformer

    def encode(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        langs: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        lengths: Tensor | None,
        cache: Any,
        head_mask: Tensor | None,
        inputs_embeds: Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        unknown: dict[str, Any],
        *,
        output_positions: Tensor | int | None = None,
        embedding_matrix: Tensor | None = None,
    ) -> BaseModelOutput:
        """Call the encoder, after refusing what the head's `forward` does not know.

        Args:
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states: As in
                `XLMModel.forward`.
            unknown: The head's other keyword arguments.
            output_positions, embedding_matrix: As in `XLMModel.forward`; ignored unless the
                encoder's `forward` is unmodified.

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
            **requests,
        )
        return encoded
