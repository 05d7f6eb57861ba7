"""A made-up fleet, and lists that stay as fast as the log grows long."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, combinations
from typing import Any

import psycopg
import pytest
from conftest import Cluster, Server
from test_tokens import by_hand

from board import deployments, seed
from board.database import connection_arguments
from board.deployments import Filters
from board.settings import DatabaseSettings

pytestmark = pytest.mark.postgres

ROWS = 1_000_000
GIVEN = {"app": "shop", "host": "app7", "status": "failed"}
# Each of them, and each of them where nothing matches.
CHOICES = [
    dict(chosen) for chosen in chain.from_iterable(combinations(GIVEN.items(), n) for n in range(4))
] + [{"app": "none"}, {"host": "none"}, {"release": "none"}, {"status": "running"}]


@pytest.fixture(scope="module")
def long(cluster: Cluster) -> Iterator[Cluster]:
    """A log of a million deployments."""
    cluster.execute("TRUNCATE deployment, detail, token RESTART IDENTITY")
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        # Not by the seed command, since each of its rows gets a number, which takes a minute.
        connection.execute("ALTER TABLE deployment DISABLE TRIGGER deployment_written")
        # Indexes are made quicker for rows that are there than row by row.
        made = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes"
            " WHERE tablename = 'deployment' AND indexname <> 'deployment_pkey'"
        ).fetchall()
        for name, _ in made:
            connection.execute(f"DROP INDEX {name}")
        connection.execute(f"""
            INSERT INTO deployment
                (app, host, release, status, started_at, finished_at, requests, failed, revision)
            SELECT (array['shop', 'search', 'billing', 'gateway', 'board'])[1 + n % 5],
                   'app' || 1 + n / 5 % 20, md5((n / 100)::text),
                   CASE WHEN n % 97 = 0 THEN 'failed' ELSE 'succeeded' END,
                   now() - interval '1 s' * ({ROWS} - n), now(), 100, 0, n
            FROM generate_series(1, {ROWS}) AS n
        """)
        for _, definition in made:
            connection.execute(definition)
        connection.execute("ALTER TABLE deployment ENABLE TRIGGER deployment_written")
        connection.execute("VACUUM ANALYZE deployment")
    yield cluster
    cluster.execute("TRUNCATE deployment, detail, token RESTART IDENTITY")


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan."""
    yield node
    for child in node.get("Plans", []):
        yield from walk(child)


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "+".join(chosen) or "all")
def test_a_page_is_read_from_its_place_in_one_index(long: Cluster, chosen: dict[str, str]) -> None:
    statement, values = deployments.listing(Filters(**chosen, before=ROWS // 2))
    # Prepared as the driver does it, since EXPLAIN by itself never shows a generic plan.
    kinds = {"before": "bigint", "limit": "smallint"}
    types = ", ".join(kinds.get(name, "text") for name in values)
    for number, name in enumerate(values, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    given = ", ".join(f"'{value}'" for value in values.values())
    options = str(connection_arguments(DatabaseSettings())["options"])
    with psycopg.connect(long.url("board"), autocommit=True, options=options) as connection:
        connection.execute(f"PREPARE listing ({types}) AS {statement}")  # type: ignore[arg-type]
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE listing ({given})"
        row = connection.execute(explain).fetchone()  # type: ignore[arg-type]
    assert row
    (plan,) = row[0]
    nodes = list(walk(plan["Plan"]))
    assert {node["Node Type"] for node in nodes} <= {"Limit", "Index Scan"}
    (scan,) = (node for node in nodes if node["Node Type"] == "Index Scan")
    assert scan.get("Rows Removed by Filter", 0) == 0
    assert scan["Actual Rows"] <= 51
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 150


def test_what_runs_where_is_not_read_from_the_whole_log(long: Cluster) -> None:
    query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {deployments.SUMMARY}"
    with psycopg.connect(long.url("board"), autocommit=True) as connection:
        row = connection.execute(query, {"last": deployments.LAST}).fetchone()
    assert row
    nodes = list(walk(row[0][0]["Plan"]))
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    assert row[0][0]["Plan"]["Actual Rows"] == 100
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes) < 12_000


def test_seed_makes_the_same_fleet_each_time() -> None:
    def fleet(number: int = 400) -> list[tuple[Any, ...]]:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return list(seed.deployments(number, 20, 5, now, random.Random(1)))

    rows = fleet()
    assert rows == fleet()
    assert len(rows) == 400
    assert {row[0] for row in rows} == set(seed.APPS)
    assert {row[1] for row in rows} == {f"app{n}" for n in range(1, 21)}
    assert {row[4] for row in rows} == {"succeeded", "failed", "rolled_back"}
    assert rows[0][6] < rows[-1][6]


def test_seed_fills_an_empty_log_and_another_only_if_told(database: Cluster, board: Server) -> None:
    done = by_hand(database, "seed", "--deployments", "700", "--hosts", "3")
    assert done.returncode == 0, done.stderr
    summary = board.client.get("/api/summary").json()
    assert len(summary["places"]) == 15
    newest = board.client.get("/api/deployments?limit=1").json()["items"][0]
    assert newest["id"] == 700
    detailed = board.client.get(f"/api/deployments/{newest['id']}").json()
    assert detailed["steps"] and detailed["latency"] and detailed["probe"]
    page = board.client.get(f"/deployments/{newest['id']}")
    assert "<polyline" in page.text
    again = by_hand(database, "seed", "--deployments", "1")
    assert again.returncode == 1
    assert "isn't empty" in again.stderr
    assert by_hand(database, "seed", "--deployments", "1", "--anyway").returncode == 0
    assert board.client.get("/api/deployments?limit=1").json()["items"][0]["id"] == 701


def test_seed_beside_those_that_write_takes_nothing_of_theirs(
    database: Cluster, board: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: list[int] = []
    steps = [{"name": "start", "seconds": 1.5, "status": "succeeded"}]
    made = seed.deployments

    def deployments(*arguments: Any) -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(made(*arguments)):
            if number % 10 == 0:  # nobody is held up now
                theirs.append(board.start_deployment()["id"])
                path = f"/api/deployments/{theirs[0]}"
                board.client.patch(path, json={"steps": steps}).raise_for_status()
            yield row

    async def plant() -> None:
        async with await psycopg.AsyncConnection.connect(
            database.url("board"), autocommit=True
        ) as connection:
            await seed.plant(connection, 30, 3, 2, 1, anyway=True)

    monkeypatch.setattr(seed, "deployments", deployments)
    monkeypatch.setattr(seed, "BATCH", 10)
    asyncio.run(plant())
    assert len(theirs) == 3
    for number in theirs:
        deployment = board.client.get(f"/api/deployments/{number}").json()
        assert (deployment["status"], deployment["latency"]) == ("running", [])
        assert deployment["steps"] == (steps if number == theirs[0] else [])
        ended = board.client.patch(f"/api/deployments/{number}", json={"status": "succeeded"})
        assert ended.status_code == 200
    items = board.client.get("/api/deployments?limit=200").json()["items"]
    assert len(items) == 33
    for item in items:
        if item["id"] not in theirs:
            deployment = board.client.get(f"/api/deployments/{item['id']}").json()
            assert deployment["steps"] and deployment["latency"]
