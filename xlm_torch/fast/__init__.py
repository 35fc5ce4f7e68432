"""What stands in for a formula where it computes the same, faster.

`rule` says when that is so, and `path` asks it once a call. `unpadding` leaves padding out of a
batch; `layer` computes one layer by `linear` and `attention`; `embedding` and `vocabulary_loss`
serve the two ends of a language model. Underneath are `onednn`, `packing`, `memory` and
`integers`. Without this folder's yes the formulas of `attention`, `feed_forward` and `model` run,
and give the same numbers.
"""

from xlm_torch.fast.rule import formulas_only

__all__ = ["formulas_only"]
