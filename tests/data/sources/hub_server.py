"""A server that stands in for the Hugging Face Hub: one dataset at one commit, and faults on demand."""

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import unquote

REPO = "owner/texts"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def without_waiting(monkeypatch):
    """The library tries again at once; returns the list to which the seconds go that it wanted to wait."""
    waited = []
    for module in ("utils._http", "file_download"):
        hurried = SimpleNamespace(**{**vars(time), "sleep": waited.append})
        monkeypatch.setattr(f"huggingface_hub.{module}.time", hurried)
    return waited


class HubServer:
    """``files``: name → content. ``small``: names listed by git's digest. ``faults``: answers to give first, by path.

    A fault is (status, headers), or ("break", bytes) for a connection that ends after so many bytes of a file, or
    ("reset", bytes). ``asked`` counts requests by path, without the ``HEAD`` before each download. ``ranges`` holds the
    ``Range`` headers, ``tokens`` those of ``Authorization``, by the host that was asked. ``elsewhere``: large files lie
    on another host, as on the Hub. ``xet``: name → hash, for files that lie in the folder ``xet_store``.
    """

    def __init__(self, files, small=()):
        self.files, self.small = files, small
        self.faults = {}
        self.page = 2
        self.ignore_ranges = False
        self.elsewhere, self.xet, self.xet_store = False, {}, None
        self.asked, self.ranges, self.tokens = Counter(), [], defaultdict(set)
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        path, _, query = unquote(request.path).partition("?")
        host = request.headers["Host"].partition(":")[0]
        self.tokens[host].add(request.headers.get("Authorization"))
        faults = self.faults.get(path, [])
        if request.command == "GET":
            self.asked[path] += 1
            self.ranges.append(request.headers.get("Range"))
        elif faults and faults[0][0] in ("break", "reset"):
            faults = []  # these come with the content
        fault = faults.pop(0) if faults else None
        if fault and fault[0] not in ("break", "reset"):
            return send(request, fault[0], b"", fault[1])
        if path == f"/api/datasets/{REPO}/revision/main":
            return send(request, 200, json.dumps({"id": REPO, "sha": COMMIT}).encode())
        if path == f"/api/datasets/{REPO}/xet-read-token/{COMMIT}":
            token = {"casUrl": f"local://{self.xet_store}", "accessToken": "x", "exp": int(time.time()) + 3600}
            return send(request, 200, json.dumps(token).encode())
        if path == f"/api/datasets/{REPO}/tree/{COMMIT}":
            return self.listing(request, query)
        place = f"/datasets/{REPO}/resolve/{COMMIT}/"
        name = path.removeprefix(place)
        if path.startswith(place) and name in self.files:
            return self.file(request, name, fault, host)
        code = "RevisionNotFound" if REPO in path else "RepoNotFound"
        return send(request, 404, b"", {"X-Error-Code": "EntryNotFound" if path.startswith(place) else code})

    def listing(self, request, query):
        entries = [{"type": "directory", "path": "data", "size": 0, "oid": "0"}]
        for name, content in self.files.items():
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            entry = {"type": "file", "path": name, "size": len(content), "oid": git}
            if name not in self.small:
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            entries.append(entry)
        start = int(dict(item.split("=") for item in query.split("&")).get("cursor", 0))
        end = start + self.page
        more = f"{self.url}{request.path.partition('?')[0]}?recursive=true&cursor={end}"
        headers = {"Link": f'<{more}>; rel="next"'} if end < len(entries) else {}
        send(request, 200, json.dumps(entries[start:end]).encode(), headers)

    def file(self, request, name, fault, host):
        content = self.files[name]
        if name in self.xet:
            route = f"{self.url}/api/datasets/{REPO}/xet-read-token/{COMMIT}"
            headers = {"X-Xet-Hash": self.xet[name], "X-Xet-Refresh-Route": route, "ETag": '"made"'}
        elif self.elsewhere and name not in self.small and host == "127.0.0.1":
            place = f"http://localhost:{self._server.server_port}{request.path}"
            return send(request, 302, b"", {"Location": place, "X-Linked-Size": str(len(content))})
        else:
            headers = {"ETag": '"made"'}
        start = 0
        if request.headers.get("Range") and not self.ignore_ranges:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        status = 206 if start else 200
        if not fault:
            return send(request, status, body, headers)
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: fault[1]])
        request.wfile.flush()
        if fault[0] == "reset":  # closed with what is left unsent: the other side reads an error, and not an end
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.05)  # the other side reads first: a reset throws away what it has not read
            request.connection.close()
        request.close_connection = True
        return None


def send(request, status, body, headers=None):
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


@contextmanager
def hub_instead(monkeypatch, folder, files, small=()):
    """A server that this process takes for the Hub; nobody is logged in. ``folder``: where a login would be."""
    server = HubServer(files, small)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # The library reads these once, when it is imported; other tests set the first.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "login" / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(folder / "login" / "stored_tokens"))
    server.waited = without_waiting(monkeypatch)
    try:
        yield server
    finally:
        server.close()
