"""A Hugging Face hub on the loopback address, as far as `huggingface_hub` and `datasets` ask it for anything.

It serves the folders `ROOT/models/ORG/NAME` and `ROOT/datasets/ORG/NAME`, each as a repository with one revision,
and writes down what it is asked for.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)(?:/(?P<verb>[a-z-]+)/(?P<revision>[^/]+))?/?")
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


class Hub(ThreadingHTTPServer):
    """The server: `url` is what `HF_ENDPOINT` should be; `asked` holds each request as `METHOD PATH`."""

    daemon_threads = True

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.gated: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self, asked: list[str]) -> list[str]:
        """The files that some requests downloaded, `models/ORG/NAME/FILE`, each as often as it was."""
        found = (FILE.fullmatch(path) for method, path in map(str.split, asked) if method == "GET")
        return sorted(f"{match['kind'] or 'models/'}{match['repo']}/{match['name']}" for match in found if match)


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """A hub that answers while the context is open; afterwards connections to it are refused."""
    with Hub(root) as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.server.asked.append(f"{self.command} {path}")
        match = API.fullmatch(path) or FILE.fullmatch(path)
        if match is None:
            return self._refuse(404, "", "Not found")
        if self.headers["Authorization"] == "Bearer hf_wrong":
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        repo, folder = match["repo"], self._folder(match)
        if not folder.is_dir():  # what the real hub answers to somebody without a token
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if "name" in match.groupdict():
            if repo in self.server.gated:
                return self._refuse(401, "GatedRepo", f"Access to {repo} is restricted.")
            return self._send_file(folder, match["name"])
        return self._answer(folder, repo, match["verb"], parse_qs(parts.query), body)

    do_HEAD = do_POST = do_GET

    def _folder(self, match: re.Match[str]) -> Path:
        return self.server.root / (match["kind"] or "models").strip("/") / match["repo"]

    def _answer(self, folder: Path, repo: str, verb: str | None, query: dict[str, list[str]], body: bytes) -> None:
        """The calls of the API: what the repository is, which files it has, which of some paths there are."""
        files = [_entry(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
        if verb == "tree":
            return self._send_json(files)
        if verb == "paths-info":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            return self._send_json([file for file in files if file["path"] in asked])
        siblings = [{"rfilename": file["path"]} for file in files]
        info = {"id": repo, "sha": _commit(folder), "private": False, "gated": repo in self.server.gated}
        return self._send_json({**info, "tags": [], "downloads": 0, "siblings": siblings})

    def _send_file(self, folder: Path, name: str) -> None:
        headers = {"X-Repo-Commit": _commit(folder)}
        if not (folder / name).is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", headers)
        content = (folder / name).read_bytes()
        entry = _entry(folder, folder / name)
        headers["ETag"] = f'"{entry["oid"]}"'
        if "lfs" in entry:
            headers |= {"X-Linked-ETag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
        return self._send(200, content, headers)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self._send_json({"error": message}, status, headers)

    def _send_json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are in `Hub.asked`."""


def _commit(folder: Path) -> str:
    return hashlib.sha1(str(folder).encode()).hexdigest()


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    """A file as the hub lists it; weights lie in its large file storage."""
    content = path.read_bytes()
    name, size = path.relative_to(folder).as_posix(), len(content)
    blob = hashlib.sha1(b"blob %d\0" % size + content).hexdigest()
    entry = {"type": "file", "path": name, "size": size, "oid": blob}
    if path.suffix in (".safetensors", ".bin"):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
    return entry
