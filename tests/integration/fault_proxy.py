"""A loopback HTTP proxy that spoils answers on purpose, between a client and its store.

    with FaultProxy("http://127.0.0.1:8085") as proxy:
        proxy.inject(Reset(after_bytes=1000), method="GET", path="/bucket/key", times=2)
        proxy.spoil(0.05, [Status(503), Reset()], seed=1)
        ...  # a client whose endpoint is proxy.url

Whole bodies are held in memory. The Host header is passed on, so signatures stay valid.
"""

import os
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_HOP_HEADERS = {"connection", "content-length", "expect", "keep-alive", "transfer-encoding"}
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Status:
    """Answer with an error of S3 instead of asking the store."""

    status: int
    code: str = "SlowDown"
    message: str = "injected"
    retry_after_seconds: int | None = None


@dataclass(frozen=True)
class Reset:
    """Send the first bytes of the store's body, then reset the connection."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Truncate:
    """Announce the whole body, send its first bytes and close the connection in order."""

    after_bytes: int = 0


@dataclass(frozen=True)
class LoseReply:
    """Let the store do the work, and reset the connection instead of answering."""


@dataclass(frozen=True)
class SlowStart:
    """Answer as the store does, some seconds late."""

    seconds: float


Fault = Status | Reset | Truncate | LoseReply | SlowStart


@dataclass
class _Rule:
    fault: Fault
    method: str
    path: str
    times: int


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: list[tuple[str, str]]
    num_bytes: int
    body: bytes


class FaultProxy:
    """Forwards requests to one store; `requests` lists those seen, as "METHOD /path"."""

    def __init__(self, upstream_url: str) -> None:
        self.upstream = urlsplit(upstream_url).netloc
        self.requests: list[str] = []
        self.num_faults = 0
        self._rules: list[_Rule] = []
        self._share, self._faults, self._rng = 0.0, list[Fault](), random.Random(0)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def inject(self, fault: Fault, *, method: str = "", path: str = "", times: int = 1) -> None:
        """Spoil the next `times` requests of this method whose target contains `path`."""
        with self._lock:
            self._rules.append(_Rule(fault, method, path, times))

    def spoil(self, share: float, faults: Sequence[Fault], *, seed: int) -> None:
        """Spoil a share of all requests from now on, each by one of `faults`."""
        with self._lock:
            self._share, self._faults, self._rng = share, list(faults), random.Random(seed)

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Record a request and use up one time of the first rule that matches it."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            for rule in self._rules:
                if rule.times > 0 and rule.method in ("", method) and rule.path in path:
                    rule.times -= 1
                    return rule.fault
            if self._rng.random() < self._share:
                self.num_faults += 1
                return self._rng.choice(self._faults)
        return None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: FaultProxy

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that hangs up after a fault is the purpose of this proxy.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        request_body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.proxy.fault_for(self.command, self.path)
        if isinstance(fault, Status):
            self._send(_error_reply(fault))
            return
        if isinstance(fault, SlowStart):
            time.sleep(fault.seconds)
            fault = None
        reply = _forward(self.server.proxy.upstream, self, request_body)
        if isinstance(fault, LoseReply):
            self._reset()
        elif fault is None:
            self._send(reply)
        else:
            self._send(reply, fault.after_bytes)
            if isinstance(fault, Reset):
                self._reset()
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _send(self, reply: _Reply, max_bytes: int | None = None) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(reply.num_bytes))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:max_bytes])

    def _reset(self) -> None:
        # Lingering for no time makes close() send RST; detached, for nothing to send FIN first.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        os.close(self.connection.detach())
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Stay silent; `requests` holds what a test may ask for."""


def _forward(upstream: str, request: BaseHTTPRequestHandler, body: bytes) -> _Reply:
    connection = HTTPConnection(upstream, timeout=_TIMEOUT_SECONDS)
    try:
        connection.putrequest(
            request.command, request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in _end_to_end(request.headers):
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read()
        # The answer to HEAD announces a body that it does not have.
        num_bytes = int(response.headers.get("Content-Length", len(data)))
        return _Reply(response.status, _end_to_end(response.headers), num_bytes, data)
    finally:
        connection.close()


def _end_to_end(headers: Message) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in _HOP_HEADERS]


def _error_reply(fault: Status) -> _Reply:
    xml = f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
    headers = [("Content-Type", "application/xml")]
    if fault.retry_after_seconds is not None:
        headers.append(("Retry-After", str(fault.retry_after_seconds)))
    return _Reply(fault.status, headers, len(xml.encode()), xml.encode())
