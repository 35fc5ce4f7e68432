"""The published classes, each this library's and transformers' `PreTrainedModel` at once.

Methods are looked up in the class of this library first. transformers' come into play where this
library has none: adapters, hooks, uploads, generation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.utils import logging

from xlm_core.checkpoints import Checkpoint
from xlm_core.checkpoints.loading import loading_info
from xlm_core.errors import ConfigError, ConfigFileError, UnknownArgumentError
from xlm_core.outputs import ModelOutput
from xlm_torch import (
    classification,
    language_model,
    model,
    pretrained,
    question_answering,
    translation,
)
from xlm_torch.fast.rule import code_of
from xlm_torch.for_transformers.configuration import XLMConfig, without_notes
from xlm_torch.for_transformers.generation import inputs_of_step
from xlm_torch.for_transformers.outputs import as_transformers_output

_LOG = logging.get_logger("transformers.modeling_utils")
_OUTPUT_MATRIX = "pred_layer.proj.weight"
_PARTS = ("encoder", "decoder")
_GENERATION_FILE = "generation_config.json"


class _WithoutArguments(PreTrainedModel):
    """Where the constructors of this library end: theirs has run before, with the configuration."""

    def __init__(self) -> None:
        pass


def _log_sizes(info: Mapping[str, list[Any]]) -> None:
    """Says in transformers' log as well, where its tools look, what started afresh."""
    for name, in_file, here in info["mismatched_keys"]:
        _LOG.warning(
            "%s is newly initialized because the shapes did not match: %s in the checkpoint and "
            "%s in the model.",
            name,
            tuple(in_file),
            tuple(here),
        )


