"""An HTTP server before a real object store that fails now and then, as stores do.

Requests go on with every header as it came, so that their signatures stay valid; without a condition they are signed
anew.

    with FaultyStore("http://127.0.0.1:8333", rates={"slow_down": 0.02, "cut": 0.01}, seed=7) as store:
        os.environ["AWS_ENDPOINT_URL_S3"] = store.url
        ...
        assert store.injected["cut"]
"""

import http.client
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

REFUSALS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "too_many_requests": (429, "TooManyRequests", "Too many requests."),
    "conflict": (409, "ConditionalRequestConflict", "The conditional request conflicts with another."),
}
"""Answered without asking the store."""
ANY = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
FAULTS = {
    "slow_down": ANY,
    "internal_error": ANY,
    "too_many_requests": ANY,
    "conflict": frozenset({"PUT"}),
    # The connection ends before the store was asked,
    "reset": ANY,
    # or when it has done what it was asked, and before its answer,
    "lost": frozenset({"PUT", "POST", "DELETE"}),
    # or within the body of its answer,
    "cut": frozenset({"GET"}),
    # at once, or when it has sent nothing for a long time.
    "stall": frozenset({"GET"}),
}
"""By the methods that each can strike."""


@dataclass
class _Planned:
    fault: str
    methods: Collection[str]
    times: int


class Gate:
    """Holds requests until it is opened; by a method and words that their path has."""

    def __init__(self, method: str, *words: str) -> None:
        self.method, self.words = method, words
        self.opened = threading.Event()
        self.held = 0
        """Requests that have come, those among them that a client has given up."""

    def wait_for(self, requests: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.held < requests:
            assert time.monotonic() < deadline, f"{self.held} of {requests} requests came to {self.words}"
            time.sleep(0.05)


class FaultyStore:
    """Faults come as planned, else by seeded chance; a rate counts for requests whose method the fault can strike."""

    def __init__(
        self, target_url: str, rates: Mapping[str, float] | None = None, seed: int = 0, stall_seconds: float = 120.0
    ) -> None:
        self.rates = dict(rates or {})
        self.stall_seconds = stall_seconds
        self.ignores_conditions = False
        """Whether it writes over what is there although it is asked not to, as some stores do."""
        self.injected: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        """By method, those struck included."""
        self.closing = threading.Event()
        self.target = urlsplit(target_url).netloc
        self._random = random.Random(seed)
        self._planned: list[_Planned] = []
        self._gates: list[Gate] = []
        self._lock = threading.Lock()
        assert self.rates.keys() <= FAULTS.keys(), self.rates

    def plan(self, fault: str, methods: Collection[str] = (), times: int = 1) -> None:
        """The next `times` requests with one of the methods (else any that it can strike) meet this fault."""
        self._planned.append(_Planned(fault, methods or FAULTS[fault], times))

    def hold(self, method: str, *words: str) -> Gate:
        """From now on, requests of that method with all of these words in their path, before the store sees them."""
        self._gates.append(Gate(method, *words))
        return self._gates[-1]

    def wait_at_gates(self, method: str, path: str) -> None:
        for gate in self._gates:
            if method == gate.method and all(word in path for word in gate.words) and not gate.opened.is_set():
                with self._lock:
                    gate.held += 1
                while not gate.opened.wait(0.05) and not self.closing.is_set():
                    pass

    def fault_for(self, method: str) -> str | None:
        with self._lock:
            self.requests[method] += 1
            return self._next_planned(method) or self._by_chance(method)

    def count(self, fault: str) -> None:
        with self._lock:
            self.injected[fault] += 1

    def _next_planned(self, method: str) -> str | None:
        for planned in self._planned:
            if planned.times and method in planned.methods:
                planned.times -= 1
                return planned.fault
        return None

    def _by_chance(self, method: str) -> str | None:
        drawn = self._random.random()
        for fault, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return fault if method in FAULTS[fault] else None
        return None

    def __enter__(self) -> "FaultyStore":
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # Joined in the end, so that no socket outlives the server.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request, client_address) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else small answers wait for an acknowledgment.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        store = self.server.store
        body = self._request_body()
        store.wait_at_gates(self.command, self.path)
        fault = store.fault_for(self.command)
        if fault in REFUSALS:
            store.count(fault)
            self._refuse(*REFUSALS[fault])
        elif fault == "reset":
            store.count(fault)
            self._hang_up()
        else:
            status, headers, answer = self._forward(body)
            if fault == "lost":
                store.count(fault)
                self._hang_up()
            elif fault and answer:
                store.count(fault)
                self._answer(status, headers, answer[: len(answer) // 2])
                if fault == "stall":
                    store.closing.wait(store.stall_seconds)
                self._hang_up()
            else:
                self._answer(status, headers, answer)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  # http.server calls them by these names

    def _request_body(self) -> bytes:
        """As it is on the wire, the frames of chunks included."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wire = b""
        while True:
            size = self.rfile.readline()
            wire += size
            if not int(size.partition(b";")[0], 16):
                break
            wire += self.rfile.read(int(size.partition(b";")[0], 16) + 2)
        while (line := self.rfile.readline()).strip():
            wire += line
        return wire + line

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.store.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers(body):
                # This server has already said that it will take the body.
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value.encode("latin-1"))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            dropped = ("connection", "transfer-encoding")
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
            if answer.getheader("Transfer-Encoding"):
                headers.append(("Content-Length", str(len(content))))
            return answer.status, headers, content
        finally:
            connection.close()

    def _headers(self, body: bytes) -> list[tuple[str, str]]:
        if not self.server.store.ignores_conditions:
            return list(self.headers.items())
        dropped = ("if-none-match", "authorization")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        request = AWSRequest(self.command, f"http://{self.headers['Host']}{self.path}", headers, body)
        credentials = botocore.session.get_session().get_credentials()
        S3SigV4Auth(credentials, "s3", os.environ["AWS_REGION"]).add_auth(request)
        return list(request.headers.items())

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        self._answer(status, headers, b"" if self.command == "HEAD" else body)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """With the length that the store told, which is not that of a body cut short."""
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        # Closing then resets.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: object) -> None:
        """The tests ask `injected`."""
