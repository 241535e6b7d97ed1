from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.output import http_server
from kvmtop.output.http_server import MOST_CLIENTS, Server
from kvmtop.output.prometheus import Exporter

from ..support.fake import Busy
from ..support.program import until
from ..support.scraped import get, series


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("127.0.0.1", 0)
    exporter = Exporter(Busy())
    server.start(exporter.scrape)
    yield server
    server.stop()


def ask(server: Server, method: str, path: str) -> tuple[int, bytes, http.client.HTTPResponse]:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    client.request(method, path, headers={"Accept": "text/plain"})
    response = client.getresponse()
    return response.status, response.read(), response


def send(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("GET", "/metrics?x=1", 200),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 405),
        ("HEAD", "/metrics", 200),
        ("HEAD", "/", 404),
        ("BREW", "/metrics", 405),
        ("DELETE", "/", 404),
        ("GET", "http://127.0.0.1/metrics", 404),
    ],
)
def test_one_page(server: Server, method: str, path: str, status: int) -> None:
    found, content, response = ask(server, method, path)
    assert found == status
    assert response.headers["Connection"] == "close"
    assert method != "HEAD" or content == b""
    if status == 200:
        assert method == "HEAD" or get(series(content), "kvmtop_vms") == 2
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    if status == 405:
        assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"\xff\x00\xfe\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/2\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1\nSet-Cookie: a\r\n\r\n", b"200"),
    ],
    ids=range(7),
)
def test_odd_requests(server: Server, request_: bytes, status: bytes) -> None:
    try:
        answer = send(server, request_)
    except ConnectionResetError:  # it was not read to its end
        assert status == b"431"
        return
    assert answer.split(b" ")[1] == status
    assert b"Set-Cookie" not in answer


def test_what_is_sent_to_the_byte(server: Server) -> None:
    server._page = lambda accept: (b"page " + accept.encode(), "text/fancy")
    request = b"GET /metrics HTTP/1.1\r\nAccept: a, b\r\nHost: localhost\r\naccept: c\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/fancy\r\nContent-Length: 11\r\nConnection: close\r\n\r\n"
    assert send(server, request) == head + b"page a, b,c"
    assert send(server, request.replace(b"GET", b"HEAD")) == head
    plain = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"
    found = send(server, b"GET / HTTP/1.1\r\n\r\n")
    assert found == b"HTTP/1.1 404 Not Found\r\n" + plain % (24, b"") + b"metrics are at /metrics\n"
    found = send(server, b"PUT /metrics HTTP/1.1\r\n\r\n")
    assert found == b"HTTP/1.1 405 Method Not Allowed\r\n" + plain % (0, b"Allow: GET, HEAD\r\n")
    assert send(server, b"<script>\r\n\r\n") == b"HTTP/1.1 400 Bad Request\r\n" + plain % (0, b"")


