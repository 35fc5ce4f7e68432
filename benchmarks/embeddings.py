"""Sentence embeddings: `encode` beside transformers' usual loop, and on very many lines.

    python benchmarks/embeddings.py [--lines 2000] [--skip 0] [--part 500] [--framework torch tf]
    python benchmarks/embeddings.py --many 100000

The first encodes English lines of ../shared/data/pydocs in the order of the file with random
weights of d 1024 and 6 layers, mean pooling. Beside it, transformers 4.57 on the same ids in
batches of 32 lines in the order of the file, padded to the longest, as its documentation does it.
Both encode a part of the lines in turn (so `--lines 500 --skip 500` is the second quarter of it).
Printed are how much of the batches is no padding, and the limit: all operations of the model on the
tokens alone, at the best rate that PyTorch's products with the matrices of all layers reach between
the parts (the median of each way).
`encode` is to reach 80 % of it. Tokenization is part of its time, and not of the loop's.

The second runs `xlm encode` on a file of so many lines with the small trained model of
../shared/checkpoints, kills it half-way with SIGKILL, runs it again, and checks that memory was
flat, that the vectors are in the order of the lines, and that none is missing.
"""

from __future__ import annotations

import argparse
import lzma
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["USE_TF"] = "0"  # transformers 4 imports the other framework as well if it may

import numpy as np  # noqa: E402
import torch  # noqa: E402

import xlm_torch  # noqa: E402
from benchmarks.speed.sides.products_torch import timed, ways  # noqa: E402
from tests.support import corpora  # noqa: E402
from xlm_core import XLMTokenizer  # noqa: E402

WIDTH, LAYERS, HEADS, POSITIONS = 1024, 6, 8, 512
BATCH, AT_LEAST = 32, 0.8
ROWS = (1024, 2048)


def pydocs() -> list[str]:
    """The English lines, in the order of the file."""
    path = ROOT.parent / "shared/data/pydocs/pydocs.tsv.xz"
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        header, *lines = file.read().split("\n")
    column = header.split("\t").index("en")
    return [cells[column] for line in lines if (cells := line.split("\t"))[column:]]


def operations(lengths: list[int]) -> int:
    """Floating-point operations of all layers on sentences of these lengths, without padding."""
    products = 2 * 12 * WIDTH**2 * sum(lengths)
    attention = 4 * WIDTH * sum(length**2 for length in lengths)
    return LAYERS * (products + attention)


class Products:
    """The products of all layers, each with a matrix of its own, as a model multiplies them.

    Attributes:
        seconds: (way, rows) -> the times of all products, one for each measurement.
    """

    def __init__(self) -> None:
        shapes = ((WIDTH, WIDTH),) * 4 + ((4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
        self.matrices = [torch.randn(shape) * 0.03 for _ in range(LAYERS) for shape in shapes]
        self.inputs = {
            rows: {width: torch.randn(rows, width) for width in (WIDTH, 4 * WIDTH)} for rows in ROWS
        }
        self.seconds: dict[tuple[str, int], list[float]] = {}

    @torch.inference_mode()
    def measure(self) -> None:
        """Once by every way and number of rows."""
        for rows, inputs in self.inputs.items():
            for name, way in ways().items():
                spent = sum(timed(way, inputs[x.shape[1]], x) for x in self.matrices)
                self.seconds.setdefault((name, rows), []).append(spent)

    def best_rate(self) -> tuple[float, str]:
        """Operations a second of the best way, by the medians of what was measured."""
        rates = {
            2 * 12 * WIDTH**2 * LAYERS * rows / statistics.median(found): f"{name}, {rows:,} rows"
            for (name, rows), found in self.seconds.items()
        }
        return max(rates), rates[max(rates)]


def loop_of_transformers(model: Any, rows: list[list[int]], pad: int) -> np.ndarray:
    """Batches in the order of the lines, padded to the longest; the mean over tokens."""
    vectors = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        longest = max(map(len, part))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in part])
        mask = (torch.arange(longest) < torch.tensor([len(row) for row in part])[:, None]).long()
        with torch.inference_mode():
            hidden = model(ids, attention_mask=mask)[0]
        weights = mask[:, :, None].to(hidden.dtype)
        vectors.append(((hidden * weights).sum(1) / weights.sum(1)).numpy())
    return np.concatenate(vectors)


