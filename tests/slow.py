"""Clients that are slow on purpose: each holds a connection, and sends now and then a piece of what never ends."""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.stack import Stack

EACH = 2.0  # seconds between two pieces of a header


def _open(stack: Stack) -> socket.socket | None:
    """Return a connection on which a handshake was begun, which costs this side nothing; none if it was refused."""
    with suppress(OSError):
        plain = socket.create_connection((stack.address, stack.https_port), timeout=20)
        plain.sendall(b"\x16\x03\x01\x02\x00\x01")
        return plain
    return None


@contextmanager
def slowloris(stack: Stack, number: int) -> Iterator[list[int]]:
    """Hold connections open while the block runs, and open those anew that the server closes.

    Args:
        stack: The host.
        number: How many.

    Yields:
        A list whose last item is how many were open when it was last counted; the first once all were opened.
    """
    held: list[socket.socket] = []
    counted: list[int] = []
    over, ready = threading.Event(), threading.Event()

    def fill() -> None:
        while len(held) < number and not over.is_set():
            if opened := _open(stack):
                held.append(opened)
            else:
                break

    def hold() -> None:
        fill()
        counted.append(len(held))
        ready.set()
        while not over.wait(EACH):
            with selectors.PollSelector() as closed:
                for connection in held:
                    closed.register(connection, selectors.EVENT_READ)
                gone = {id(key.fileobj) for key, _ in closed.select(timeout=0)}
            for connection in tuple(held):
                try:
                    if id(connection) in gone:
                        raise OSError
                    connection.sendall(b"\x00")
                except OSError:
                    held.remove(connection)
                    connection.close()
            fill()
            counted.append(len(held))

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        ready.wait(120)
        yield counted
    finally:
        over.set()
        thread.join()
        for connection in held:
            connection.close()


def percentile(times: list[float], share: float) -> float:
    """Return the time that a share of them keeps within, by the nearest rank."""
    return sorted(times)[math.ceil(share * len(times)) - 1]


def honest(stack: Stack, url: str, seconds: float, each: float = 0.05) -> list[float]:
    """Ask over a new connection each time, and return how long each answer took; fail if one isn't 200."""
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        answer = stack.get(url)
        times.append(time.perf_counter() - begun)
        assert answer.status_code == 200, answer.text
        time.sleep(max(0.0, each - times[-1]))
    return times
