"""A made-up fleet, for trying the board and for measuring it: the same each time."""

import math
import random
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from board.database import Connection

APPS = ("shop", "search", "billing", "gateway", "board")
STEPS = {"claim": 0.2, "unpack": 3, "slot": 0.6, "migrate": 2.5, "start": 4, "switch": 0.1}
BATCH = 1000  # deployments that are written at once
DETAILED = 500  # of the newest ones all is known
INTERVAL = 90 * 24 * 3600  # seconds that the whole log goes back

# Ids of its own, so that what others write meanwhile isn't taken for one of these.
IDS = "SELECT nextval(pg_get_serial_sequence('deployment', 'id')) FROM generate_series(1, %s)"
COPY = """
    COPY deployment (id, app, host, release, version, status, message, started_at, finished_at,
                     requests, failed, p50_ms, p99_ms, worst_ms) FROM STDIN
"""
DETAIL = "COPY detail (deployment_id, steps, latency) FROM STDIN"


class NotEmptyError(Exception):
    """There are deployments already."""


def deployments(
    number: int, hosts: int, apps: int, now: datetime, chance: random.Random
) -> Iterator[tuple[Any, ...]]:
    """The deployments of a fleet, oldest first: each release goes to all hosts, one after another."""
    names = APPS[:apps]
    versions = dict.fromkeys(names, 0)
    written = 0
    while written < number:
        app = chance.choice(names)
        versions[app] += 1
        release = f"{chance.getrandbits(48):012x}"
        bad = chance.random() < 0.03
        for host in range(1, hosts + 1):
            if written == number:
                return
            started = now - timedelta(seconds=(number - written) / number * INTERVAL)
            seconds = chance.lognormvariate(2.4, 0.35)
            requests = round(seconds * 50)
            status, message = "succeeded", None
            failed = 0
            if bad:
                status, message = "failed", "start: /readyz didn't answer with 200 within 60 s"
            elif chance.random() < 0.01:
                status = "rolled_back"
                failed = chance.randint(1, 40)
            p50 = chance.lognormvariate(1.2, 0.3)
            p99 = p50 * chance.uniform(2, 6)
            yield (
                app, f"app{host}", release, f"v1.{versions[app]}.0", status, message, started,
                started + timedelta(seconds=seconds), requests, min(failed, requests),
                round(p50, 2), round(p99, 2), round(p99 * chance.uniform(1, 3), 2),
            )  # fmt: skip
            written += 1
            if bad:
                break  # a release that fails on one host goes to no other


def details(id: int, row: tuple[Any, ...], chance: random.Random) -> tuple[int, Jsonb, Jsonb]:
    """The steps of a deployment, and what requests took during them."""
    status, started, finished, failed, p50, p99 = row[4], *row[6:8], *row[9:12]
    seconds = (finished - started).total_seconds()
    weights = {name: weight * chance.uniform(0.7, 1.4) for name, weight in STEPS.items()}
    whole = sum(weights.values())
    steps: list[dict[str, Any]] = [
        {"name": name, "seconds": round(seconds * weight / whole, 2), "status": "succeeded"}
        for name, weight in weights.items()
    ]
    if status == "failed":
        steps = steps[:-1]
        steps[-1]["status"] = "failed"
    samples = min(120, max(2, round(seconds * 4)))
    latency = []
    for number in range(samples):
        part = number / (samples - 1)
        # Somewhat slower while the new release starts beside the old one.
        load = 1 + 0.6 * math.exp(-(((part - 0.8) / 0.12) ** 2))
        latency.append(
            {
                "at": round(part * seconds, 2),
                "p50_ms": round(p50 * load * chance.uniform(0.9, 1.1), 2),
                "p99_ms": round(p99 * load * chance.uniform(0.7, 1.2), 2),
                "failed": failed if number == samples * 9 // 10 else 0,
            }
        )
    return id, Jsonb(steps), Jsonb(latency)


async def plant(
    connection: Connection, number: int, hosts: int, apps: int, seed: int, anyway: bool = False
) -> None:
    """Write a fleet's log.

    Args:
        connection: One with autocommit, by the application's role.
        number: How many deployments.
        hosts: How many hosts, at least one.
        apps: How many applications, one to five.
        seed: What chance starts from.
        anyway: Whether to write it after what is there already.

    Raises:
        NotEmptyError: there is something already.
    """
    cursor = await connection.execute("SELECT EXISTS (SELECT FROM deployment)")
    if await cursor.fetchone() != (False,) and not anyway:
        raise NotEmptyError
    chance = random.Random(seed)
    # A batch is longer than a query of a request may be.
    await connection.execute("SET statement_timeout = '60s'")
    rows = deployments(number, hosts, apps, datetime.now(UTC), chance)
    newest: deque[tuple[int, tuple[Any, ...]]] = deque(maxlen=DETAILED)
    for begun in range(0, number, BATCH):
        cursor = await connection.execute(IDS, (min(BATCH, number - begun),))
        batch = [(id, next(rows)) for (id,) in await cursor.fetchall()]
        # Each batch by itself, since whoever writes meanwhile waits for it.
        async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for id, row in batch:
                await copy.write_row((id, *row))
        newest.extend(batch)
    async with connection.cursor() as cursor, cursor.copy(DETAIL) as copy:
        for id, row in newest:
            await copy.write_row(details(id, row, chance))
    await connection.execute("ANALYZE deployment, detail")