@pytest.mark.parametrize(("part", "times"), [("X: %s\r\n", 90), ("X: %s\r\n", 1), ("%s", 1)])
def test_a_request_is_bounded_as_a_whole(server: Server, part: str, times: int) -> None:
    for length, status in ((7000, b"200"), (http_server.LONGEST_REQUEST, b"431")):
        more = part % ("x" * (length // times)) * times
        path, headers = ("", more) if part.endswith("\n") else (more, "")
        request = f"GET /metrics?{path} HTTP/1.1\r\n{headers}\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            try:
                client.sendall(request.encode())
                assert client.recv(100).split()[1] == status
            except ConnectionResetError:  # it was not read to its end
                assert status == b"431"


LOCAL = ["localhost", "LOCALHOST:9960", "127.0.0.1", "127.0.0.1:1", "127.255.0.9:80", "[::1]", "[::1]:9960"]
NAMES = ["evil.example", "evil.example:9960", "localhost.evil.example", "127.0.0.1.evil.example"]
ODD = ["", ":9960", "[", "[::1", "evil.example\\@x", "localhost/@evil.example:1x", "\xff"]
FOREIGN = [*NAMES, "192.0.2.1", "[::2]", "0.0.0.0", *ODD]


@pytest.mark.parametrize("host", [*LOCAL, *FOREIGN])
def test_whose_name_a_web_page_lends_it(server: Server, host: str) -> None:
    """DNS rebinding: the browser is at 127.0.0.1, and asks for evil.example."""
    answer = send(server, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    if host in LOCAL:
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"web01" in answer
    else:
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        assert content.count(b"\n") == 1 and server.url.encode() in content


def test_two_hosts_are_one_too_many(server: Server) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert send(server, request).split()[1] == b"421"


def test_a_public_server_is_asked_by_any_name() -> None:
    server = Server("0.0.0.0", 0)
    server.start(Exporter(Busy()).scrape)
    for host in LOCAL + FOREIGN:
        request = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        assert send(server, request).split()[1] == b"200", host
    server.stop()


def test_the_name_that_it_was_started_with_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's /etc/hosts gives a host's own name to 127.0.1.1."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    server = Server("Kvm7", 0)
    assert server.knows(f"kvm7:{server.port}") and server.knows("localhost") and not server.knows("kvm8")
    server.stop()


def test_slow_clients_are_cut_off_and_in_nobodys_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 2.0)
    began, slow = (
        time.monotonic(),
        [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(10)],
    )
    for client in slow:
        client.sendall(b"GET /metr")
    assert ask(server, "GET", "/metrics")[0] == 200
    assert time.monotonic() - began < 2
    while time.monotonic() - began < 1.5:  # a byte now and then does not help
        slow[0].sendall(b"i")
        time.sleep(0.1)
    for client in slow:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
        client.close()
    assert 1.9 < time.monotonic() - began < 10


def test_hundreds_of_clients_that_are_idle_or_slow_lock_nobody_out(server: Server) -> None:
    """Idle ones, ones in the middle of a request, and ones that do not read: the oldest have to go."""
    page = server._page
    server._page = lambda accept: (b"x" * 5_000_000, "text/plain") if accept == "all" else page(accept)
    before, clients = len(os.listdir("/proc/self/fd")), list[socket.socket]()
    threads = threading.active_count()
    for request in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nAccept: all\r\n\r\n") * 100:
        clients.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        clients[-1].sendall(request)
        assert len(server._clients) <= MOST_CLIENTS
        assert threading.active_count() - threads <= MOST_CLIENTS + 3  # the server's, and those that are ending
    for _ in range(5):
        began = time.monotonic()
        assert ask(server, "GET", "/metrics")[0] == 200
        assert time.monotonic() - began < http_server.PATIENCE / 2
    assert len(os.listdir("/proc/self/fd")) - before <= len(clients) + MOST_CLIENTS + 1
    with contextlib.suppress(ConnectionResetError):
        assert clients[0].recv(10) == b""  # it was let go
    for client in clients:
        client.close()


def test_many_at_once(server: Server) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ask(server, "GET", "/metrics")[0])) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 25


def test_a_client_that_does_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 1.0)
    server._page = lambda accept: (b"x" * 50_000_000, "text/plain")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        until(lambda: len(server._clients) == 1)
        until(lambda: not server._clients)


def test_a_source_that_fails() -> None:
    def page(accept: str) -> tuple[bytes, str]:
        raise KvmtopError("the map has gone")

    server = Server("127.0.0.1", 0)
    server.start(page)
    status, content, _ = ask(server, "GET", "/metrics")
    assert (status, content) == (503, b"the map has gone\n")
    server.stop()


def test_it_ends_at_once_whoever_is_connected() -> None:
    server = Server("127.0.0.1", 0)
    server.start(Exporter(Busy()).scrape)
    with socket.create_connection(("127.0.0.1", server.port)):
        until(lambda: len(server._clients) == 1)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < http_server.PATIENCE / 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_ipv6() -> None:
    server = Server("::1", 0)
    server.start(Exporter(Busy()).scrape)
    assert server.url == f"http://[::1]:{server.port}/metrics"
    with urllib.request.urlopen(server.url, timeout=10) as response:
        assert response.status == 200
    server.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_a_port_that_cannot_be_had(address: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(KvmtopError, match="cannot serve metrics on") as told,
    ):
        Server(address, taken.getsockname()[1])
    assert "None" not in str(told.value)
