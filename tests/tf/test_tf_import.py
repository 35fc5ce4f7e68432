"""Importing changes no global setting, and needs Keras on TensorFlow; each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.shared import ROOT

IMPORT = """
import logging, random, warnings
import numpy
import keras
import tensorflow as tf

def settings():
    threading = tf.config.threading
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "policy": keras.config.dtype_policy().name,
        "backend": keras.config.backend(),
        "image data": keras.config.image_data_format(),
        "eager": tf.config.functions_run_eagerly(),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "deterministic": tf.config.experimental.is_op_determinism_enabled()
        if hasattr(tf.config.experimental, "is_op_determinism_enabled") else None,
        "jit": tf.config.optimizer.get_jit(),
        "threads": (threading.get_intra_op_parallelism_threads(),
                    threading.get_inter_op_parallelism_threads()),
        "placement": tf.config.get_soft_device_placement(),
        "traceback": keras.config.is_traceback_filtering_enabled(),
        "logging of TensorFlow": tf.get_logger().level,
        "numpy chance": str(numpy.random.get_state()),
        "chance": random.getstate(),
        "numpy errors": numpy.geterr(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers)),
    }

before = settings()
import xlm_tf
changed = {name for name, value in settings().items() if value != before[name]}
assert not changed, changed
"""


def _environment(**values: str) -> dict[str, str]:
    """This process' own, in which transformers has told TensorFlow to use another Keras."""
    return {n: v for n, v in os.environ.items() if n != "TF_USE_LEGACY_KERAS"} | values


def test_keras_on_another_backend_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import xlm_tf"],
        cwd=ROOT, env=_environment(KERAS_BACKEND="torch"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "xlm_tf needs Keras on TensorFlow, and finds it on 'torch'" in done.stderr
    assert "set KERAS_BACKEND=tensorflow" in done.stderr


def test_importing_changes_no_global_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
