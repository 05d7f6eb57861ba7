"""Whoever watches the stream sees each deployment, whichever worker wrote it."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Cluster, Serve, Server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect

pytestmark = pytest.mark.postgres


@contextmanager
def watch(server: Server) -> Iterator[ClientConnection]:
    with unix_connect(str(server.socket), "ws://board/api/stream") as socket:
        hello = json.loads(socket.recv(timeout=5))
        assert hello == {"type": "hello", "release": "r1"}
        yield socket


def deployment(socket: ClientConnection) -> dict[str, object]:
    message = json.loads(socket.recv(timeout=5))
    assert message.keys() == {"type", "deployment"}
    written: dict[str, object] = message["deployment"]
    return written


def test_what_one_worker_writes_the_viewers_of_another_see(
    board: Server, database: Cluster, serve: Serve
) -> None:
    with serve(database.url("board")) as other:
        other.wait_until_ready()
        with watch(board) as here, watch(other) as there:
            started = board.start_deployment()
            assert deployment(here) == deployment(there) == started
            path = f"/api/deployments/{started['id']}"
            finished = other.client.patch(path, json={"status": "succeeded"}).json()
            assert deployment(here) == deployment(there) == finished


def test_says_hello_again_after_the_database_was_away(database: Cluster, board: Server) -> None:
    with watch(board) as socket:
        database.stop()
        database.start()
        assert json.loads(socket.recv(timeout=10))["type"] == "hello"
        started = board.start_deployment()
        assert deployment(socket) == started


def test_shutdown_is_clean_and_tells_the_viewer_to_come_again(
    database: Cluster, serve: Serve
) -> None:
    with serve(database.url("board")) as server:
        server.wait_until_ready()
        with watch(server) as socket:
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012  # service restart
        server.process.wait(5)
        assert [entry for entry in server.logs() if entry["level"] != "INFO"] == []
        assert server.logs()[-1]["message"].startswith("Finished server process")
