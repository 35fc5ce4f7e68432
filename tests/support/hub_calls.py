"""`hub.fetch` in a process of its own: huggingface_hub reads its variables when it is imported.

The processes are forked from one that has imported the rest, which takes most of the time.

With XLM_HUB_PATH set to a folder that holds another version of huggingface_hub, that one is used.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]
# Imports what takes time and reads no variables, then forks for every request. The seconds that
# huggingface_hub waits between attempts are nobody's here.
SERVER = """
import contextlib, importlib, json, os, signal, sys, tempfile, time, traceback
for name in ("requests", "tqdm.auto", "yaml"):  # of huggingface_hub, in some versions
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
from tests.support.hub_fetch import fetch
from xlm_core.errors import XLMError

def answers(request):
    os.environ.clear()
    os.environ.update(request["variables"])
    sys.path[:0] = filter(None, [os.environ.get("PYTHONPATH")])
    time.sleep = lambda seconds: None
    signal.alarm(300)
    assert "huggingface_hub" not in sys.modules
    for call in request["calls"]:
        try:
            yield [str(fetch(call.pop("name"), **call)), "", ""]
        except XLMError as error:
            yield ["", type(error).__name__, str(error)]

for line in sys.stdin:
    with tempfile.TemporaryFile("w+") as results, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if not child:
            os.dup2(errors.fileno(), 2)
            os.dup2(errors.fileno(), 1)
            try:
                json.dump(list(answers(json.loads(line))), results)
                results.flush()
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        results.seek(0), errors.seek(0)
        print(json.dumps({"status": status, "results": results.read(), "errors": errors.read()}))
        sys.stdout.flush()
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks, one for a run of tests."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error::FutureWarning", "-c", SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Alone in its group: no signal of a test's own reaches it.
        start_new_session=True,
    )

    def end() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait()

    atexit.register(end)
    return process


@dataclass
class Result:
    """What a call gave: a folder, or an error."""

    path: str
    error: str
    message: str

    @property
    def folder(self) -> Path:
        assert self.path, self.message
        return Path(self.path)


def fetch_all(
    endpoint: str, home: Path, calls: list[dict[str, Any]], **variables: str
) -> list[Result]:
    """Calls of `hub.fetch` in one fresh process, whose environment holds only what is given."""
    kept = ("PATH", "SYSTEMROOT", "TMPDIR", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HOME": str(home)}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"PYTHONPATH": os.environ.get("XLM_HUB_PATH", "")} | variables
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps({"calls": calls, "variables": environment}) + "\n")
    server.stdin.flush()
    done = json.loads(server.stdout.readline())
    assert done["status"] == 0, done["errors"]
    return [Result(*result) for result in json.loads(done["results"])]


def fetch(
    server: HubServer | str,
    home: Path,
    name: str = "FacebookAI/xlm-mlm-en-2048",
    *,
    variables: dict[str, str] | None = None,
    **arguments: Any,
) -> Result:
    """One call of `hub.fetch`, of a running server or an address."""
    endpoint = server if isinstance(server, str) else server.endpoint
    call = {"name": name, **arguments}
    return fetch_all(endpoint, home, [call], **(variables or {}))[0]
