"""Does a change of the code change a number? Two checkouts, one set of models, bit by bit.

    python -m benchmarks.same_numbers compute CHECKOUT FILE.npz [--family torch] [--only PATTERN]
    python -m benchmarks.same_numbers compare OLD.npz NEW.npz
    python -m benchmarks.same_numbers both OLD_CHECKOUT NEW_CHECKOUT

`compute` runs a fixed set of models of a checkout, on one thread, from fixed seeds, each family in
a process of its own, and writes every output, loss and gradient. It calls what is public only, so
that it runs on any checkout. `compare` says which tensors have the same bits, and of the others
whether they differ by rounding: float64 by at most 1e-12 of the largest value; anything else by its
error against float64, which must not have grown.
"""
