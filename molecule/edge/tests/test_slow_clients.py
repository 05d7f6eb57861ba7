"""Clients that are slow on purpose keep nobody else from being served."""

from __future__ import annotations

import socket
import time

from tests.slow import honest, percentile, slowloris
from tests.stack import Stack

MANY = 2000


def test_two_thousand_slow_clients_stop_nobody(stack: Stack) -> None:
    url = "https://plain.test/seen"
    rest = percentile(honest(stack, url, 5), 0.99)
    with slowloris(stack, MANY) as held:
        assert held[0] == MANY, "not all of them were let in: this measures nothing"
        beside = percentile(honest(stack, url, 10), 0.99)
    print(f"{stack.name}: p99 {rest * 1000:.0f} ms at rest, {beside * 1000:.0f} ms beside {held}")
    # The ratio is measured by tests/bench/edge/slowloris.py; here it is that they are served at all.
    assert beside < 5


def test_a_header_that_never_ends_is_cut_off(stack: Stack) -> None:
    with (
        socket.create_connection((stack.address, stack.https_port), timeout=30) as plain,
        stack.context().wrap_socket(plain, server_hostname="plain.test") as tls,
    ):
        tls.sendall(b"GET /seen HTTP/1.1\r\nHost: plain.test\r\n")
        begun = time.monotonic()
        tls.settimeout(2)
        gone = False
        # However steadily it goes on: nginx_client_header_timeout is 10 s, and it is for the whole.
        while not gone and time.monotonic() < begun + 40:
            try:
                tls.sendall(b"X-Slow: a\r\n")
                gone = tls.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
        assert gone
