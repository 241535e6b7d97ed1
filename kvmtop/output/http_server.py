"""One page over HTTP: GET /metrics, for no more than a few clients at once and not for long."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from socketserver import ThreadingTCPServer
from typing import Any

from ..errors import KvmtopError

MOST_CLIENTS, LONGEST_REQUEST, PATIENCE = 32, 8192, 10.0  # connections at once; bytes; seconds for each
PLAIN = "text/plain; charset=utf-8"

Page = Callable[[str], tuple[bytes, str]]  # from an Accept header to the content and its type


class Server(ThreadingTCPServer):
    """Serves one page to whoever asks, each client in a thread of its own."""

    def __init__(self, address: str, port: int) -> None:
        """Take the port; nothing is served yet. Raises KvmtopError."""
        try:
            family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            super().__init__(("", 0), _Client, bind_and_activate=False)
            self.socket.close()
            self.socket = socket.create_server(where, family=family)
        except OSError as error:
            raise KvmtopError(
                f"cannot serve metrics on {address} port {port}: {error.strerror}; choose another port"
            ) from None
        ip, self.port = self.socket.getsockname()[:2]
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}/metrics"
        self._name, self._private = address.lower(), _loopback(ip)
        self._clients: dict[Any, float] = {}  # until when each may stay, the oldest first
        # One thing at a time: while a page is made, nobody comes and nobody is turned out.
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, page: Page) -> None:
        """page: it may raise KvmtopError."""
        self._page = page
        self._thread = threading.Thread(target=self.serve_forever, name="openmetrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, whoever is still connected."""
        if self._thread:
            self.socket.shutdown(socket.SHUT_RDWR)  # it wakes up at once
            self.shutdown()
        with self._turn:
            self._turn_out(list(self._clients))
        self.server_close()

    def page(self, client: socket.socket, accept: str) -> tuple[bytes, str]:
        """The page, for a client that may still stay. Raises KvmtopError, and OSError."""
        with self._turn:
            if not self._clients[client]:
                raise ConnectionAbortedError
            return self._page(accept)

    def knows(self, host: str) -> bool:
        """Whether this Host may be asked for. A web page of evil.example that lets its name point to 127.0.0.1 is
        let read what comes from there (DNS rebinding); its browser tells us the name.
        """
        found = re.fullmatch(r"(\[.*\]|[^:]*)(:\d*)?", host.lower())
        name = found[1].strip("[]") if found else ""
        return not self._private or name in ("localhost", self._name) or _loopback(name)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Where there are too many, the oldest has to go: whoever asks and reads at once is gone by then."""
        with self._turn:
            if len(self._clients) >= MOST_CLIENTS:
                self._turn_out([next(iter(self._clients))])
                self._turn.wait_for(lambda: len(self._clients) < MOST_CLIENTS)
            self._clients[request] = time.monotonic() + PATIENCE
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A client's thread has ended."""
        with self._turn:
            del self._clients[request]
            self._turn.notify()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Each half second: the slow ones have to go."""
        with self._turn:
            self._turn_out([client for client, end in self._clients.items() if time.monotonic() > end])

    def _turn_out(self, clients: list[socket.socket]) -> None:
        """Their threads read an end and cannot write, so they end."""
        for client in clients:
            self._clients[client] = 0
            with contextlib.suppress(OSError):  # it has gone by itself
                client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nobody's trouble."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class _Head:
    """What a client sends, up to LONGEST_REQUEST bytes."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file, self._left = file, LONGEST_REQUEST
        self.close = file.close

    def readline(self, most: int) -> bytes:
        if not self._left:
            raise LineTooLong("request")
        line = self._file.readline(min(most, self._left))
        self._left -= len(line)
        return line


class _Client(BaseHTTPRequestHandler):
    """One request, one answer."""

    server: Server
    raw_requestline: bytes
    protocol_version = "HTTP/1.1"
    default_request_version = request_version = ""  # where a request names none
    command = ""
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.rfile = _Head(self.rfile)  # type: ignore[assignment]

    def parse_request(self) -> bool:
        """Whether it is a request for the page; all others are answered here."""
        if not self.raw_requestline.strip():
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif super().parse_request():
            if not self.request_version:
                self.send_error(HTTPStatus.BAD_REQUEST)
            elif not all(map(self.server.knows, self.headers.get_all("Host", []))):
                text = f"on this host alone: ask for localhost:{self.server.port} or {self.server.url}\n"
                self._answer(HTTPStatus.MISDIRECTED_REQUEST, text.encode())
            elif self.path.partition("?")[0] != "/metrics":
                self._answer(HTTPStatus.NOT_FOUND, b"metrics are at /metrics\n")
            elif self.command not in ("GET", "HEAD"):
                self._answer(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
            else:
                return True
        return False

    def do_GET(self) -> None:
        """The page."""
        try:
            content, kind = self.server.page(self.request, ",".join(self.headers.get_all("Accept", [])))
        except KvmtopError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
        else:
            self._answer(HTTPStatus.OK, content, kind)

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Without http.server's page for people."""
        self._answer(code)

    def _answer(self, code: int, content: bytes = b"", kind: str = PLAIN, **more: str) -> None:
        self.send_response_only(code)
        head = {"Content-Type": kind, "Content-Length": str(len(content)), **more, "Connection": "close"}
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Standard error is for kvmtop's own sentences."""
