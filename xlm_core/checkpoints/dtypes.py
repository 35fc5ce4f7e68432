"""The dtype that a model is loaded in."""

from __future__ import annotations

from xlm_core.containers.lazy_tensors import FLOAT_DTYPES
from xlm_core.errors import ConfigError


def float_dtype_name(dtype: object, in_file: set[str], *others: str) -> str:
    """The name of the dtype that `from_pretrained` was asked for.

    Args:
        dtype: A dtype of any framework or of numpy, or its name; None is float32, "auto" the
            dtype of the file.
        in_file: Names of the dtypes in the file.
        others: Further names that the caller accepts, for the message.

    Raises:
        ConfigError: If it is no float dtype.
    """
    if dtype is None:
        return "float32"
    if isinstance(dtype, str) and dtype == "auto":
        return next(iter(in_file)) if len(in_file) == 1 else "float32"
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    name = str(name).removeprefix("torch.").removeprefix("tf.")
    name = {"double": "float64", "half": "float16"}.get(name, name)
    if name not in FLOAT_DTYPES:
        raise ConfigError(
            f"dtype is {dtype!r}: expected one of {', '.join([*FLOAT_DTYPES, *others])} (the "
            "framework's own or by name), or 'auto'."
        )
    return name
