"""An API server of the tests' own: it keeps RayJobs as that of Kubernetes would, and lets one account in."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.manifests import Object

TOKEN = "of-the-account"
NAMESPACE = "longhaul"


class Kubernetes(ThreadingHTTPServer):
    """What becomes of RayJobs is up to a subclass, in place of KubeRay's operator."""

    def __init__(self, template: Object, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.rayjobs: dict[str, Object] = {template["metadata"]["name"]: template}
        self.verbs: set[str] = set()
        """That the account has needed."""

    def begin(self, name: str, rayjob: Object) -> None:
        """There is a new one."""
        raise NotImplementedError

    def status(self, name: str) -> Object | int:
        """Of one that has begun, or the code of a request that fails."""
        raise NotImplementedError

    def answer(self, name: str) -> tuple[int, Object]:
        self.verbs.add("get")
        if name not in self.rayjobs:
            return 404, {}
        status = {} if self.rayjobs[name]["spec"]["suspend"] else self.status(name)
        return (status, {}) if isinstance(status, int) else (200, self.rayjobs[name] | {"status": status})

    def create(self, rayjob: Object) -> int:
        self.verbs.add("create")
        name = rayjob["metadata"]["name"]
        if name in self.rayjobs:
            return 409
        self.rayjobs[name] = rayjob
        self.begin(name, rayjob)
        return 201

    @contextmanager
    def serving(self) -> Iterator[None]:
        with self:
            thread = Thread(target=self.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield
            finally:
                self.shutdown()
                thread.join()


class Answer(BaseHTTPRequestHandler):
    server: Kubernetes

    def do_GET(self) -> None:
        self._say(*self.server.answer(self.path.rpartition("/")[2]))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._say(self.server.create(body), {})

    def _say(self, code: int, body: Object) -> None:
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        path = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs"
        self.send_response(code if allowed and self.path.startswith(path) else 403)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""
