"""Whoever watches the stream sees each deployment, whichever worker wrote it, and misses none."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from conftest import Cluster, Serve, Server
from psycopg_pool import PoolTimeout
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect

from board import deployments, stream
from board.settings import Settings
from board.stream import TRY_AGAIN_LATER, Feed, Message, forward

pytestmark = pytest.mark.postgres


@contextmanager
def watch(server: Server, last: int | None = None) -> Iterator[ClientConnection]:
    query = "" if last is None else f"?last={last}"
    with unix_connect(str(server.socket), f"ws://board/api/stream{query}") as socket:
        yield socket


def message(socket: ClientConnection, kind: str = "deployment") -> dict[str, Any]:
    said: dict[str, Any] = json.loads(socket.recv(timeout=5))
    assert said["type"] == kind
    return said


def deployment(socket: ClientConnection) -> dict[str, Any]:
    said = message(socket)
    assert said.keys() == {"type", "last", "deployment"}
    assert said["last"] == said["deployment"]["revision"]
    written: dict[str, Any] = said["deployment"]
    return written


@contextmanager
def events(server: Server, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
    """Server-sent events as their fields; comments are left out."""

    def read(response: httpx.Response) -> Iterator[dict[str, str]]:
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if line and name != ":":
                fields[name] = value
            elif fields:
                yield fields
                fields = {}

    with server.client.stream("GET", "/api/stream", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        yield read(response)


def test_what_one_worker_writes_the_viewers_of_another_see(
    board: Server, database: Cluster, serve: Serve
) -> None:
    with serve(database.url("board")) as other:
        other.wait_until_ready()
        with watch(board) as here, watch(other) as there:
            message(here, "hello"), message(there, "hello")
            started = board.start_deployment()
            assert deployment(here) == deployment(there) == started
            path = f"/api/deployments/{started['id']}"
            finished = other.client.patch(path, json={"status": "succeeded"}).json()
            assert deployment(here) == deployment(there) == finished


def test_greets_with_the_number_of_the_last_change(board: Server) -> None:
    last = board.start_deployment()["revision"]
    with watch(board, last) as socket:
        assert message(socket, "hello") == {
            "type": "hello", "last": last, "release": "r1", "complete": True,
        }  # fmt: skip
    with watch(board) as socket:
        assert message(socket, "hello")["complete"] is False


def test_tells_what_was_missed_each_deployment_once_and_as_it_is_now(board: Server) -> None:
    last = board.start_deployment()["revision"]
    first = board.start_deployment()
    second = board.start_deployment()
    path = f"/api/deployments/{first['id']}"
    finished = board.client.patch(path, json={"status": "succeeded"}).json()
    with watch(board, last) as socket:
        assert message(socket, "hello")["complete"] is True
        assert [deployment(socket), deployment(socket)] == [second, finished]
        started = board.start_deployment()
        assert deployment(socket) == started


@pytest.mark.parametrize("last", [0, 2**62])
def test_says_so_when_it_cannot_tell_what_was_missed(
    board: Server, database: Cluster, last: int
) -> None:
    database.execute(
        "INSERT INTO deployment (app, host, release, started_at)"
        " SELECT 'a', 'h', 'r', now() FROM generate_series(1, 501)"
    )
    time.sleep(0.5)  # until they have been told
    with watch(board, last) as socket:
        assert message(socket, "hello")["complete"] is False
        started = board.start_deployment()
        assert deployment(socket) == started


def test_nothing_is_missed_while_the_database_is_away(database: Cluster, board: Server) -> None:
    with watch(board) as socket:
        message(socket, "hello")
        database.stop()
        database.start()
        # Before the worker listens again.
        with psycopg.connect(database.url("board"), autocommit=True) as connection:
            connection.execute(
                "INSERT INTO deployment (app, host, release, started_at)"
                " VALUES ('a', 'h', 'away', now())"
            )
        assert json.loads(socket.recv(timeout=10))["deployment"]["release"] == "away"


def test_says_so_when_the_log_is_another_one(database: Cluster, serve: Serve) -> None:
    with serve(database.url("board")) as server:
        server.wait_until_ready()
        before = server.start_deployment()["revision"]
        with watch(server, before) as socket:
            assert message(socket, "hello")["last"] == before
            database.execute(
                "TRUNCATE deployment CASCADE", "ALTER SEQUENCE deployment_revision RESTART"
            )
            restored = server.start_deployment()["revision"]
            hello = message(socket, "hello")
            assert (hello["complete"], hello["last"]) == (False, restored)
            assert restored < before
            started = server.start_deployment()
            assert deployment(socket) == started


def test_what_the_release_before_writes_is_told_too(database: Cluster, board: Server) -> None:
    # Its statement says nothing of revisions, and notifies by itself.
    with watch(board) as socket:
        message(socket, "hello")
        database.execute(
            "WITH written AS (INSERT INTO deployment (app, host, release, started_at)"
            " VALUES ('a', 'h', 'old', now()) RETURNING id)"
            " SELECT pg_notify('deployment', id::text) FROM written"
        )
        assert deployment(socket)["release"] == "old"
        started = board.start_deployment()
        assert deployment(socket) == started


def test_server_sent_events_say_the_same_and_resume(board: Server) -> None:
    first = board.start_deployment()
    with events(board) as stream:
        hello = next(stream)
        assert json.loads(hello["data"])["type"] == "hello"
        assert 500 <= int(hello["retry"]) <= 3000
        second = board.start_deployment()
        # The worker may not have heard of the first yet when it said hello.
        event = next(each for each in stream if json.loads(each["data"])["deployment"] != first)
        assert json.loads(event["data"])["deployment"] == second
        assert event["id"] == str(second["revision"])
    third = board.start_deployment()
    with events(board, **{"Last-Event-ID": str(first["revision"])}) as stream:
        assert json.loads(next(stream)["data"])["complete"] is True
        found = [json.loads(next(stream)["data"])["deployment"] for _ in range(2)]
        assert found == [second, third]


def test_shutdown_is_clean_and_tells_the_viewer_to_come_again(
    database: Cluster, serve: Serve
) -> None:
    with serve(database.url("board")) as server:
        server.wait_until_ready()
        with watch(server) as socket:
            message(socket, "hello")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012  # service restart
        server.process.wait(5)
        assert [entry for entry in server.logs() if entry["level"] != "INFO"] == []
        assert server.logs()[-1]["message"].startswith("Finished server process")


def test_shutdown_does_not_wait_for_server_sent_events(database: Cluster, serve: Serve) -> None:
    with serve(database.url("board")) as server:
        server.wait_until_ready()
        with events(server) as stream:
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            assert list(stream) == []  # ends as an answer does, and isn't cut off
        server.process.wait(5)
        assert [entry for entry in server.logs() if entry["level"] != "INFO"] == []


def test_over_a_switch_of_releases_nothing_is_missed(
    database: Cluster, board: Server, serve: Serve
) -> None:
    seen: list[int] = []
    written: list[int] = []
    with serve(database.url("board"), SLIPWAY_RELEASE="r2") as new:
        new.wait_until_ready()
        with serve(database.url("board"), SLIPWAY_RELEASE="r1") as old:
            old.wait_until_ready()
            with watch(old) as socket:
                last = message(socket, "hello")["last"]
                written.append(board.start_deployment()["id"])
                old.process.send_signal(signal.SIGTERM)
                written.append(board.start_deployment()["id"])
                with pytest.raises(ConnectionClosed):
                    while True:
                        said = message(socket)
                        last = said["last"]
                        seen.append(said["deployment"]["id"])
        written.append(board.start_deployment()["id"])
        with watch(new, last) as socket:
            assert message(socket, "hello")["release"] == "r2"
            while len(seen) < 3:
                seen.append(deployment(socket)["id"])
    assert seen == written


def test_one_who_knows_more_than_this_worker_yet_misses_nothing_and_sees_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pool:
        @asynccontextmanager
        async def connection(self) -> AsyncIterator[None]:
            yield None

    async def latest(_: object) -> int:
        return 7

    monkeypatch.setattr(deployments, "latest_revision", latest)

    async def watch(since: int) -> list[tuple[int, bool | None]]:
        settings = Settings(api_token=SecretStr("0123456789abcdef"))
        feed = Feed(settings, Pool())  # type: ignore[arg-type]
        feed.last = 5
        feed.ready.set()
        seen = []
        async for message in feed.messages(since, answer=True):
            if not seen:
                for number in (6, 7, 8):
                    feed.publish(Message("deployment", number))
                feed.close()
            seen.append((message.last, json.loads(message.text).get("complete")))
        return seen

    assert asyncio.run(watch(7)) == [(7, True), (8, None)]
    assert asyncio.run(watch(9)) == [(5, False), (6, None), (7, None), (8, None)]


def test_whatever_goes_wrong_it_listens_again_after_a_while(
    database: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [
        OSError("no route"),
        TimeoutError("no answer"),
        ValueError("makes no sense"),
        psycopg.OperationalError("away"),
    ]
    pauses: list[float] = []
    connect, sleep = psycopg.AsyncConnection.connect, asyncio.sleep

    async def connecting(*given: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop(0)
        return await connect(*given, **named)

    async def pausing(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async def watch() -> None:
        settings = Settings(
            api_token=SecretStr("0123456789abcdef"), database_url=database.url("board")
        )
        feed = Feed(settings, None)  # type: ignore[arg-type]
        task = asyncio.create_task(feed.run())
        async with asyncio.timeout(5):
            await feed.ready.wait()
            while feed.failures:
                await sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connecting)
    monkeypatch.setattr(asyncio, "sleep", pausing)
    monkeypatch.setattr(stream.random, "uniform", lambda low, high: (low + high) / 2)
    asyncio.run(watch())
    assert pauses == [1, 2, 4, 4]
    # What is no fault of the connection is one of the code, and says where.
    assert [bool(entry.exc_info) for entry in caplog.records] == [False, False, True, False]


@pytest.mark.parametrize("origin", ["http://[", "http://a]b"])
def test_an_origin_that_cannot_be_read_is_no_fault_of_the_board(board: Server, origin: str) -> None:
    # Whoever may read without a token may from there, as from any other site.
    with unix_connect(str(board.socket), "ws://board/api/stream", origin=origin) as socket:
        message(socket, "hello")
    headers = {"Origin": origin, "Authorization": "Bearer none"}
    refused = board.client.post("/api/deployments", json={}, headers=headers)
    assert refused.status_code == 401


def test_one_who_cannot_be_told_what_it_missed_is_sent_away() -> None:
    class Pool:
        @asynccontextmanager
        async def connection(self) -> AsyncIterator[None]:
            raise PoolTimeout
            yield

    class Socket:
        code = 0

        async def close(self, code: int) -> None:
            self.code = code

    async def watch() -> int:
        settings = Settings(api_token=SecretStr("0123456789abcdef"))
        feed, socket = Feed(settings, Pool()), Socket()  # type: ignore[arg-type]
        feed.ready.set()
        async with asyncio.timeout(5):
            await forward(feed.messages(7), socket)  # type: ignore[arg-type]
        assert not feed.viewers
        return socket.code

    assert asyncio.run(watch()) == TRY_AGAIN_LATER
