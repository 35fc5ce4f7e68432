"""`generate`, of language models and of the encoder-decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from xlm_core.checkpoints import Checkpoint
from xlm_core.errors import UnknownArgumentError, warn
from xlm_core.generation import GenerationConfig, settle
from xlm_core.loading_arguments import PUBLISHED_FOLDER
from xlm_core.outputs import GenerateOutput
from xlm_torch.generation.beams import generate_beams
from xlm_torch.generation.callables import Callables
from xlm_torch.generation.greedy import generate_rows
from xlm_torch.generation.prompts import Beginning
from xlm_torch.pretrained import XLMPreTrainedModel

_ARGUMENTS = (
    "input_ids",
    "generation_config",
    "attention_mask",
    "langs",
    "lengths",
    "src_lang",
    "tgt_lang",
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_langs",
    "encoder_outputs",
    "stopping_criteria",
    "streamer",
)


class GenerationMixin(XLMPreTrainedModel):
    """`generate`, for models that say how a call of it begins."""

    _generation_config: Any = None
    _warned: tuple[str, ...] = ()

    @property
    def generation_config(self) -> Any:
        """How the model generates where a call does not say.

        A `GenerationConfig`: what the folder's generation_config.json says, which
        `save_pretrained` writes back.
        """
        if self._generation_config is None:
            self._generation_config = GenerationConfig()
        return self._generation_config

    @generation_config.setter
    def generation_config(self, value: Any) -> None:
        self._generation_config = value

    @classmethod
    def can_generate(cls) -> bool:
        """True: `generate` is there."""
        return True

    def generate(
        self,
        input_ids: Tensor | None = None,
        generation_config: Any = None,
        *,
        attention_mask: Tensor | None = None,
        langs: Tensor | None = None,
        lengths: Tensor | None = None,
        src_lang: Any = None,
        tgt_lang: Any = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        decoder_langs: Tensor | None = None,
        encoder_outputs: Any = None,
        stopping_criteria: Any = None,
        streamer: Any = None,
        **settings: Any,
    ) -> Tensor | GenerateOutput:
        """Continue prompts, or translate sources.

        A causal model predicts what follows each prompt: `</s> words`, without an end. An
        encoder-decoder translates: `</s> words </s>`. A masked model warns, and appends a mask for
        every token, as transformers does. Nothing is dropped out, whatever the model's mode.

        Args:
            input_ids: int64, shape (batch, sequence): the prompts or sources. Also taken as
                `inputs`, as transformers calls it.
            generation_config: A `GenerationConfig`, this library's or transformers', or a dict:
                counts before the model's own.
            attention_mask: As in `forward`; padding may be on either side. Default: from lengths,
                else all that is not config.pad_index.
            langs: int64, shape (batch, sequence): the language of each token; what is generated
                by a language model goes on in the last one.
            lengths: int64, shape (batch,): tokens before the padding on the right.
            src_lang: Language of the sources (or of the prompts): its id or name, or one for each.
            tgt_lang: Language of what is generated, in the same form; of language models also that
                of the prompts, unless src_lang or langs says it.
            decoder_input_ids: int64, shape (batch, target): how translations begin, with their
                first `</s>`. Default: that alone.
            decoder_attention_mask: int64, shape (batch, target): 0 for padding. Default: all
                that is not config.pad_index.
            decoder_langs: int64, shape (batch, target), in place of tgt_lang: one language in each
                row.
            encoder_outputs: What the encoder returned for these sources before.
            stopping_criteria: Callables of (ids, scores) that say which rows end, see `Callables`.
            streamer: Gets tokens as they come, without beams, see `Callables`.
            settings: Fields of `GenerationConfig`, which count before any configuration; None says
                nothing, but for eos_token_id, with which it says that nothing ends early. What
                transformers takes and what changes nothing is accepted.

        Returns:
            int64, shape (batch * num_return_sequences, tokens): for each sentence its sequences,
            which begin with the prompt and are padded after their end; or, with
            return_dict_in_generate, a `GenerateOutput`.

        Raises:
            InputError: For arguments that contradict each other, the model or its positions.
            UnknownArgumentError: For one that is not known, or that cannot be followed.
            GenerationError: Where the scores of the next token are NaN, or rule out every token.
        """
        if (inputs := settings.pop("inputs", None)) is not None:
            if input_ids is not None:
                raise UnknownArgumentError("generate got input_ids and inputs: give one of them.")
            input_ids = inputs
        callables = Callables(stopping_criteria, streamer)
        self._check_matrices()
        beginning = self._beginning(
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "langs": langs,
                "lengths": lengths,
                "src_lang": src_lang,
                "tgt_lang": tgt_lang,
                "decoder_input_ids": decoder_input_ids,
                "decoder_attention_mask": decoder_attention_mask,
                "decoder_langs": decoder_langs,
                "encoder_outputs": encoder_outputs,
            }
        )
        settled = settle(
            self.config,
            beginning.kind,
            settings,
            own=self.generation_config,
            given=generation_config,
            known=_ARGUMENTS,
            prompts=beginning.prompts,
            sources=beginning.sources,
            draw_seed=_draw_seed,
        )
        callables.check(settled)
        if beginning.warning is not None and beginning.warning not in self._warned:
            self._warned += (beginning.warning,)
            warn(beginning.warning)
        sequences_scores = None
        with torch.no_grad(), _without_dropout(self):
            decoding, begun = beginning.decode(settled.start)
            if settled.num_beams > 1:
                generated, reached, scores = generate_beams(decoding, settled, begun, callables)
                sequences_scores = torch.from_numpy(reached).to(begun.device)
            else:
                generated, scores = generate_rows(decoding, settled, begun, callables)
        copies = len(generated) // settled.sentences
        sequences = torch.cat(
            (begun.repeat_interleave(copies, dim=0), torch.from_numpy(generated).to(begun.device)),
            dim=1,
        )
        if not settled.return_dict_in_generate:
            return sequences
        return GenerateOutput(sequences=sequences, sequences_scores=sequences_scores, scores=scores)

    def _beginning(self, given: Mapping[str, Any]) -> Beginning:
        """How a call of `generate` begins that was given these arguments."""
        raise NotImplementedError

    # -- files ---------------------------------------------------------------------------------

    @classmethod
    def _from_checkpoint(cls, checkpoint: Checkpoint, *arguments: Any, **options: Any) -> Self:
        opened = super()._from_checkpoint(checkpoint, *arguments, **options)
        opened._read_generation_config(checkpoint.file.parent)
        return opened

    def _read_generation_config(self, folder: Path) -> None:
        """Take what the folder of a checkpoint says about generation."""
        self.generation_config = GenerationConfig.of_folder(folder)

    def save_pretrained(self, folder: Any = None, **options: Any) -> None:
        """Write a folder, as every model, with generation_config.json if it says anything.

        Args:
            folder: As in `XLMPreTrainedModel.save_pretrained`.
            options: As there.
        """
        super().save_pretrained(folder, **options)
        config = GenerationConfig.of(self.generation_config)
        if options.get("is_main_process", True) and config.to_dict():
            config.save_pretrained(options.get(PUBLISHED_FOLDER, folder))


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, whatever the mode is."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _draw_seed() -> int:
    return int(torch.randint(2**62, ()))