def beside_transformers(options: argparse.Namespace) -> bool:
    """Measure and print; whether the bar is met."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    lines = pydocs()[options.skip :][: options.lines]
    files = corpora.vocabulary("xnli_15")
    tokenizer = XLMTokenizer(files.vocab_file, files.merges_file)
    torch.manual_seed(0)
    config = xlm_torch.XLMConfig(
        vocab_size=len(tokenizer),
        emb_dim=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        max_position_embeddings=POSITIONS,
        n_langs=1,
    )
    calls: dict[str, Callable[[slice], np.ndarray]] = {}  # of a part of the lines
    with tempfile.TemporaryDirectory() as folder:
        xlm_torch.XLMModel(config).save_pretrained(folder)
        ours = xlm_torch.XLMModel.from_pretrained(folder)
        theirs = transformers.XLMModel.from_pretrained(folder).eval()
        more = {"batch_size": options.batch_size}
        if "torch" in options.framework:
            calls["xlm_torch"] = lambda part: xlm_torch.encode(ours, tokenizer, lines[part], **more)
        if "tf" in options.framework:
            import xlm_tf

            ours_tf = xlm_tf.TFXLMModel.from_pretrained(folder)
            calls["xlm_tf"] = lambda part: xlm_tf.encode(ours_tf, tokenizer, lines[part], **more)
    content = tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"]
    rows = [[1, *ids[: POSITIONS - 2], 1] for ids in content]
    calls["transformers 4"] = lambda part: loop_of_transformers(
        theirs, rows[part], config.pad_index
    )
    lengths = [len(row) for row in rows]
    padded = sum(
        len(part) * max(part)
        for start in range(0, len(rows), BATCH)
        if (part := lengths[start : start + BATCH])
    )
    print(
        f"{len(rows):,} lines of pydocs, {sum(lengths):,} tokens, the longest of {max(lengths)}; "
        f"batches of {BATCH} in the order of the file are {sum(lengths) / padded:.0%} filled\n"
        f"d {WIDTH}, {LAYERS} layers, {torch.get_num_threads()} threads, PyTorch "
        f"{torch.__version__}, transformers {transformers.__version__}"
    )
    products = Products()
    for call in calls.values():
        call(slice(BATCH))  # makes ready what is made once
    products.measure()
    products.seconds.clear()
    seconds = dict.fromkeys(calls, 0.0)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    for start in range(0, len(lines), options.part):
        for name, call in calls.items():
            begin = time.perf_counter()
            parts[name].append(call(slice(start, start + options.part)))
            seconds[name] += time.perf_counter() - begin
            products.measure()
    vectors = {name: np.concatenate(found) for name, found in parts.items()}
    rate, way = products.best_rate()
    limit = operations(lengths) / rate
    peer = seconds["transformers 4"]
    print(f"limit: {limit:.1f} s at {rate / 1e9:.0f} GFLOP/s ({way})")
    met = True
    for name, spent in seconds.items():
        difference = np.abs(vectors[name] - vectors["transformers 4"]).max()
        print(
            f"  {name:15} {spent:7.1f} s, {len(rows) / spent:6.1f} lines/s, "
            f"{limit / spent:4.0%} of the limit; transformers takes {peer / spent:.2f} times as "
            f"long (at the limit {peer / limit:.2f}); differs by {difference:.0e}"
        )
        if name == "xlm_torch":
            met = limit / spent >= AT_LEAST
            print(f"  at least {AT_LEAST:.0%} of the limit: {'met' if met else 'NOT met'}")
    return met


def many_lines(count: int) -> bool:
    """Encode a file, killed half-way; whether memory was flat and the vectors are right."""
    checkpoint = ROOT.parent / "shared/checkpoints/small_mlm_tlm/hf"
    # Short ones, so that it takes minutes.
    chosen = [line for line in pydocs() if len(line) < 60]
    lines = [f"{i % 97} {line}" for i, line in enumerate(islice(cycle(chosen), count))]
    with tempfile.TemporaryDirectory() as place:
        text, target = Path(place) / "lines", Path(place) / "vectors.npy"
        text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "conversion", "encode", str(checkpoint), str(text)),
            *("--lang", "en", "--layer", "2", "-o", str(target)),
        ]
        start, peaks = time.perf_counter(), []
        for kill_at in (0.5, None):
            process = subprocess.Popen(command, cwd=ROOT)
            peaks.append(watch(process, target.with_name("vectors.npy.part"), count, kill_at))
        seconds = time.perf_counter() - start
        vectors = np.load(target, mmap_mode="r")
        model = xlm_torch.XLMModel.from_pretrained(checkpoint)
        tokenizer = XLMTokenizer.from_pretrained(checkpoint)
        sample = np.random.default_rng(0).choice(count, min(count, 300), replace=False)
        texts = [lines[i] for i in sample]
        expected = xlm_torch.encode(model, tokenizer, texts, lang="en", layer=2)
        difference = float(np.abs(vectors[sample] - expected).max() / np.abs(expected).max())
    in_order = vectors.shape == (count, model.config.emb_dim) and difference < 1e-5
    print(f"{count:,} lines in {seconds:.0f} s, killed half-way and resumed")
    for title, peak in zip(("killed", "resumed"), peaks, strict=True):
        print(f"  {title}: memory (MB) at tenths of the file: {' '.join(map(str, peak.values()))}")
    grown = max(max(peak.values()) - min(peak.values()) for peak in peaks)
    print(f"  memory grew by {grown} MB after the first tenth (less than 50: {grown < 50})")
    print(f"  {vectors.shape[0]:,} vectors in order, differ by {difference:.0e}: {in_order}")
    return in_order and grown < 50


def watch(
    process: subprocess.Popen[bytes], part: Path, count: int, kill_at: float | None
) -> dict[int, int]:
    """The memory of a process in MB at each tenth of its output; kill it at a share of it.

    What was there before it began to write says nothing of it.
    """
    found: dict[int, int] = {}
    row = 256 * 4
    before = part.stat().st_size if part.exists() else 0
    while process.poll() is None:
        time.sleep(0.05)
        try:
            size = part.stat().st_size
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        done = size / row / count
        resident = [line for line in status.splitlines() if line.startswith("VmRSS")]
        tenth = int(done * 10)
        if resident and tenth > 0 and size > before:
            found.setdefault(tenth, int(resident[0].split()[1]) // 1024)
        if kill_at is not None and done >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return found
    if process.returncode != 0:
        sys.exit(f"the command ended with {process.returncode}")
    return found


def main() -> None:
    """Run what is asked for; the exit code is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--skip", type=int, default=0, help="lines before them")
    parser.add_argument(
        "--part", type=int, default=500, help="lines that each encodes before the other"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--framework", nargs="+", choices=("torch", "tf"), default=["torch"])
    parser.add_argument("--many", type=int, metavar="LINES")
    options = parser.parse_args()
    met = many_lines(options.many) if options.many else beside_transformers(options)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
