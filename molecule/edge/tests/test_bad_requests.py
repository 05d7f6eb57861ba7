"""Requests that could be read in two ways are refused with a 4xx, and reach neither the application nor a file."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from tests.stack import Stack

NAME = "edge.test"


def told(stack: Stack, sent: bytes, name: str = NAME) -> bytes:
    """Send bytes as they are over TLS, and return all that comes back until the end."""
    received = b""
    with (
        socket.create_connection((stack.address, stack.https_port), timeout=20) as connection,
        stack.context().wrap_socket(connection, server_hostname=name) as tls,
    ):
        tls.settimeout(5)
        # It may be refused, and the connection closed, before all of it is sent.
        with suppress(OSError):
            tls.sendall(sent)
        try:
            while piece := tls.recv(65536):
                received += piece
        except OSError:
            pass
    return received


def calls(stack: Stack) -> int:
    """Return how many requests the application has seen."""
    return int(stack.get(f"https://{NAME}/calls").json()["calls"])


HOST = f"Host: {NAME}\r\n"
POST = f"POST /seen HTTP/1.1\r\n{HOST}"
BAD = {
    "CL and TE": f"{POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE and CL": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n\r\n0\r\n\r\n",
    "two lengths": f"{POST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": f"{POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": f"{POST}Content-Length: 1, 1\r\n\r\na",
    "a signed length": f"{POST}Content-Length: +1\r\n\r\na",
    "a negative length": f"{POST}Content-Length: -1\r\n\r\na",
    "a length in hex": f"{POST}Content-Length: 0x1\r\n\r\na",
    "a length without end": f"{POST}Content-Length: {'9' * 40}\r\n\r\na",
    "an encoding twice": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "an encoding of none": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk without size": f"{POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "chunks in HTTP/1.0": f"POST /seen HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": f"{POST}Content-Length : 1\r\nContent-Length: 2\r\n\r\nab",
    "no host": "GET /seen HTTP/1.1\r\n\r\n",
    "two hosts": f"GET /seen HTTP/1.1\r\n{HOST}Host: plain.test\r\n\r\n",
    "a host with a slash": f"GET /seen HTTP/1.1\r\nHost: {NAME}/x\r\n\r\n",
    "a host with a blank": f"GET /seen HTTP/1.1\r\nHost: {NAME} x\r\n\r\n",
    "a host with dots": f"GET /seen HTTP/1.1\r\nHost: {NAME}..\r\n\r\n",
    "a host with a null": f"GET /seen HTTP/1.1\r\nHost: {NAME}\0x\r\n\r\n",
    "a host that is not ours": "GET /seen HTTP/1.1\r\nHost: stranger.test\r\n\r\n",
    "an address as host": "GET /seen HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "TRACE": f"TRACE /seen HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT": f"CONNECT {NAME}:443 HTTP/1.1\r\n{HOST}\r\n",
    "a null in the path": f"GET /seen%00 HTTP/1.1\r\n{HOST}\r\n",
    "a raw null in the path": f"GET /seen\0 HTTP/1.1\r\n{HOST}\r\n",
    "no slash": f"GET seen HTTP/1.1\r\n{HOST}\r\n",
    "above the root": f"GET /../seen HTTP/1.1\r\n{HOST}\r\n",
    "above the root, encoded": f"GET /%2e%2e/seen HTTP/1.1\r\n{HOST}\r\n",
    "half an escape": f"GET /seen%2 HTTP/1.1\r\n{HOST}\r\n",
    "no version that is": f"GET /seen HTTP/3.9\r\n{HOST}\r\n",
    "a large header": f"GET /seen HTTP/1.1\r\n{HOST}X-Large: {'a' * 40_000}\r\n\r\n",
    "many large headers": f"GET /seen HTTP/1.1\r\n{HOST}"
    + f"X-Large: {'a' * 7_000}\r\n" * 8
    + "\r\n",
    "a long address": f"GET /seen?{'a' * 40_000} HTTP/1.1\r\n{HOST}\r\n",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_can_be_read_in_two_ways_is_refused(stack: Stack, kind: str) -> None:
    before = calls(stack)
    answer = told(stack, BAD[kind].encode())
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "one answer, and nothing smuggled behind it"
    assert b"nginx/" not in answer
    assert calls(stack) == before, "the application was asked"


def test_that_the_application_is_asked_is_counted(stack: Stack) -> None:
    before = calls(stack)
    answer = told(stack, f"GET /seen HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    assert calls(stack) == before + 1


def test_what_is_too_large_is_named(stack: Stack) -> None:
    assert told(stack, BAD["a large header"].encode()).startswith(b"HTTP/1.1 431 ")
    assert told(stack, BAD["a long address"].encode()).startswith(b"HTTP/1.1 414 ")
    assert told(stack, BAD["a host that is not ours"].encode()).startswith(b"HTTP/1.1 421 ")


def test_a_field_with_an_underscore_is_not_taken_for_another(stack: Stack) -> None:
    seen = stack.get(f"https://{NAME}/seen", headers={"X_Forwarded_For": "6.6.6.6"}).json()
    assert not [value for _, value in seen["headers"] if value == "6.6.6.6"]


PATHS = [
    "/static/../src/main.py",
    "/static/%2e%2e/src/main.py",
    "/static/%2e%2e%2fsrc/main.py",
    "/static/..%2fsrc/main.py",
    "/static/.%2e/src/main.py",
    "/static/%252e%252e/src/main.py",
    "/static/..;/src/main.py",
    "/static/..\\src\\main.py",
    "/static/..%5csrc/main.py",
    "/static/%c0%ae%c0%ae/src/main.py",
    "/static../src/main.py",
    "/static..%2fsrc/main.py",
    "/static//../src/main.py",
    "//static/../src/main.py",
    "/static////etc/passwd",
    "/static//etc/passwd",
    "/static/./../../../../../../etc/passwd",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/static/style.css%00.html",
    "/static/style.css/../../src/main.py",
    "/static/.env",
    "/static/",
    "/static/nothing.css",
    "/.slipway/error/page.html",
    "/.slipway/maintenance/edge/on",
]


@pytest.mark.parametrize("path", PATHS)
def test_static_files_are_no_way_to_others(stack: Stack, path: str) -> None:
    answer = told(stack, f"GET {path} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert b"root:" not in answer and b"FastAPI" not in answer
