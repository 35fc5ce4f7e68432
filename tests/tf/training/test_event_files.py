"""The files that a run writes for TensorBoard, as TensorFlow reads them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tensorflow as tf

from xlm_core.containers.event_files import EventFile
from xlm_core.training.events import Evaluated, Logged
from xlm_core.training.logs import EventLog

LOGGED = Logged(50, 12_345, 8.5, {"MLM-en": 6.5}, 1e-4, 0.25, 3456.7, {"MLM-en": 1.5})
EVALUATED = Evaluated(50, 12_345, 9.0, {"valid_en_mlm_ppl": 4.25}, True)


def test_event_files_are_tensorflows(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", update=40)
    log(LOGGED)
    log(EVALUATED)
    log.close()
    (file,) = (tmp_path / "events").iterdir()
    begin, restart, *events = tf.compat.v1.train.summary_iterator(str(file))
    assert begin.file_version == "brain.Event:2"
    assert (restart.step, restart.session_log.status) == (41, tf.compat.v1.SessionLog.START)
    found = [{each.tag: each.simple_value for each in event.summary.value} for event in events]
    assert [event.step for event in events] == [50, 50]
    assert found[0]["train/MLM-en_loss"] == 6.5
    assert found[0]["run/learning_rate"] == pytest.approx(1e-4)
    assert found[1] == {"valid/en_mlm_ppl": 4.25}


def test_large_numbers_stay_numbers(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    events.add(1 << 40, {"x": 1e300, "y": -math.inf, "ü": 2.5})
    events.close()
    (file,) = tmp_path.iterdir()
    _, event = tf.compat.v1.train.summary_iterator(str(file))
    assert event.step == 1 << 40
    assert [value.simple_value for value in event.summary.value] == [math.inf, -math.inf, 2.5]
