"""A model hub on this machine: the few endpoints that huggingface_hub calls, and the ways in which a real hub fails."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    """One model: files by commit, names of commits, and who may read it: with `token` only its owner, unless it is `gated`, when
    everybody may see what there is and only the owner get it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str = ""
    gated: bool = False

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        digest = hashlib.sha1(json.dumps(sorted((n, hashlib.sha1(c).hexdigest()) for n, c in files.items())).encode()).hexdigest()
        self.commits[digest] = files
        self.refs[ref] = digest
        return digest


@dataclass
class Asked:
    """One request for a file, as it was answered; `sent` counts the bytes of the body that left."""

    file: str
    start: int
    sent: int = 0


@dataclass
class Hub:
    """The server and what was asked of it. `cut` ends the connection after so many bytes of a file, once for each entry; `corrupt`
    sends other bytes of the same length; `status` answers for a file, or for the list ("") with that status; `page` is sent
    instead of everything, as log-in pages are."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    listed: int = 0
    tokens: list[tuple[str, str]] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)
    ignore_range: bool = False
    page: str = ""

    def add(self, name: str, files: dict[str, bytes], **facts: Any) -> Repository:
        repository = self.repositories.setdefault(name, Repository())
        for fact, value in facts.items():
            setattr(repository, fact, value)
        repository.commit(files)
        return repository

    def sent_for(self, file: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.file == file]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", "tokenizer.json"))


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            _answer(hub, self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _answer(hub: Hub, request: BaseHTTPRequestHandler) -> None:
    url = urlsplit(request.path)
    hub.tokens.append((url.path.strip("/").split("/")[0], request.headers.get("Authorization", "")))
    parts = [unquote(part) for part in url.path.strip("/").split("/")]
    if hub.page:
        return _send(request, 200, hub.page.encode(), {"Content-Type": "text/html"})
    if parts[:2] == ["api", "models"]:
        return _list(hub, request, parts[2:], parse_qs(url.query))
    if len(parts) >= 5 and parts[2] == "resolve":
        return _resolve(hub, request, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
    if parts[0] == "storage":
        return _content(hub, request, "/".join(parts[1:3]), parts[3], "/".join(parts[4:]))
    return _refuse(request, 404, "")


def _list(hub: Hub, request: BaseHTTPRequestHandler, parts: list[str], query: dict[str, list[str]]) -> None:
    hub.listed += 1
    if "" in hub.status:
        return _refuse(request, hub.status[""], "")
    found = next(((name, r) for name, r in hub.repositories.items() if name.lower() == "/".join(parts[:2]).lower()), None)
    if found is None or not (found[1].gated or _may(request, found[1])):
        # A hub does not tell what is missing from what is private.
        return _refuse(request, 401, "RepoNotFound", "Repository not found")
    name, repository = found
    asked = parts[3] if len(parts) > 3 else "main"
    commit = repository.refs.get(asked) or next((c for c in repository.commits if c == asked), None)
    if commit is None:
        return _refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {asked}")
    siblings = []
    for file, content in repository.commits[commit].items():
        sibling: dict[str, Any] = {"rfilename": file}
        if "blobs" in query:
            sibling |= {"size": len(content), "blobId": hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()}
            if is_large(file):
                sibling["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
        siblings.append(sibling)
    facts = {"id": name, "sha": commit, "siblings": siblings, "gated": repository.gated, "tags": []}
    return _send(request, 200, json.dumps(facts).encode(), {"Content-Type": "application/json"})


def _resolve(hub: Hub, request: BaseHTTPRequestHandler, name: str, commit: str, file: str) -> None:
    repository = hub.repositories[name]
    if not _may(request, repository):
        return _refuse(request, 403, "GatedRepo", f"Access to model {name} is restricted")
    if is_large(file):
        # As hubs do, from another host: a token must not follow there.
        where = hub.url.replace("127.0.0.1", "localhost")
        return _send(request, 302, b"", {"Location": f"{where}/storage/{name}/{commit}/{file}"})
    return _content(hub, request, name, commit, file)


def _content(hub: Hub, request: BaseHTTPRequestHandler, name: str, commit: str, file: str) -> None:
    if file in hub.status:
        return _refuse(request, hub.status[file], "")
    content = hub.repositories[name].commits[commit].get(file)
    if content is None:
        return _refuse(request, 404, "EntryNotFound", "Entry not found")
    if file in hub.corrupt:
        content = content[:-1] + bytes([content[-1] ^ 1])
    span = request.headers.get("Range", "")
    start = int(span.removeprefix("bytes=").partition("-")[0]) if span and not hub.ignore_range else 0
    asked = Asked(file, start)
    hub.asked.append(asked)
    if start and start >= len(content):
        return _refuse(request, 416, "")
    body = content[start:]
    headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Content-Length": str(len(body))}
    if span and not hub.ignore_range:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    cut = hub.cut.get(file) or [len(body)]
    body = body[: cut.pop(0)]
    asked.sent = len(body)
    request.send_response(206 if span and not hub.ignore_range else 200)
    for key, value in headers.items():
        request.send_header(key, value)
    request.end_headers()
    request.wfile.write(body)
    if len(body) < int(headers["Content-Length"]):
        request.close_connection = True


def _may(request: BaseHTTPRequestHandler, repository: Repository) -> bool:
    return not repository.token or request.headers.get("Authorization") == f"Bearer {repository.token}"


def _refuse(request: BaseHTTPRequestHandler, status: int, code: str, message: str = "") -> None:
    headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
    _send(request, status, json.dumps({"error": message}).encode(), headers)


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    request.send_response(status)
    for key, value in ({"Content-Length": str(len(body))} | headers).items():
        request.send_header(key, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
