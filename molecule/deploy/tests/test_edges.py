"""What is under way when a release is switched ends as it would have: answers, uploads, WebSockets, workers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.load import Drive, Play, Source, State
from tests.stack import Stack, eventually
from websockets.exceptions import ConnectionClosed

SOCKETS = 12
SLOW = 20  # seconds that an answer takes
CHUNK = b"0123456789abcdef" * 4096
CHUNKS = 60  # of an upload, four a second


@dataclass
class Edges:
    """What was under way over a switch, and how each of it ended; times are seconds of the same clock."""

    old: str
    new: str = ""
    slow: httpx.Response | None = None
    uploaded: httpx.Response | None = None
    closes: list[tuple[int, float]] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)


def running_workers(stack: Stack) -> set[str]:
    """Return the workers whose lifespan has started and not ended, as they themselves have noted it."""
    alive = set(stack.run("ls /proc").split())  # one that was killed has noted nothing
    marks = [line.split() for line in stack.run("cat /srv/tally/shared/lifespans").splitlines()]
    ended = {process for _, process, what in marks if what == "ended"}
    return {process for _, process, what in marks if what == "started"} & alive - ended


def in_background(work: Callable[[], None]) -> threading.Thread:
    """Start something, and return what to wait for."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def edges(stack: Stack, source: Source, load: Drive, deploy: Play) -> Edges:
    """Begin a slow answer, a slow upload and a dozen WebSockets, deploy, and see all of them end."""
    seen = Edges(old=State.of(stack).release, workers=running_workers(stack))

    def wait_for_an_answer() -> None:
        seen.slow = stack.request("GET", f"https://tally.test/slow?seconds={SLOW}", timeout=60)

    def upload() -> None:
        def chunks() -> Any:
            for _ in range(CHUNKS):
                time.sleep(0.25)
                yield CHUNK

        seen.uploaded = stack.request(
            "POST", "https://tally.test/upload", content=chunks(), timeout=60
        )

    def listen() -> None:
        with stack.websocket("wss://tally.test/ws") as socket:
            assert socket.recv() == seen.old
            opened.release()
            try:
                socket.recv()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                seen.closes.append((code, time.monotonic()))

    opened = threading.Semaphore(0)
    source.change()
    with load("a release, over long answers and open WebSockets") as traffic:
        threads = [in_background(listen) for _ in range(SOCKETS)]
        for _ in range(SOCKETS):
            assert opened.acquire(timeout=10)
        threads += [in_background(upload), in_background(wait_for_an_answer)]
        run = deploy()
        assert run.returncode == 0, run.stdout[-4000:]
        seen.new = State.of(stack).release
        for thread in threads:
            thread.join(60)
    assert not traffic.failed, traffic.failures()
    return seen


def test_a_slow_answer_comes_from_where_it_was_asked(edges: Edges) -> None:
    assert edges.new != edges.old
    assert edges.slow and edges.slow.json() == {"release": edges.old}


def test_an_upload_is_whole(edges: Edges) -> None:
    # Nginx holds it until it is whole, and then hands it to what serves.
    digest = hashlib.sha256(CHUNK * CHUNKS).hexdigest()
    assert edges.uploaded and edges.uploaded.json() == {"release": edges.new, "sha256": digest}


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