class XLMPreTrainedModel(pretrained.XLMPreTrainedModel, _WithoutArguments):
    """What all models of this kind share.

    Args:
        config: An `XLMConfig` of this package; another one, the library's or transformers', is
            copied into one.
    """

    config: XLMConfig
    generation_config: GenerationConfig
    config_class = XLMConfig
    base_model_prefix = "transformer"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _keys_to_ignore_on_load_unexpected = None
    # The layers of a published model are spread over lists; these are the parts that attend and
    # feed forward, each of which runs on one device.
    _no_split_modules = ["MultiHeadAttention", "TransformerFFN"]  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        config = XLMConfig.from_transformers(config)
        PreTrainedModel.__init__(self, config)
        super().__init__(config)

    def post_init(self) -> None:
        """Give every parameter its initial value and let transformers note what it wants."""
        super().post_init()
        # They have their values, and keep them.
        self.init_weights = _nothing  # type: ignore[method-assign]
        try:
            PreTrainedModel.post_init(self)
        finally:
            del self.init_weights

    def tie_weights(self, *_: Any, **__: Any) -> None:
        """Make tied parameters one; what transformers passes besides changes nothing."""
        super().tie_weights()

    def _init_weights(self, module: Any) -> None:
        """Nothing: parameters get their values from `init_weights`."""

    @property
    def name_or_path(self) -> str:
        """What `from_pretrained` opened, or "": the configuration's."""
        return self.config.name_or_path

    @name_or_path.setter
    def name_or_path(self, value: str) -> None:
        self.config.name_or_path = value

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return self.gradient_checkpointing

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Any = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """`gradient_checkpointing_enable`, under the name that transformers 5 gives it.

        Args:
            activation_checkpointing_kwargs: Accepted, and not needed.
            every_n_layers: 1: every layer is recomputed.
            offload: False: what is kept stays on its device.

        Raises:
            UnknownArgumentError: For other values.
        """
        if every_n_layers != 1 or offload:
            raise UnknownArgumentError(
                f"got every_n_layers={every_n_layers!r} and offload={offload!r}: here every layer "
                "is recomputed, and nothing is moved. Leave both out."
            )
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs)

    # -- vocabulary ----------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Words that the model knows: the configuration's."""
        return self.config.vocab_size

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings, as the class of the same name in `xlm_torch` does.

        Args:
            value: With weight of shape (vocabulary, hidden). As in transformers, another width may
                be set; the next call refuses it.
        """
        weight = getattr(value, "weight", None)
        if weight is not None and weight.dim() == 2 and weight.shape[1] != self.config.emb_dim:
            cast(Any, self).base_model.embeddings = value
        else:
            super().set_input_embeddings(value)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Change the size of the vocabulary, as the class of the same name in `xlm_torch` does.

        Args:
            new_num_tokens: As there.
            pad_to_multiple_of: As there.
            mean_resizing: As there, with transformers' default.
        """
        try:
            return super().resize_token_embeddings(
                new_num_tokens, pad_to_multiple_of, mean_resizing
            )
        except ConfigError as error:
            if not isinstance(pad_to_multiple_of, float):
                raise
            # With the sentence that callers of transformers look for, as it stands there.
            raise ConfigError(
                f"{error} (Asking to pad the embedding matrix to a multiple of "
                f"`{pad_to_multiple_of}`, which is not and integer. Please make sure to pass an "
                "integer)"
            ) from error

    # -- checkpoints ---------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: Any = None, *_: Any, **arguments: Any) -> Any:
        """Open a checkpoint, as the class of the same name in `xlm_torch` does.

        Args:
            path: As there.
            arguments: As there. Notes that transformers' Auto classes and pipelines pass along
                change nothing.

        Raises:
            RuntimeError: Within `torch.device("meta")`, as in transformers.
        """
        if torch.get_default_device().type == "meta":
            raise RuntimeError(
                "You are using `from_pretrained` with a meta device context manager: weights are "
                "read onto a device that holds values. Leave the context, or make the model of its "
                "configuration."
            )
        known = without_notes(arguments)
        known.pop("adapter_kwargs", None)  # where the Auto classes looked for adapters
        return (
            super().from_pretrained(**known)
            if path is None
            else super().from_pretrained(path, **known)
        )

    @classmethod
    def _from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        dtype: Any,
        ignore_mismatched_sizes: bool = False,
        **options: Any,
    ) -> Self:
        folder = checkpoint.file.parent
        config = XLMConfig.from_transformers(checkpoint.config)
        if config is not checkpoint.config:
            config.eos_token_id = _json_of(folder / "config.json").get("eos_token_id")
        config.name_or_path = checkpoint.source
        opened = super()._from_checkpoint(
            replace(checkpoint, config=config), dtype, ignore_mismatched_sizes, **options
        )
        if ignore_mismatched_sizes:
            _log_sizes(loading_info(checkpoint, cls.architecture, ignore_mismatched_sizes=True))
        if cls.can_generate() and (folder / _GENERATION_FILE).is_file():
            opened.generation_config = GenerationConfig.from_pretrained(folder)
        return opened

    def save_pretrained(self, folder: Any = None, **options: Any) -> None:
        """Write a folder, as the class of the same name in `xlm_torch` does.

        A model with adapters of its own (`add_adapter`) writes these alone, in PEFT's form.

        Args:
            folder: As there.
            options: As there.
        """
        folder = options.pop("save_directory", folder)
        if getattr(self, "_hf_peft_config_loaded", False):
            PreTrainedModel.save_pretrained(self, folder, **options)
            return
        super().save_pretrained(folder, **options)
        if type(self).can_generate() and options.get("is_main_process", True):
            self.generation_config.save_pretrained(folder)

    # -- calls ---------------------------------------------------------------------------------

    def in_asked_form(self, output: ModelOutput, return_dict: bool | None) -> Any:
        """`output` in transformers' class, or its tuple."""
        asked: Any = super().in_asked_form(output, return_dict)
        return asked if type(asked) is tuple else as_transformers_output(asked)


