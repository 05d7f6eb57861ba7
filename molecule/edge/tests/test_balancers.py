"""A balancer in front is believed if it is named, by its headers or by the PROXY protocol, and nobody else is."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.stack import Configure, Stack

CLIENT = "203.0.113.9"
PROXY = f"PROXY TCP4 {CLIENT} 192.0.2.1 40000 443\r\n"
HERE = ["127.0.0.0/8"]

pytestmark = pytest.mark.parametrize("stack", ["edge13"], indirect=True)


@contextmanager
def sent(stack: Stack, first: str, **headers: str) -> Iterator[bytes]:
    """Send a request over a connection that begins with some text, and give the answer."""
    lines = ["GET /seen HTTP/1.1", "Host: edge.test", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection((stack.address, 443), timeout=10) as connection:
        connection.sendall(first.encode())
        with stack.context().wrap_socket(connection, server_hostname="edge.test") as tls:
            tls.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = b""
            while piece := tls.recv(65536):
                answer += piece
            yield answer


def seen(stack: Stack, first: str = "", **headers: str) -> dict[str, Any]:
    """Return what the application sees of a request."""
    with sent(stack, first, **headers) as answer:
        found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return {**found, "headers": dict(found["headers"])}


FORGED = {
    "X_Forwarded_For": CLIENT,
    "X_Forwarded_Proto": "http",
    "X_Request_ID": "by-a-balancer-0001",
}


def test_the_headers_of_a_balancer_that_is_named_are_believed(
    stack: Stack, configured: Configure
) -> None:
    address = stack.client()
    configured(stack, nginx_trusted_proxies=[f"{address}/32"])
    told = seen(stack, **FORGED)
    assert told["client"] == told["headers"]["x-forwarded-for"] == CLIENT
    assert told["scheme"] == "http"
    assert told["headers"]["x-request-id"] == "by-a-balancer-0001"
    # What a client has written before it comes to the balancer is no more true for that.
    told = seen(stack, X_Forwarded_For=f"6.6.6.6, {CLIENT}")
    assert told["client"] == CLIENT
    # The client itself is let through, or counted, by its own address; the log has it.
    line = stack.run("grep -h by-a-balancer-0001 /var/log/nginx/edge.json.log | tail -n 1")
    assert json.loads(line)["client"] == CLIENT


def test_the_headers_of_anybody_else_are_not(stack: Stack, configured: Configure) -> None:
    configured(stack, nginx_trusted_proxies=HERE)
    told = seen(stack, **FORGED)
    assert told["client"] == told["headers"]["x-forwarded-for"] == stack.client()
    assert told["scheme"] == "https"
    assert told["headers"]["x-request-id"] != "by-a-balancer-0001"


def test_with_the_proxy_protocol_the_client_is_who_it_says(
    stack: Stack, configured: Configure
) -> None:
    address = stack.client()
    configured(stack, nginx_trusted_proxies=[f"{address}/32"], nginx_proxy_protocol=True)
    assert seen(stack, PROXY, X_Forwarded_For="6.6.6.6")["client"] == CLIENT
    # Without it there is no answer at all.
    with pytest.raises(OSError), sent(stack, "") as answer:
        assert not answer
    # UDP doesn't have it.
    with sent(stack, PROXY) as answer:
        assert b"\r\nalt-svc:" not in answer.lower()


def test_the_proxy_protocol_of_anybody_else_says_nothing(
    stack: Stack, configured: Configure
) -> None:
    configured(stack, nginx_trusted_proxies=HERE, nginx_proxy_protocol=True)
    assert seen(stack, PROXY)["client"] == stack.client()
