"""What XLM is trained on: causal, masked and translation language modelling, and translation.

Everything is numpy and drawn from one seed, so that both frameworks, any number of ranks and of
reading processes, and a run that was resumed see the same batches.

Source: Lample & Conneau 2019, sections 3.1 to 3.4; xlm/data and xlm/trainer.py of the original.
"""

from xlm_core.objectives.batch import Batch
from xlm_core.objectives.collating import Collator
from xlm_core.objectives.evaluation import EvaluationBatches
from xlm_core.objectives.making import next_words
from xlm_core.objectives.masking import Masking
from xlm_core.objectives.sampling import language_probabilities
from xlm_core.objectives.schedule import Schedule
from xlm_core.objectives.sentences import Pairs, batches_of, frame, join
from xlm_core.objectives.settings import ObjectiveSettings, SpecialIds
from xlm_core.objectives.streams import Stream
from xlm_core.objectives.tasks import Task, tasks_of
from xlm_core.objectives.training import TrainingBatches

__all__ = [
    "Batch",
    "Collator",
    "EvaluationBatches",
    "Masking",
    "ObjectiveSettings",
    "Pairs",
    "Schedule",
    "SpecialIds",
    "Stream",
    "Task",
    "TrainingBatches",
    "batches_of",
    "frame",
    "join",
    "language_probabilities",
    "next_words",
    "tasks_of",
]
