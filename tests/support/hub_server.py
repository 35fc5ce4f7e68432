"""A hub of one's own on 127.0.0.1: the file endpoints of a repository, counted.

Answers as huggingface.co does: a branch or a commit in the address, the commit in X-Repo-Commit,
large files as a redirection to another host with X-Linked-Etag and X-Linked-Size, parts of files,
and the kind of a refusal in X-Error-Code.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

LARGE = (".safetensors", ".bin", ".h5")


@dataclass
class Repository:
    """What is in it, and how it is guarded.

    Attributes:
        commits: Commit -> file -> content.
        branches: Branch or tag -> commit.
        token: What opens it, if it is not public.
        gated: Whether one must ask for access first.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False

    def commit(self, files: Path | dict[str, bytes], branch: str = "main") -> str:
        """Make the files of a folder the newest commit of a branch."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir()}
        digest = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[digest] = files
        self.branches[branch] = digest
        return digest


class HubServer(ThreadingHTTPServer):
    """Serves `repositories`.

    Attributes:
        repositories: Owner and name -> repository.
        requests: "METHOD revision/file" of every request, in order; files by hash are "cdn".
        ranges: The Range of each GET that had one.
        cuts: How many GETs of large files break off in the middle, from now on.
        status: If set, the status of every answer.
        bare: Whether answers lack the hub's own headers, as those of another server would.
        says_why: Whether refusals bear their kind in X-Error-Code, which some mirrors leave out.
        commit_claimed: If set, the commit that answers claim to be of.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.cuts = 0
        self.status: int | None = None
        self.bare = False
        self.says_why = True
        self.commit_claimed: str | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, **guard: object) -> Repository:
        return self.repositories.setdefault(name, Repository(**guard))  # type: ignore[arg-type]

    def taken(self) -> list[str]:
        """The requests since the last time."""
        requests, self.requests = self.requests, []
        return requests


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.path.startswith("/cdn/"):
            self._note("cdn")
            if self.headers.get("Authorization"):
                self._refuse(400)  # a token is the hub's alone
            else:
                self._send_content(self._by_hash(self.path.removeprefix("/cdn/")), {})
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)", self.path)
        name, revision, file = map(unquote, found.groups()) if found else ("", "", self.path)
        self._note(f"{revision}/{file}")
        repository = self.server.repositories.get(name)
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.status:
            self._refuse(self.server.status)
        elif repository is None or (repository.token and not sent):
            self._refuse(401, "RepoNotFound")
        elif repository.token and repository.token != sent:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repository.gated:
            self._refuse(403, "GatedRepo")
        else:
            self._send_file(repository, repository.branches.get(revision, revision), file)

    def _send_file(self, repository: Repository, commit: str, file: str) -> None:
        if commit not in repository.commits:
            self._refuse(404, "RevisionNotFound")
            return
        content = repository.commits[commit].get(file)
        claimed = self.server.commit_claimed or commit
        headers = {} if self.server.bare else {"X-Repo-Commit": claimed}
        if content is None:
            self._refuse(404, "EntryNotFound", headers=headers)
        elif file.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            headers |= {
                "Location": f"http://localhost:{self.server.server_address[1]}/cdn/{digest}"
            }
            self._send(302, headers)
        else:
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send_content(content, headers | {"ETag": f'"{etag}"'})

    def _by_hash(self, digest: str) -> bytes:
        return next(
            content
            for repository in self.server.repositories.values()
            for files in repository.commits.values()
            for content in files.values()
            if hashlib.sha256(content).hexdigest() == digest
        )

    def _send_content(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if asked:
            self.server.ranges.append(asked[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if start >= len(content) > 0:
            self._send(416, headers | {"Content-Range": f"bytes */{len(content)}"})
        else:
            self._send(206 if asked else 200, headers, content[start:])

    def _refuse(
        self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None
    ) -> None:
        headers = dict(headers or {})
        if code and self.server.says_why and not self.server.bare:
            headers["X-Error-Code"] = code
        if message:
            headers["X-Error-Message"] = message
        self._send(status, headers)

    def _send(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "GET":
            return
        if self.path.startswith("/cdn/") and self.server.cuts > 0:
            self.server.cuts -= 1
            self.close_connection = True
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def _note(self, what: str) -> None:
        self.server.requests.append(f"{self.command} {what}")


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A running server; it is gone afterwards."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
