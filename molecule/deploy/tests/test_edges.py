"""What is under way when a release is switched ends as it would have: answers, uploads, WebSockets, workers."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.load import Drive, Play, Source, State
from tests.stack import Stack, eventually
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

SOCKETS = 12
SLOW = 20  # seconds that an answer takes
CHUNK = b"0123456789abcdef" * 4096
CHUNKS = 60  # of an upload at least, four a second; it goes on until the release is over


@dataclass
class Edges:
    """What was under way over a switch, and how each of it ended; times are seconds of the same clock."""

    old: str
    new: str = ""
    slow: httpx.Response | None = None
    uploaded: httpx.Response | None = None
    sent: str = ""  # SHA-256 of the upload
    closes: list[tuple[int | None, float]] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)


def running_workers(stack: Stack) -> set[str]:
    """Return the workers whose lifespan has started and not ended, as they themselves have noted it."""
    alive = set(stack.run("ls /proc").split())  # one that was killed has noted nothing
    marks = [line.split() for line in stack.run("cat /srv/tally/shared/lifespans").splitlines()]
    ended = {process for _, process, what in marks if what == "ended"}
    return {process for _, process, what in marks if what == "started"} & alive - ended


@pytest.fixture(scope="module")
def edges(stack: Stack, source: Source, load: Drive, deploy: Play) -> Edges:
    """Begin a slow answer, a slow upload and a dozen WebSockets, deploy, and see all of them end."""
    seen = Edges(old=State.of(stack).release, workers=running_workers(stack))

    def wait_for_an_answer() -> None:
        seen.slow = stack.request("GET", f"https://tally.test/slow?seconds={SLOW}", timeout=60)

    def upload() -> None:
        digest = hashlib.sha256()

        def chunks() -> Any:
            sent = 0
            while not over.wait(0.25) or sent < CHUNKS:
                chunk = CHUNK if sent < CHUNKS else CHUNK[:1]
                digest.update(chunk)
                sent += 1
                yield chunk

        seen.uploaded = stack.request(
            "POST", "https://tally.test/upload", content=chunks(), timeout=60
        )
        seen.sent = digest.hexdigest()

    def opened() -> ClientConnection:
        socket = stack.websocket("wss://tally.test/ws")
        assert socket.recv(timeout=20) == seen.old
        return socket

    def listen(socket: ClientConnection) -> None:
        with socket, suppress(ConnectionClosed):
            socket.recv()
        seen.closes.append((socket.close_code, time.monotonic()))

    over = threading.Event()
    source.change()
    with (
        load("a release, over long answers and open WebSockets") as traffic,
        ThreadPoolExecutor(SOCKETS + 2) as pool,
    ):
        sockets = [opened() for _ in range(SOCKETS)]
        begun = [pool.submit(listen, socket) for socket in sockets]
        begun += [pool.submit(upload), pool.submit(wait_for_an_answer)]
        try:
            run = deploy()
            over.set()
            assert run.returncode == 0, run.stdout[-4000:]
            seen.new = State.of(stack).release
            for each in begun:
                each.result(60)
        finally:
            over.set()
            for socket in sockets:
                socket.close()
    assert not traffic.failed, traffic.failures()
    return seen


def test_a_slow_answer_comes_from_where_it_was_asked(edges: Edges) -> None:
    assert edges.new != edges.old
    assert edges.slow and edges.slow.json() == {"release": edges.old}


def test_an_upload_is_whole(edges: Edges) -> None:
    # Nginx holds it until it is whole, and then hands it to what serves.
    assert edges.uploaded
    assert edges.uploaded.json() == {"release": edges.new, "sha256": edges.sent}


def test_websockets_are_told_to_come_back_and_not_all_at_once(edges: Edges) -> None:
    assert [code for code, _ in edges.closes] == [1012] * SOCKETS
    first, last = edges.closes[0][1], edges.closes[-1][1]
    assert 1 < last - first < 10


def test_the_old_workers_came_to_their_end(stack: Stack, edges: Edges) -> None:
    assert edges.workers

    def noted() -> set[str]:
        marks = stack.run("cat /srv/tally/shared/lifespans").splitlines()
        return {mark.split()[1] for mark in marks if mark.endswith(" ended")}

    assert eventually(lambda: edges.workers <= noted())
