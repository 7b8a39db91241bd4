"""A Hub on loopback that speaks the protocol of `huggingface_hub` over HTTP: routes, tokens, pages, redirects, broken connections."""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.storage import Fault, Refused, Storage

PAGE = 5  # entries of a listing at once: the client has to follow to the next
REPO = r"(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
REV = r"(?P<revision>[^/]+)"
ROUTES = [  # method, path, what answers: a name of Storage's, with a body where the route takes one
    ("GET", r"/api/whoami-v2", "whoami", None),
    ("POST", r"/api/repos/create", "create", "json"),
    ("POST", r"/api/validate-yaml", "validate", "json"),
    ("GET", rf"/api/{REPO}(/revision/{REV})?", "info", None),
    ("GET", rf"/api/{REPO}/refs", "refs", None),
    ("GET", rf"/api/{REPO}/commits/{REV}", "commits_of", None),
    ("GET", rf"/api/{REPO}/tree/{REV}", "tree", None),
    ("POST", rf"/api/{REPO}/preupload/{REV}", "preupload", "json"),
    ("POST", rf"/api/{REPO}/commit/{REV}", "commit", "lines"),
    ("POST", rf"/api/{REPO}/branch/(?P<branch>[^/]+)", "branch", "json"),
    ("POST", rf"/api/{REPO}/tag/{REV}", "tag", "json"),
    ("POST", rf"/{REPO}/verify", "verify", "json"),
    ("POST", r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch", "json"),
    ("POST", rf"/lfs/{REPO}/(?P<oid>\w+)/complete", "complete", "json"),
    ("PUT", rf"/lfs/{REPO}/(?P<oid>\w+)(/(?P<part>\d+))?", "put", "bytes"),
    ("GET", rf"/lfs/{REPO}/(?P<oid>\w+)", "download", None),
    ("GET|HEAD", rf"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/{REV}/(?P<path>.+)", "resolve", None),
]


class Gone(Exception):
    """The connection is to end without an answer."""


class Handler(BaseHTTPRequestHandler):
    """One connection. `storage` is set by `serve`."""

    protocol_version = "HTTP/1.1"
    storage: Storage

    def do_GET(self) -> None:
        self.close_connection = False
        parts = urlsplit(self.path)
        self.asked, self.query = unquote(parts.path), parse_qs(parts.query)
        with self.storage.lock:
            self.storage.requests.append((self.command, self.asked))
            fault = self.storage.fault(self.command, self.asked)
        try:
            body = self.body(fault)
            if fault and fault.status:
                raise Refused(fault.status, fault.words)
            status, headers, data = self.route(body)
            if fault and fault.unanswered:
                raise Gone
        except Gone:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        except Refused as refused:
            headers = {"X-Error-Message": refused.words} | ({"X-Error-Code": refused.code} if refused.code else {})
            status, data = refused.status, json.dumps({"error": refused.words} | refused.more).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_POST = do_PUT = do_HEAD = do_GET

    def body(self, fault: Fault | None) -> bytes:
        """Read the request's body, or as much of it as a fault lets through."""
        length = int(self.headers.get("Content-Length", 0))
        if fault and (fault.cut_after is not None or fault.hold):
            self.rfile.read(min(length, fault.cut_after or 1))
            if fault.hold:
                fault.hold.set()
                self.rfile.read(length)  # until the client goes away
            raise Gone
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        data = self.rfile.read(length)
        if len(data) < length:
            raise Gone  # the client ended before its body did
        return data

    def route(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = (
            (match, name, form)
            for method, pattern, name, form in ROUTES
            if self.command in method.split("|") and (match := re.fullmatch(pattern, self.asked))
        )
        match, name, form = next(found, (None, "", None))
        if match is None:
            raise Refused(404, f"nothing answers {self.command} {self.asked}")
        named = {key: value for key, value in match.groupdict().items() if value is not None}
        if name == "resolve" or name == "batch":
            named["kind"] = named.get("kind", "models/").strip("/")
        sent = self.headers.get("Authorization")
        if self.asked.startswith("/lfs/") and not self.asked.endswith("/complete"):
            assert sent is None, "a signed address takes no token"
        elif name not in ("complete", "resolve", "info", "tree") and sent != f"Bearer {self.storage.token}":
            raise Refused(401, "Invalid credentials in Authorization header")
        with self.storage.lock:
            own = getattr(self, f"answer_{name}", None)
            if own:
                return own(body, **named)
            if name == "info":
                named.setdefault("revision", "main")
            if form == "json":
                named["body"] = json.loads(body)
            if form == "lines":
                named["body"] = [json.loads(line) for line in body.splitlines()]
            told = getattr(self.storage, name)(**named)
        return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()

    def answer_validate(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not json.loads(body)["content"].startswith("---\n"):
            return 400, {}, json.dumps({"errors": [{"message": "metadata is missing"}], "warnings": []}).encode()
        return 200, {}, b'{"errors": [], "warnings": []}'

    def answer_commits_of(self, body: bytes, kind: str, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        repository = self.storage.repository(kind, name)
        rows = [
            {
                "id": oid,
                "title": repository.commits[oid].title,
                "message": "",
                "authors": [{"user": "t"}],
                "date": "2026-01-01T00:00:00.000Z",
            }
            for oid in repository.history(revision)
        ]
        return self.page(rows)

    def answer_tree(self, body: bytes, kind: str, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        tree = self.storage.repository(kind, name).tree(revision)
        folders = {path.rpartition("/")[0] for path in tree if "/" in path}
        rows = [blob.info(path) for path, blob in sorted(tree.items())]
        return self.page(rows + [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)])

    def page(self, rows: list[dict]) -> tuple[int, dict[str, str], bytes]:
        """Answer with some rows, and with where the next ones are."""
        start = int(self.query.get("cursor", ["0"])[0])
        more = {"Link": f'<{self.storage.url}{self.asked}?cursor={start + PAGE}>; rel="next"'} if start + PAGE < len(rows) else {}
        return 200, {"Content-Type": "application/json"} | more, json.dumps(rows[start : start + PAGE]).encode()

    def answer_put(self, body: bytes, kind: str, name: str, oid: str, part: str = "") -> tuple[int, dict[str, str], bytes]:
        if part:
            self.storage.parts.setdefault(oid, {})[int(part)] = body
        else:
            self.storage.store(kind, name, oid, body)
        return 200, {"ETag": hashlib.md5(body).hexdigest()}, b""

    def answer_download(self, body: bytes, kind: str, name: str, oid: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, self.storage.repository(kind, name).objects[oid]

    def answer_resolve(self, body: bytes, kind: str, name: str, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        repository = self.storage.repository(kind, name)
        commit = repository.find(revision)
        blob = repository.commits[commit].tree.get(path)
        if blob is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.oid}"'}
        if not blob.sha256:
            return 200, headers | {"Content-Length": str(blob.size)}, blob.data
        linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        host = self.storage.url.replace("127.0.0.1", "localhost")  # another host, as that of a CDN: the token must not go there
        return 302, headers | linked | {"Location": f"{host}/lfs/{kind}/{name}/{blob.sha256}"}, b""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(storage: Storage) -> Iterator[Storage]:
    """Serve a storage on loopback while entered."""
    handler = type("Bound", (Handler,), {"storage": storage})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    storage.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
