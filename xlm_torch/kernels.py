"""Names of `xlm_torch.fast` as they were called before; they stay for one version."""

from xlm_torch.fast.linear import plain_kernels as plain_kernels