class XLMModel(XLMPreTrainedModel, model.XLMModel):
    """`xlm_torch.XLMModel`, of transformers' kind."""


class _WithHead(XLMPreTrainedModel):
    """The models with a head, whose encoder is of this kind as well."""

    encoder_class = XLMModel
    encoder_code = code_of(XLMModel)


class XLMWithLMHeadModel(_WithHead, language_model.XLMWithLMHeadModel, GenerationMixin):
    """`xlm_torch.XLMWithLMHeadModel`, of transformers' kind: `generate` is transformers' own."""

    generate = GenerationMixin.generate

    # transformers 4 wants the names alone, 5 what they are tied to.
    _tied_weights_keys: Any = {_OUTPUT_MATRIX: "transformer.embeddings.weight"}  # noqa: RUF012

    @classmethod
    def can_generate(cls) -> bool:
        """Whether `generate` is there: it is."""
        return True

    def post_init(self) -> None:
        """As of every model; the output matrix, where tied, is in no file."""
        if not self.config.ties_output:
            self._tied_weights_keys = None
        super().post_init()
        if self.config.ties_output:
            self._keys_to_ignore_on_save = {_OUTPUT_MATRIX}

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """The arguments of `forward` for one step of `generate`.

        Args:
            input_ids: int64, shape (batch, sequence): what there is so far.
            kwargs: What `generate` was given and keeps. (By this name it knows that those of
                `forward` are meant.)
        """
        return inputs_of_step(self.config, input_ids, kwargs)

    def _read_generation_config(self, folder: Path) -> None:
        """Left to transformers, whose configuration it is."""

    def _reorder_cache(self, past_key_values: Any, _: Tensor) -> Any:
        return past_key_values


class XLMForConditionalGeneration(
    XLMPreTrainedModel, translation.XLMForConditionalGeneration, GenerationMixin
):
    """`xlm_torch.XLMForConditionalGeneration`, of transformers' kind.

    transformers has no such XLM, so `generate` is this library's own; what it returns with
    return_dict_in_generate too.
    """

    # As of `XLMWithLMHeadModel`.
    _tied_weights_keys: Any = {  # noqa: RUF012
        f"{part}.{_OUTPUT_MATRIX}": f"{part}.embeddings.weight" for part in _PARTS
    }

    def post_init(self) -> None:
        """As of every model; the output matrices, where tied, are in no file."""
        if not self.config.ties_output:
            self._tied_weights_keys = None
        super().post_init()
        if self.config.ties_output:
            self._keys_to_ignore_on_save = {f"{part}.{_OUTPUT_MATRIX}" for part in _PARTS}

    def _read_generation_config(self, folder: Path) -> None:
        """Left to transformers, whose configuration it is."""


class XLMForSequenceClassification(_WithHead, classification.XLMForSequenceClassification):
    """`xlm_torch.XLMForSequenceClassification`, of transformers' kind."""


class XLMForMultipleChoice(_WithHead, classification.XLMForMultipleChoice):
    """`xlm_torch.XLMForMultipleChoice`, of transformers' kind."""


class XLMForTokenClassification(_WithHead, classification.XLMForTokenClassification):
    """`xlm_torch.XLMForTokenClassification`, of transformers' kind."""


class XLMForQuestionAnsweringSimple(_WithHead, question_answering.XLMForQuestionAnsweringSimple):
    """`xlm_torch.XLMForQuestionAnsweringSimple`, of transformers' kind."""


class XLMForQuestionAnswering(_WithHead, question_answering.XLMForQuestionAnswering):
    """`xlm_torch.XLMForQuestionAnswering`, of transformers' kind."""


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _json_of(file: Path) -> dict[str, Any]:
    """What a JSON file holds; of none, or of one that is no object, nothing.

    Raises:
        ConfigFileError: If it is damaged.
    """
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigFileError(f"{file} is not valid JSON: {error}") from error
    return values if isinstance(values, dict) else {}
