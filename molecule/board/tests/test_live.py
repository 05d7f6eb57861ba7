"""An event that one worker takes reaches the viewers of each, and none is missed over a release of the board."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.board import NAME, SCRATCH, TOKEN
from tests.stack import Stack, eventually, play
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

URL = f"https://{NAME}/api/deployments"


def start(stack: Stack, release: str = "0a1b2c") -> int:
    """Have a deployment begin, and return its id."""
    body = {"app": "live", "host": "web9", "release": release}
    answer = stack.request("POST", URL, json=body, headers=TOKEN)
    assert answer.status_code == 201, answer.text
    identifier: int = answer.json()["id"]
    return identifier


class Viewer(threading.Thread):
    """Follows the stream as the page does: comes again after each end, with the last number that it knows."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.stack = stack
        self.last = ""
        self.seen: list[int] = []
        self.closes: list[int | None] = []
        self.releases: list[str] = []
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            query = f"?last={self.last}" if self.last else ""
            try:
                with self.stack.websocket(f"wss://{NAME}/api/stream{query}") as socket:
                    self.follow(socket)
            except ConnectionClosed as error:
                self.closes.append(error.rcvd.code if error.rcvd else None)
            except (EOFError, InvalidHandshake, OSError):
                self.closes.append(None)
            time.sleep(0.2)

    def follow(self, socket: ClientConnection) -> None:
        while not self.ended:
            try:
                message = json.loads(socket.recv(timeout=1))
            except TimeoutError:
                continue
            self.last = str(message["last"])
            if message["type"] == "hello":
                assert message["complete"] or not self.seen
                self.releases.append(message["release"])
            else:
                self.seen.append(message["deployment"]["id"])


@pytest.fixture
def viewers(stack: Stack) -> Iterator[list[Viewer]]:
    """Return viewers, so many that each worker has some."""
    found = [Viewer(stack) for _ in range(12)]
    for viewer in found:
        viewer.start()
    assert eventually(lambda: all(viewer.releases for viewer in found), 20)
    yield found
    for viewer in found:
        viewer.ended = True
    for viewer in found:
        viewer.join(5)


def workers(stack: Stack) -> dict[str, int]:
    """Return how many connections each worker of the board has on its socket."""
    slot = stack.run("readlink /srv/board/live").strip().removeprefix("slots/")
    said = stack.run(f"ss --no-header --processes --unix src /run/board/{slot}.sock")
    pids = re.findall(r"ESTAB.*?pid=(\d+)", said)
    return {pid: pids.count(pid) for pid in set(pids)}


def test_what_one_worker_takes_the_viewers_of_each_see(stack: Stack, viewers: list[Viewer]) -> None:
    assert len(workers(stack)) == 2, "all viewers are with one worker"
    written = [start(stack) for _ in range(20)]  # some with each worker
    eventually(lambda: all(len(viewer.seen) >= 20 for viewer in viewers))
    for viewer in viewers:
        assert viewer.seen == written


def test_over_a_release_of_the_board_nothing_is_missed(
    stack: Stack, inventory: Path, viewers: list[Viewer]
) -> None:
    before = stack.get(f"https://{NAME}/healthz").json()["release"]
    main = SCRATCH / "app/src/board/main.py"
    main.write_text(f"{main.read_text()}\n# {time.time_ns()}\n")
    written: list[int] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            written.append(start(stack))
            time.sleep(0.05)

    with ExitStack() as ending:
        writer = threading.Thread(target=write)
        writer.start()
        ending.callback(writer.join)
        ending.callback(done.set)
        run = play("playbooks/deploy.yml", inventory, "--limit", stack.name)
        assert run.returncode == 0, run.stdout[-4000:]
        time.sleep(8)  # the old slot lets its viewers go
    after = stack.get(f"https://{NAME}/healthz").json()["release"]
    assert after != before
    assert len(written) > 100
    eventually(lambda: all(written[-1] in viewer.seen for viewer in viewers))
    for viewer in viewers:
        # The release itself is on the board too.
        assert [one for one in viewer.seen if one in set(written)] == written
        assert viewer.releases[-1] == after
        assert set(viewer.closes) == {1012}, viewer.closes


def events(stack: Stack, last: int) -> Iterator[dict[str, Any]]:
    """Yield server-sent events of the stream through the edge."""
    import httpx  # as tests.stack has it, but for a stream

    with (
        httpx.Client(http2=True, verify=stack.context(), timeout=20) as client,
        client.stream(
            "GET",
            f"https://{stack.address}/api/stream",
            headers={"Host": NAME, "Last-Event-ID": str(last)},
            extensions={"sni_hostname": NAME},
        ) as response,
    ):
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_server_sent_events_come_through_the_edge_as_they_happen(stack: Stack) -> None:
    first = start(stack)
    last = stack.get(f"{URL}/{first}").json()["revision"]
    missed = start(stack)
    stream = events(stack, last)
    assert next(stream)["type"] == "hello"
    assert next(stream)["deployment"]["id"] == missed
    began = time.monotonic()
    now = start(stack)
    assert next(stream)["deployment"]["id"] == now
    assert time.monotonic() - began < 3  # not when a buffer is full
