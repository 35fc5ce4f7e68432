"""Training on the objectives of `xlm_core.objectives`."""

from xlm_torch.training.accelerating import accelerator_of
from xlm_torch.training.collating import ObjectiveCollator
from xlm_torch.training.configured import configured_run, making_models, model_dtype
from xlm_torch.training.losses import WithObjectives
from xlm_torch.training.optimizing import learning_rate_of, optimizer_of
from xlm_torch.training.reading import GlobalBatches, tensors_of
from xlm_torch.training.run import TrainingRun
from xlm_torch.training.starting import start_from, start_model

__all__ = [
    "GlobalBatches",
    "ObjectiveCollator",
    "TrainingRun",
    "WithObjectives",
    "accelerator_of",
    "configured_run",
    "learning_rate_of",
    "making_models",
    "model_dtype",
    "optimizer_of",
    "start_from",
    "start_model",
    "tensors_of",
]
