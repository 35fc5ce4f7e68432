"""The encoder-decoder, `XLMForConditionalGeneration`: the original's translation models.

Shapes use the legend of `xlm_torch.model`; `target` is the sequence that the decoder reads.

Source: Lample & Conneau 2019, section 3.3; TransformerModel (is_encoder=False) in
xlm/model/transformer.py and build_model in xlm/model/__init__.py of the original.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from xlm_core.changes import check_embeddings
from xlm_core.checkpoints import open_parts_as_asked
from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError
from xlm_core.heads import NO_TARGET, check_decoder, without_peers_arguments
from xlm_core.inputs import check_tensor
from xlm_core.loading_arguments import refuse_path_beside_parts
from xlm_core.weights import ENCODER_DECODER, PARTS
from xlm_torch.fast.rule import are_unmodified, code_of
from xlm_torch.generation import Beginning, GenerationMixin, of_encoder_decoder
from xlm_torch.inputs import check_labels, check_source, describe
from xlm_torch.language_model import WithOutputLayer
from xlm_torch.losses import IGNORED
from xlm_torch.model import XLMModel
from xlm_torch.outputs import (
    BaseModelOutput,
    BaseModelOutputWithCrossAttentions,
    Seq2SeqLMOutput,
)


class XLMEncoder(WithOutputLayer, XLMModel):
    """The encoder of an encoder-decoder: an `XLMModel` beside an output layer that stays unused.

    The original trains the two parts as language models first, and keeps both output layers.
    """

    def post_init(self) -> None:
        """Add the output layer, then as in every model."""
        self._add_output(self.config)
        super().post_init()


class XLMDecoder(WithOutputLayer, XLMModel):
    """The decoder of an encoder-decoder: causal, and attending to a source in every layer."""

    def _check_config(self, config: XLMConfig) -> None:
        check_decoder(config)

    def post_init(self) -> None:
        """Add the output layer, then as in every model."""
        self._add_output(self.config)
        super().post_init()

    def forward(  # type: ignore[override]  # it returns more
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        langs: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        lengths: Tensor | None = None,
        cache: Any = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        output_positions: Tensor | int | None = None,
        embedding_matrix: Tensor | None = None,
        **unknown: Any,
    ) -> BaseModelOutputWithCrossAttentions | tuple[Any, ...]:
        """Run the decoder over a batch of targets.

        Args:
            encoder_hidden_states: What the encoder made of the sources, float, shape (batch,
                source, hidden).
            encoder_attention_mask: bool, integer or float, shape (batch, source): 1 for tokens, 0
                for padding. Default: all are tokens.
            input_ids, attention_mask, langs, token_type_ids, position_ids, lengths, cache,
                head_mask, inputs_embeds, output_attentions, output_hidden_states, return_dict,
                output_positions, embedding_matrix: As in `XLMModel.forward`, of the target. The
                cache holds the keys and values of the source as well, if it is a `KeyValueCache`.

        Returns:
            `BaseModelOutputWithCrossAttentions`, or with return_dict=False the tuple of what it
            holds.
        """
        if unknown:
            self.refuse(unknown)
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "langs": langs,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "lengths": lengths,
            "head_mask": head_mask,
            "inputs_embeds": inputs_embeds,
        }
        cache = getattr(cache, "self_attention_cache", cache)
        cached = self._check(inputs, cache, output_positions, embedding_matrix)
        target = cast(Tensor, input_ids if input_ids is not None else inputs_embeds)
        check_source(self, encoder_hidden_states, encoder_attention_mask, target.shape[0])
        assert encoder_hidden_states is not None
        if encoder_attention_mask is None:
            encoder_attention_mask = encoder_hidden_states.new_ones(
                encoder_hidden_states.shape[:2], dtype=torch.bool
            )
        inputs["encoder_hidden_states"] = encoder_hidden_states
        inputs["encoder_attention_mask"] = encoder_attention_mask
        config = self.config
        hidden, hidden_states, attentions, cross_attentions = self._encode(
            inputs,
            cache=cache,
            cached=cached,
            output_attentions=(
                config.output_attentions if output_attentions is None else output_attentions
            ),
            output_hidden_states=(
                config.output_hidden_states
                if output_hidden_states is None
                else output_hidden_states
            ),
            output_positions=output_positions,
            embedding_matrix=embedding_matrix,
        )
        output = BaseModelOutputWithCrossAttentions(
            last_hidden_state=hidden,
            hidden_states=hidden_states,
            attentions=attentions,
            cross_attentions=cross_attentions,
        )
        return self.in_asked_form(output, return_dict)


_DECODER = code_of(XLMDecoder)


class XLMForConditionalGeneration(GenerationMixin):
    """XLM's encoder and decoder, for translation and other sequence-to-sequence tasks.

    Args:
        config: One for both parts, see `XLMConfig.part`. Of a model that is started from those of
            an encoder, `from_pretrained` makes one.

    Attributes:
        encoder: An `XLMModel` with an output layer, `pred_layer`, that stays unused and is not
            trained.
        decoder: The same layers, each of which attends to what the encoder returns as well; with
            an output layer of its own.
        output_logits: Whether calls with labels return logits beside the loss, unless they say.
    """

    architecture = ENCODER_DECODER
    output_logits: bool = True
    _tied_weights_keys: ClassVar[Any] = [f"{part}.pred_layer.proj.weight" for part in PARTS]

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        self.encoder = XLMEncoder(self.config.part("encoder"))
        self.decoder = XLMDecoder(self.config.part("decoder"))
        self.post_init()

    def post_init(self) -> None:
        """Give what the parts do not have as encoders its initial value."""
        done = {
            f"{name}.{spec.path}"
            for name, part in zip(PARTS, self._parts(), strict=True)
            for spec in part.tensor_specs()
        }
        self.init_weights(spec for spec in self.tensor_specs() if spec.path not in done)
        # Nothing reads the encoder's output, so that it has no gradients: tools ask for those of
        # all that is trained.
        for parameter in self.encoder.pred_layer.parameters():
            if parameter is not self.encoder.embeddings.weight:
                parameter.requires_grad_(False)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        langs: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        decoder_langs: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        cache: Any = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        lengths: Tensor | None = None,
        head_mask: Tensor | None = None,
        decoder_head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        output_logits: bool | None = None,
        **unknown: Any,
    ) -> Seq2SeqLMOutput | tuple[Any, ...]:
        """Predict the tokens of targets from sources.

        Args:
            input_ids, attention_mask, langs, position_ids, lengths, head_mask, inputs_embeds: The
                sources, as in `XLMModel.forward`. With encoder_outputs, only attention_mask,
                lengths or input_ids are looked at, for their padding.
            decoder_input_ids, decoder_attention_mask, decoder_langs, decoder_position_ids,
                decoder_head_mask, decoder_inputs_embeds: What the decoder reads, in the same form;
                a target begins with `</s>`. Default: from labels, by
                `prepare_decoder_input_ids_from_labels`.
            encoder_outputs: What the encoder returned for these sources before: its output, or a
                tuple that begins with the last hidden states. Default: it is run.
            cache: A `KeyValueCache` for the decoder, see `XLMModel.forward`: it holds the keys and
                values of the source too.
            labels: int64, shape (batch, target): the token that the logits at this position
                should name, without a leading `</s>`; -100 does not count.
            output_attentions, output_hidden_states, return_dict: As in `XLMModel.forward`.
            output_logits: False, with labels: the loss alone, which then costs neither the time
                nor the memory of logits for every position. Default: the model's.

        Returns:
            `Seq2SeqLMOutput`, or with return_dict=False the tuple of what it holds.

        Raises:
            InputError: For tensors that do not fit.
            UnknownArgumentError: For any other keyword, but for those that transformers'
                encoder-decoders take and that say nothing (None, use_cache=False).
        """
        if unknown and (unknown := without_peers_arguments(type(self).__name__, unknown)):
            self.refuse(unknown)
        self._check_matrices()
        if labels is None and output_logits is False:
            raise InputError("output_logits is False, and there are no labels to give a loss for.")
        if output_logits is None:
            output_logits = self.output_logits
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                langs=langs,
                position_ids=position_ids,
                lengths=lengths,
                head_mask=head_mask,
                inputs_embeds=inputs_embeds,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
        encoded = _as_output(encoder_outputs)
        source = self._source_mask(encoded, input_ids, attention_mask, lengths)
        output_matrix, embedding_matrix = self.decoder._shared_matrix(labels)
        looks_at_labels = labels is not None and not output_logits
        requests = {
            "output_positions": self.decoder._labelled(labels) if looks_at_labels else None,
            "embedding_matrix": embedding_matrix,
        }
        if not are_unmodified((self.decoder,), _DECODER):
            requests = {}
        decoded = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            langs=decoder_langs,
            position_ids=decoder_position_ids,
            cache=cache,
            head_mask=decoder_head_mask,
            inputs_embeds=decoder_inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=source,
            **requests,
        )
        hidden = decoded.last_hidden_state
        if labels is not None:
            labels = check_labels(
                self,
                "labels",
                labels,
                tuple(hidden.shape[:2]),
                "(batch, target)",
                limit=self.config.vocab_size,
                rule="the vocabulary, or -100 where nothing is to be predicted",
            )
        loss, logits = self.decoder._scored(
            hidden, labels, output_matrix, wants_logits=labels is None or output_logits
        )
        output = Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
            cross_attentions=decoded.cross_attentions,
            encoder_last_hidden_state=encoded.last_hidden_state,
            encoder_hidden_states=encoded.hidden_states,
            encoder_attentions=encoded.attentions,
        )
        return self.in_asked_form(output, return_dict)

    def _source_mask(
        self,
        encoded: BaseModelOutput,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        lengths: Tensor | None,
    ) -> Tensor | None:
        """bool, shape (batch, source): False for padding of the sources; None: there is none."""
        if attention_mask is not None:
            return attention_mask
        return self.encoder._token_mask(
            {
                "attention_mask": None,
                "lengths": lengths,
                "input_ids": input_ids,
                "inputs_embeds": encoded.last_hidden_state,
            }
        )

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor | None) -> Tensor:
        """What the decoder reads to predict labels: `</s>`, then all labels but the last.

        Args:
            labels: int64, shape (batch, target): as in `forward`; -100 becomes padding.

        Returns:
            int64, shape (batch, target).

        Raises:
            InputError: If they are no labels.
        """
        if labels is None:
            raise InputError(NO_TARGET)
        check_tensor("labels", describe("labels", labels), (None, None), "(batch, target)")
        start = torch.full_like(labels[:, :1], self.config.eos_index)
        shifted = torch.cat((start, labels[:, :-1]), 1)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_index)

    # -- the two parts -------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        encoder: str | os.PathLike[str] | None = None,
        decoder: str | os.PathLike[str] | None = None,
        **arguments: Any,
    ) -> Any:
        """Open an encoder-decoder, or start one from the checkpoints of encoders.

        Args:
            path: An encoder-decoder, as in `XLMPreTrainedModel.from_pretrained`.
            encoder, decoder: In its place, the checkpoints that the two parts are made of, of any
                layout: encoders with any head, such as pretrained language models, or
                encoder-decoders, of which the part of the same name is taken. What a decoder has
                beyond an encoder (attention to the source, and the norm after it) starts afresh,
                and so do languages that only one of the two knows by name; one warning lists all
                that does. Without one of the two, that part starts afresh.
            arguments: As there. encoder_layers and decoder_layers take the first layers of each
                checkpoint; lang2id gives the languages and their numbers.

        Returns:
            As there.

        Raises:
            CheckpointError: As there; and if the two parts do not go together.
        """
        if encoder is None and decoder is None:
            return super().from_pretrained(path, **arguments)
        return cls._from_parts(path, encoder, decoder, **arguments)

    @classmethod
    def _from_parts(
        cls,
        path: object,
        encoder: str | os.PathLike[str] | None,
        decoder: str | os.PathLike[str] | None,
        *,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
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
        **others: Any,
    ) -> Any:
        """`from_pretrained` of two checkpoints."""
        refuse_path_beside_parts(path, others)
        dtype = others.pop("torch_dtype", dtype)  # transformers' older name
        checkpoint = open_parts_as_asked(
            encoder,
            decoder,
            others,
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

    def get_encoder(self) -> XLMEncoder:
        """The encoder."""
        return self.encoder

    def get_decoder(self) -> XLMDecoder:
        """The decoder."""
        return self.decoder

    def _parts(self) -> tuple[Any, ...]:
        return self.encoder, self.decoder

    def _check_matrices(self) -> None:
        """Raise `ConfigError` if a part was resized by itself, or as in every model."""
        for part in self._parts():
            check_embeddings(self.config, (part.config.vocab_size, part.config.emb_dim))
        super()._check_matrices()

    def tie_weights(self) -> None:
        """Make the output matrix of each part its word embedding, if the configuration says so."""
        for part in self._parts():
            part.tie_weights()

    def get_output_embeddings(self) -> nn.Module:
        """The output projection of the decoder."""
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output projection of the decoder, as in `XLMWithLMHeadModel`."""
        self.decoder.set_output_embeddings(value)

    def prune_heads(self, heads_to_prune: Mapping[int, Any]) -> None:
        """Refused: the attention of an encoder-decoder is not pruned.

        Raises:
            ConfigError: If there are heads to prune.
        """
        if heads_to_prune:
            raise ConfigError("the heads of an encoder-decoder cannot be pruned.")

    def _beginning(self, given: Mapping[str, Any]) -> Beginning:
        steps = are_unmodified((self.decoder,), _DECODER)
        return of_encoder_decoder(self, given, steps=steps)

    def _sizes_changed(self) -> None:
        for part in self._parts():
            part.config.vocab_size = self.config.vocab_size
            part._sizes_changed()


def _as_output(encoder_outputs: Any) -> BaseModelOutput:
    """What an encoder returned, by name: it may be a tuple, or a tensor alone."""
    names = BaseModelOutput.field_names()
    if isinstance(encoder_outputs, Mapping):
        return BaseModelOutput(**{name: encoder_outputs.get(name) for name in names})
    values = (encoder_outputs,) if isinstance(encoder_outputs, Tensor) else tuple(encoder_outputs)
    return BaseModelOutput(**dict(zip(names, values, strict=False)))
