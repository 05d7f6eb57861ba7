"""A made-up fleet, and lists that stay as fast as the log grows long."""

import json
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, combinations
from typing import Any

import psycopg
import pytest
from conftest import Cluster, Server
from test_tokens import by_hand

from board import deployments, seed
from board.deployments import Filters

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
        connection.execute(f"""
            INSERT INTO deployment
                (app, host, release, status, started_at, finished_at, requests, failed, revision)
            SELECT (array['shop', 'search', 'billing', 'gateway', 'board'])[1 + n % 5],
                   'app' || 1 + n / 5 % 20, md5((n / 100)::text),
                   CASE WHEN n % 97 = 0 THEN 'failed' ELSE 'succeeded' END,
                   now() - interval '1 s' * ({ROWS} - n), now(), 100, 0, n
            FROM generate_series(1, {ROWS}) AS n
        """)
        connection.execute("ALTER TABLE deployment ENABLE TRIGGER deployment_written")
        connection.execute("VACUUM ANALYZE deployment")
    yield cluster
    cluster.execute("TRUNCATE deployment, detail, token RESTART IDENTITY")


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan."""
    yield node
    for child in node.get("Plans", []):
        yield from walk(child)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "+".join(chosen) or "all")
def test_a_page_is_read_from_its_place_in_one_index(
    long: Cluster, chosen: dict[str, str], mode: str
) -> None:
    statement, values = deployments.listing(Filters(**chosen, before=ROWS // 2))
    query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    with psycopg.connect(long.url("board"), autocommit=True) as connection:
        connection.execute(f"SET plan_cache_mode = {mode}")
        row = connection.execute(query, values, prepare=True).fetchone()
    assert row
    (plan,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
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


def rates(url: str, rounds: int = 7, each: int = 60) -> list[float]:
    """Lists a second, of several rounds."""
    statement, values = deployments.listing(Filters(app="shop"))
    found = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(each):
                assert len(connection.execute(statement, values).fetchall()) == 51
            found.append(each / (time.perf_counter() - began))
    return found


def test_a_list_of_a_million_is_as_fast_as_one_of_a_thousand(
    long: Cluster, record_property: Any
) -> None:
    fast = rates(long.url("board"))
    long.execute(f"DELETE FROM deployment WHERE id <= {ROWS - 1000}", "VACUUM ANALYZE deployment")
    long.execute("REINDEX TABLE deployment", "VACUUM FULL deployment", "ANALYZE deployment")
    ratio = max(fast) / max(short := rates(long.url("board")))
    record_property("ratio", round(ratio, 3))
    medians = [round(statistics.median(each)) for each in (fast, short)]
    assert ratio >= 0.7, f"{medians} lists a second"


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


def test_seed_fills_an_empty_log_and_no_other(database: Cluster, board: Server) -> None:
    done = by_hand(database, "seed", "--deployments", "700", "--hosts", "3")
    assert done.returncode == 0, done.stderr
    summary = board.client.get("/api/summary").json()
    assert len(summary["places"]) == 15
    newest = board.client.get("/api/deployments?limit=1").json()["items"][0]
    assert newest["id"] == newest["revision"] == 700
    detailed = board.client.get(f"/api/deployments/{newest['id']}").json()
    assert detailed["steps"] and detailed["latency"] and detailed["probe"]
    page = board.client.get(f"/deployments/{newest['id']}")
    assert "<polyline" in page.text
    again = by_hand(database, "seed", "--deployments", "1")
    assert again.returncode == 1
    assert "isn't empty" in again.stderr
