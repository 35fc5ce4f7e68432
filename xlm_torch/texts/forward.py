"""The forward passes that texts need, from arrays to arrays; see `xlm_core.texts.forward`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError
from xlm_core.texts.forward import Array, Batch, Kind
from xlm_core.weights import ENCODER_DECODER
from xlm_torch.language_model import XLMPredLayer, XLMWithLMHeadModel
from xlm_torch.pretrained import XLMPreTrainedModel

# Logits that are held at a time where only those of given tokens are wanted.
_HELD_LOGITS = 2**24


class TextForward:
    """The forward passes of one model, without dropout and without gradients.

    Args:
        model: An encoder or a model with a head.

    Raises:
        InputError: For anything else.
    """

    def __init__(self, model: XLMPreTrainedModel) -> None:
        if not isinstance(model, XLMPreTrainedModel):
            raise InputError(
                f"model is a {type(model).__name__}: expected one of this library, such as "
                "XLMWithLMHeadModel.from_pretrained(folder); of a wrapper (of PEFT, of "
                "torch.compile), the model inside."
            )
        self.model: Any = model

    @property
    def config(self) -> XLMConfig:
        """The model's."""
        config: XLMConfig = self.model.config
        return config

    @property
    def name(self) -> str:
        """Name of the model's class."""
        return type(self.model).__name__

    @property
    def kind(self) -> Kind | None:
        """What its output layer predicts; None without one."""
        if self._has_decoder:
            return "translation"
        if not isinstance(self.model, XLMWithLMHeadModel):
            return None
        return "causal" if self.config.causal else "masked"

    @property
    def layers(self) -> int:
        """How many the encoder has."""
        layers: int = self._encoder.config.n_layers
        return layers

    @property
    def _has_decoder(self) -> bool:
        return bool(self.model.architecture == ENCODER_DECODER)

    @property
    def _encoder(self) -> Any:
        return self.model.encoder if self._has_decoder else self.model.base_model

    def hidden_states(
        self, batch: Batch, *, layer: int, positions: Array | int | None = None
    ) -> Array:
        """See `xlm_core.texts.forward.Forward`."""
        is_last = layer == self.layers
        requests: dict[str, Any] = {}
        if is_last and positions is not None:
            requests["output_positions"] = (
                self._tensor(positions) if isinstance(positions, np.ndarray) else positions
            )
        with self._inference():
            output = self._encoder(
                **self._inputs(batch),
                output_hidden_states=not is_last,
                return_dict=True,
                **requests,
            )
            states = output.last_hidden_state if is_last else output.hidden_states[layer]
        return _array(states)

    def log_probs(self, batch: Batch, positions: Array) -> Array:
        """See `xlm_core.texts.forward.Forward`."""
        with self._inference():
            rows, output = self._predicting(batch, positions)
            scores = _at_least_float32(output(rows))
            return _array(scores if output.asm else scores.log_softmax(-1))

    def token_log_probs(
        self, batch: Batch, positions: Array, tokens: Array, source: Batch | None = None
    ) -> Array:
        """See `xlm_core.texts.forward.Forward`."""
        with self._inference():
            rows, output = self._predicting(batch, positions, source)
            count = max(1, _HELD_LOGITS // self.config.vocab_size)
            parts = zip(rows.split(count), self._tensor(tokens).split(count), strict=True)
            return _array(torch.cat([_scores_of(part, of, output) for part, of in parts]))

    def _predicting(
        self, batch: Batch, positions: Array, source: Batch | None = None
    ) -> tuple[Tensor, XLMPredLayer]:
        """The hidden states that predict, float, shape (predictions, hidden), and the layer."""
        where = self._tensor(positions)
        given = self._inputs(batch)
        if source is not None:
            sources = self._inputs(source)
            decoder = self.model.decoder
            decoded = decoder(
                **given,
                encoder_hidden_states=self._encoder(**sources, return_dict=True).last_hidden_state,
                encoder_attention_mask=sources["attention_mask"],
                return_dict=True,
            )
            return decoded.last_hidden_state[where], decoder.pred_layer
        encoded = self.model.encode(
            given["input_ids"], given["attention_mask"], given["langs"],
            *[None] * 8, {}, output_positions=where,
        )  # fmt: skip
        return encoded.last_hidden_state[where], self.model.pred_layer

    def _inputs(self, batch: Batch) -> dict[str, Tensor | None]:
        return {
            "input_ids": self._tensor(batch.input_ids),
            "attention_mask": self._tensor(batch.attention_mask),
            "langs": None if batch.langs is None else self._tensor(batch.langs),
        }

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.model.device)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Neither dropout nor gradients; afterwards each module is in the mode that it was in."""
        training = [module for module in self.model.modules() if module.training]
        for module in training:
            module.training = False
        try:
            with torch.no_grad():
                yield
        finally:
            for module in training:
                module.training = True


def _scores_of(rows: Tensor, tokens: Tensor, output: XLMPredLayer) -> Tensor:
    """Log-probabilities of the tokens, shape (rows,)."""
    scores = _at_least_float32(output(rows))
    chosen = scores.gather(-1, tokens[:, None]).squeeze(-1)
    return chosen if output.asm else chosen - scores.logsumexp(-1)


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()


def _array(tensor: Tensor) -> Array:
    array: Array = _at_least_float32(tensor).cpu().numpy()
    return array
