"""`hub.fetch` in a process of its own: huggingface_hub reads its variables when it is imported.

With XLM_HUB_PATH set to a folder that holds another version of huggingface_hub, that one is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]
# The seconds that huggingface_hub waits between attempts are nobody's here.
CHILD = """
import json, sys, time
time.sleep = lambda seconds: None
from tests.support.hub_fetch import fetch
from xlm_core.errors import XLMError
assert "huggingface_hub" not in sys.modules
for call in json.load(sys.stdin):
    try:
        print(json.dumps([str(fetch(call.pop("name"), **call)), "", ""]))
    except XLMError as error:
        print(json.dumps(["", type(error).__name__, str(error)]))
"""


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
    """Calls of `hub.fetch` in one process, whose environment holds only what is given."""
    kept = ("PATH", "SYSTEMROOT", "TMPDIR", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HOME": str(home)}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"PYTHONPATH": os.environ.get("XLM_HUB_PATH", "")} | variables
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", CHILD],
        cwd=ROOT,
        env=environment,
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Result(*json.loads(line)) for line in done.stdout.splitlines()]


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
