"""How fast the models are, beside transformers (both frameworks) and ONNX Runtime.

    python -m benchmarks.speed [--quick] [--rows NAME ...] [--rounds N] [--json FILE] [--plot FILE]

Everybody opens the same weights and gets the same batch, in processes of their own that take turns:
no two compute at one moment. Threads are what the machine gives. `XLM_BENCH_PEERS_PYTHON` (or
`--peers-python`) names the Python of an environment with transformers 5, torch, onnx, onnxscript
and onnxruntime, `XLM_BENCH_ORIGINAL` (or `--original`) a checkout of the original code
(facebookresearch/XLM); without them the lanes of these say so.

    tasks      what is computed: shapes, batches, and the products that they consist of
    rows       the table: who takes part in each row, and the bars
    weights    the folder of random weights that all open
    protocol   how the driver and a worker talk
    worker     a worker process; sides/ holds one file for each library
    pool       the driver's end of the workers
    measure    one row: turns, medians, errors, limits
    growth     how cost grows with batch, length, layers and vocabulary
    report     table and JSON;  drawing, plot: SVG
"""
