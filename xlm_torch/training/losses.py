"""A model with the losses of its tasks: one module to call, whatever the task is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from xlm_core.errors import ConfigError
from xlm_core.objectives import Task
from xlm_core.objectives.agreement import check_objectives
from xlm_torch.language_model import XLMWithLMHeadModel
from xlm_torch.translation import XLMForConditionalGeneration


class WithObjectives(nn.Module):
    """A model that is called with a task and the arguments of its batch.

    What wraps a model for several processes looks at the call of one module; the tasks of an
    encoder-decoder go to its encoder (MLM, TLM), or to both parts (MT).

    Args:
        model: A language model or an encoder-decoder. Of the latter, MLM and TLM train the
            encoder's own output layer: its parameters require gradients from then on.
        tasks: That it will be called with.

    Raises:
        ConfigError: For a task that the model cannot be trained on.
    """

    def __init__(self, model: nn.Module, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        translates = isinstance(model, XLMForConditionalGeneration)
        if not translates and not isinstance(model, XLMWithLMHeadModel):
            raise ConfigError(
                f"a {type(model).__name__} was given: expected a language model "
                "(XLMWithLMHeadModel) or an encoder-decoder (XLMForConditionalGeneration)."
            )
        config: Any = model.config
        check_objectives(type(model).__name__, config, tasks, translates=translates)
        self.model = model
        if translates and any(task.objective != "mt" for task in tasks):
            _train_output_of(model.encoder)

    def forward(
        self, objective: str, tensors: Mapping[str, Tensor], *, output_logits: bool = False
    ) -> Any:
        """The mean loss over the labels of a batch.

        Args:
            objective: Of its task.
            tensors: By the names of the model's arguments, labels among them.
            output_logits: Whether to return logits as well.

        Returns:
            float, shape (); with output_logits, a tuple of it and the logits.
        """
        if objective == "mt" or isinstance(self.model, XLMWithLMHeadModel):
            output = self.model(**tensors, output_logits=output_logits, return_dict=True)
            return (output.loss, output.logits) if output_logits else output.loss
        loss, logits = self._of_encoder(tensors, wants_logits=output_logits)
        return (loss, logits) if output_logits else loss

    def scores(self, objective: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and its logits: to evaluate."""
        scored: tuple[Tensor, Tensor] = self(objective, tensors, output_logits=True)
        return scored

    def _of_encoder(
        self, tensors: Mapping[str, Tensor], *, wants_logits: bool
    ) -> tuple[Tensor, Any]:
        """Loss and logits of the encoder of an encoder-decoder as a language model."""
        encoder: Any = self.model.encoder
        labels = tensors["labels"]
        inputs = {name: x for name, x in tensors.items() if name != "labels"}
        matrix, embedding_matrix = encoder._shared_matrix(labels)
        hidden = encoder(
            **inputs,
            output_positions=None if wants_logits else encoder._labelled(labels),
            embedding_matrix=embedding_matrix,
            return_dict=True,
        ).last_hidden_state
        scored: tuple[Tensor, Any] = encoder._scored(
            hidden, labels, matrix, wants_logits=wants_logits
        )
        return scored


def _train_output_of(encoder: Any) -> None:
    """Train the output layer that translating does not read, if its encoder is trained."""
    of_output = set(encoder.pred_layer.parameters())
    if any(p.requires_grad for p in encoder.parameters() if p not in of_output):
        for parameter in of_output - {encoder.embeddings.weight}:
            parameter.requires_grad_(True)
