"""Names that moved to `xlm_tf.fast`; they stay here for one version."""

from xlm_tf.fast.rule import formulas_only

plain_kernels = formulas_only
