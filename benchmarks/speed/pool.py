"""The driver's end of the workers: started when first asked for, one for each library."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.speed.protocol import send

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = "XLM_BENCH_PEERS_PYTHON"
ORIGINAL = "XLM_BENCH_ORIGINAL"


@dataclass(frozen=True)
class Contender:
    """Somebody who computes tasks.

    Attributes:
        side: Module in sides/.
        library: What that module is to use.
        in_peers: Lives in the peers' environment.
        legacy_keras: Wants Keras 2.
        in_checkout: Lives in a checkout of the original code.
    """

    side: str
    library: str = ""
    in_peers: bool = False
    legacy_keras: bool = False
    in_checkout: bool = False


CONTENDERS = {
    "xlm_torch": Contender("torch_side", "xlm_torch"),
    "transformers 4": Contender("torch_side", "transformers"),
    "transformers 5": Contender("torch_side", "transformers", in_peers=True),
    "ONNX Runtime": Contender("onnx_side", in_peers=True),
    "original": Contender("original_side", in_checkout=True),
    "xlm_tf": Contender("tf_side", "xlm_tf"),
    "TFXLM": Contender("tf_side", "transformers", legacy_keras=True),
    "products, PyTorch": Contender("products_torch"),
    "products, TensorFlow": Contender("products_tf"),
    "float64": Contender("torch_side", "xlm_torch"),
}


class Process:
    """A worker that is there or says why not; requests are answered in their order.

    Args:
        command: Starts it.
        environment: Its variables, beside those that there are.
        absent: Why there is none: then nothing is started.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str] | None = None, absent: str = ""
    ) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in `close`)
        self.absent = absent
        self.greeted = False
        self.stopped = False
        self.process: subprocess.Popen[str] | None = None
        if absent:
            return
        inherited = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=inherited | quiet | (environment or {}),
            cwd=ROOT,
        )

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; `answer` gives what comes of it."""
        if self.process is None or self.process.stdin is None:
            return
        try:
            send(self.process.stdin, request)
        except BrokenPipeError:
            return  # `answer` will find the end

    def answer(self, within: float | None = None) -> dict[str, Any]:
        """The answer to the oldest request that has none yet.

        Args:
            within: Kill the process if it needs more seconds; its requests are lost then.
        """
        if within is None:
            return self._answer()
        timer = threading.Timer(within, self.stop)
        timer.start()
        try:
            return self._answer()
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.stopped = True
            self.process.kill()

    def _answer(self) -> dict[str, Any]:
        if not self.greeted and not self.absent:
            self.greeted = True
            greeting = self._line()
            self.absent = greeting.get("absent", "")
        return {"absent": self.absent} if self.absent else self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self.process.wait()
        if self.stopped:
            self.absent = "its process was stopped"
            return {"absent": self.absent}
        self.absent = f"its process ended with status {status}: {self.last_words()}"
        return {"absent": self.absent}

    def last_words(self) -> str:
        """The last line that it wrote to stderr."""
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        return lines[-1][:200] if lines else "nothing was printed"

    def hang_up(self) -> None:
        """Let it end."""
        if self.process is not None:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def close(self) -> None:
        """End it, and wait for its end."""
        if self.process is not None:
            self.hang_up()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def worker_of(
    contender: Contender, folder: Path, peers_python: str | None, original: str | None
) -> Process:
    """The worker of a contender; absent, if it lives where nobody has said.

    Args:
        contender: Whose.
        folder: Of the weights.
        peers_python: Of the peers' environment.
        original: Checkout of the original code.
    """
    python = peers_python if contender.in_peers else sys.executable
    absent = ""
    if not python:
        absent = f"its environment is not named ({PEERS_PYTHON})"
    elif contender.in_checkout and not original:
        absent = f"its checkout is not named ({ORIGINAL})"
    # transformers 4 imports the other framework as well if it may.
    environment = {"USE_TORCH" if contender.side == "tf_side" else "USE_TF": "0"}
    environment[ORIGINAL] = original or ""
    if contender.legacy_keras:
        environment["TF_USE_LEGACY_KERAS"] = "1"
    module = "benchmarks.speed.worker"
    command = [python or "", "-m", module, contender.side, contender.library, str(folder)]
    return Process(command, environment, absent)


class Pool:
    """Workers by the name of their contender.

    Args:
        folder: Of the weights.
        peers_python: Of the peers' environment.
        original: Checkout of the original code.
    """

    def __init__(self, folder: Path, peers_python: str | None, original: str | None = None) -> None:
        self.folder = folder
        self.peers_python = peers_python
        self.original = original
        self.processes: dict[str, Process] = {}

    def of(self, name: str) -> Process:
        """The worker of a contender, started if it is not there."""
        if name not in self.processes:
            self.processes[name] = self.fresh(name)
        return self.processes[name]

    def fresh(self, name: str) -> Process:
        """A worker of one's own, to be closed by whoever asked."""
        return worker_of(CONTENDERS[name], self.folder, self.peers_python, self.original)

    def restart(self, name: str) -> Process:
        """A new worker in the place of one that was stopped."""
        self.processes.pop(name).close()
        return self.of(name)

    def end(self, names: Iterable[str]) -> None:
        """End the workers of these contenders, all at one time."""
        ended = [self.processes.pop(name) for name in names if name in self.processes]
        for process in ended:
            process.hang_up()
        for process in ended:
            process.close()

    def close(self) -> None:
        """End all."""
        self.end(list(self.processes))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
