"""The board when its database fails, lags behind or has no connection left."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from conftest import Cluster, Serve, Server

from board.database import SCHEMA_VERSION

pytestmark = pytest.mark.postgres


@pytest.fixture
def small(database: Cluster, serve: Serve) -> Iterator[Server]:
    """A board with two connections."""
    with serve(database.url("board"), POOL_SIZE="2") as server:
        server.wait_until_ready()
        yield server


def test_ready_tells_release_and_schema(board: Server) -> None:
    response = board.client.get("/readyz")
    assert response.json() == {"status": "ready", "release": "r1", "schema_version": SCHEMA_VERSION}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", "schema is at 0000"),
        ("DELETE FROM alembic_version", "schema is at none"),
        ("ALTER TABLE alembic_version RENAME TO alembic_gone", "refuses what this release reads"),
        ("ALTER TABLE deployment RENAME COLUMN message TO note", "refuses what this release reads"),
    ],
)
def test_not_ready_on_an_older_or_broken_schema(
    database: Cluster, board: Server, change: str, reason: str
) -> None:
    undo = {
        "ALTER TABLE alembic_version": "ALTER TABLE alembic_gone RENAME TO alembic_version",
        "ALTER TABLE deployment": "ALTER TABLE deployment RENAME COLUMN note TO message",
        "UPDATE": f"UPDATE alembic_version SET version_num = '{SCHEMA_VERSION}'",
        "DELETE": f"INSERT INTO alembic_version VALUES ('{SCHEMA_VERSION}')",
    }
    database.execute(change)
    try:
        response = board.client.get("/readyz")
    finally:
        database.execute(next(sql for key, sql in undo.items() if change.startswith(key)))
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    # In plain words; which they are in the database is in the log.
    assert reason in response.json()["detail"]
    if "refuses" in reason:
        assert "message" not in response.text and "alembic" not in response.text
        said = [entry["message"] for entry in board.logs() if entry["level"] == "WARNING"]
        assert change.split()[2] in said[-1] or "message" in said[-1]
    assert response.json()["release"] == "r1"
    assert board.client.get("/healthz").status_code == 200
    assert board.client.get("/readyz").status_code == 200


def test_serves_on_a_newer_schema(database: Cluster, board: Server) -> None:
    # As the old release does while a deployment runs, and again after a rollback.
    started = board.start_deployment()  # prepares the statements
    database.execute(
        "UPDATE alembic_version SET version_num = '0999'",
        "ALTER TABLE deployment ADD COLUMN later text",
    )
    try:
        assert board.client.get("/readyz").json()["schema_version"] == "0999"
        for _ in range(8):  # on each connection of the pool
            board.start_deployment()
            found = board.client.get(f"/api/deployments/{started['id']}").json()
            assert found == started | {"steps": [], "latency": []}
            assert board.client.get("/api/deployments").status_code == 200
    finally:
        database.execute(
            "ALTER TABLE deployment DROP COLUMN later",
            f"UPDATE alembic_version SET version_num = '{SCHEMA_VERSION}'",
        )


@pytest.mark.parametrize("at_once", [1, 12])
def test_a_restart_of_the_database_fails_no_request(
    database: Cluster, board: Server, at_once: int
) -> None:
    path = f"/api/deployments/{board.start_deployment()['id']}"
    database.stop()
    database.start()
    # Every connection of the pool is stale now.
    with ThreadPoolExecutor(at_once) as threads:
        answers = list(threads.map(board.client.get, [path] * 12))
    assert [answer.status_code for answer in answers] == [200] * 12


def test_recovers_when_the_database_comes_back(database: Cluster, small: Server) -> None:
    database.stop()
    try:
        # For so long that an attempt that backs off would come much too late.
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            response = small.client.get("/api/deployments")
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "2"
        assert small.client.get("/readyz").status_code == 503
        assert small.client.get("/healthz").status_code == 200
    finally:
        database.start()
    small.wait_until_ready(4)
    assert small.client.get("/api/deployments").status_code == 200


def test_a_full_pool_answers_503_and_not_late(database: Cluster, small: Server) -> None:
    with psycopg.connect(database.url("board_migrator")) as blocker:
        blocker.execute("LOCK TABLE deployment")  # both connections will wait for it

        def ask(_: int) -> tuple[int, str | None, float]:
            started = time.monotonic()
            response = small.client.get("/api/deployments")
            seconds = time.monotonic() - started
            return response.status_code, response.headers.get("Retry-After"), seconds

        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(ask, range(6)))
        assert {answer[:2] for answer in answers} == {(503, "2")}
        # Four found no connection within 2 s; two ran into the statement's limit of 5 s.
        assert [round(seconds) for *_, seconds in sorted(answers, key=lambda a: a[2])] == [
            *[2] * 4,
            *[5] * 2,
        ]
        assert small.client.get("/healthz").status_code == 200
    assert small.client.get("/api/deployments").status_code == 200


def test_a_pool_that_is_asked_for_too_much_refuses_at_once(database: Cluster, serve: Serve) -> None:
    with serve(database.url("board"), POOL_SIZE="1", QUERY_TIMEOUT="3") as server:
        server.wait_until_ready()
        with psycopg.connect(database.url("board_migrator")) as blocker:
            blocker.execute("LOCK TABLE deployment")

            def ask(_: int) -> tuple[int, float]:
                started = time.monotonic()
                response = server.client.get("/api/deployments")
                return response.status_code, time.monotonic() - started

            # One has the connection, 64 may wait for it.
            with ThreadPoolExecutor(80) as threads:
                answers = list(threads.map(ask, range(80)))
        assert {status for status, _ in answers} == {503}
        assert sum(seconds < 1.9 for _, seconds in answers) >= 10
        assert server.client.get("/api/deployments").status_code == 200
