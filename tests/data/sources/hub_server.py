"""A server that stands in for the Hugging Face Hub: one dataset at one commit, and faults on demand."""

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

REPO = "owner/texts"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """``files``: name → content. ``small``: names listed by git's digest. ``faults``: answers to give first, by path.

    A fault is (status, headers), or ("break", bytes) for a connection that ends after so many bytes of a file.
    ``asked`` counts requests by path, ``ranges`` holds the ``Range`` headers, ``tokens`` those of ``Authorization``.
    """

    def __init__(self, files, small=()):
        self.files, self.small = files, small
        self.faults = {}
        self.page = 2
        self.ignore_ranges = False
        self.asked, self.ranges, self.tokens = Counter(), [], set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
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
        self.asked[path] += 1
        self.ranges.append(request.headers.get("Range"))
        self.tokens.add(request.headers.get("Authorization"))
        fault = self.faults[path].pop(0) if self.faults.get(path) else None
        if fault and fault[0] != "break":
            return send(request, fault[0], b"", fault[1])
        if path == f"/api/datasets/{REPO}/revision/main":
            return send(request, 200, json.dumps({"sha": COMMIT}).encode())
        if path == f"/api/datasets/{REPO}/tree/{COMMIT}":
            return self.listing(request, query)
        place = f"/datasets/{REPO}/resolve/{COMMIT}/"
        name = path.removeprefix(place)
        if path.startswith(place) and name in self.files:
            return self.file(request, self.files[name], fault)
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

    def file(self, request, content, fault):
        start = 0
        if request.headers.get("Range") and not self.ignore_ranges:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = content[start:]
        if fault:
            request.send_response(206 if start else 200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: fault[1]])
            request.wfile.flush()
            request.close_connection = True
            return
        send(request, 206 if start else 200, body)


def send(request, status, body, headers=None):
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
