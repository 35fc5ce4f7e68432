"""Names that moved to `xlm_tf.fast`; they stay here for one version."""

from xlm_tf.fast.graphs import plain_kernels

__all__ = ["plain_kernels"]
