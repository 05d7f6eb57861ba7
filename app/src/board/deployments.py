"""Deployments: their shape, and every query about them.

Columns are named one by one, never `*`: a column that a later release adds would change the
result of a statement that the running release has prepared, and PostgreSQL refuses that.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from psycopg import AsyncCursor
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int8
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    model_validator,
)

from board.database import Connection

CHANNEL = "deployment"  # NOTIFY tells here the id of each deployment written
LAST = 2**63 - 1  # beyond every id

# PostgreSQL takes any character but NUL; lines in a table should hold no control characters.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]*$", max_length=100)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=100)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=2000)]
# Within what datetime can hold in any time zone.
Timestamp = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))
]
Identifier = Annotated[int, Field(ge=1, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Milliseconds = Annotated[FiniteFloat, Field(ge=0, le=1e9)]
Seconds = Annotated[FiniteFloat, Field(ge=0, le=1e7)]

Outcome = Literal["succeeded", "failed", "rolled_back"]
Status = Literal["running", "succeeded", "failed", "rolled_back"]


class Strict(BaseModel):
    """What clients send: a key that isn't known is a mistake."""

    model_config = ConfigDict(extra="forbid")


class NewDeployment(Strict):
    """A deployment that starts."""

    app: Name
    host: Name
    release: Name = Field(description="id of the release")
    version: Line | None = Field(default=None, description="what people call it: a tag, a commit")
    started_at: Timestamp | None = Field(default=None, description="now, if not given")


class Step(Strict):
    """A step of a deployment."""

    name: Line
    seconds: Seconds
    status: Literal["succeeded", "failed"] = "succeeded"


class Sample(Strict):
    """What requests took during a part of a deployment."""

    at: Seconds = Field(description="seconds since it started")
    p50_ms: Milliseconds
    p99_ms: Milliseconds
    failed: Count = 0


class Figures(Strict):
    """What clients noticed of a deployment."""

    requests: Count
    failed: Count
    p50_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    worst_ms: Milliseconds | None = None


class Probe(Figures):
    """What clients noticed, and how it went over time."""

    latency: list[Sample] = Field(default=[], max_length=720)

    @model_validator(mode="after")
    def no_more_failed_than_sent(self) -> Self:
        if self.failed > self.requests:
            raise ValueError("failed is more than requests")
        return self


class Change(Strict):
    """How a deployment ended, or what is known of it meanwhile or afterwards."""

    status: Outcome | None = None
    finished_at: Timestamp | None = Field(default=None, description="now, if not given")
    message: Text | None = None
    steps: list[Step] | None = Field(default=None, max_length=200)
    probe: Probe | None = None

    @model_validator(mode="after")
    def says_something(self) -> Self:
        if self.finished_at and not self.status:
            raise ValueError("finished_at needs a status")
        if all(given is None for given in (self.status, self.message, self.steps, self.probe)):
            raise ValueError("says nothing: give status, message, steps or probe")
        return self


class Choice(Strict):
    """Which deployments, newest first."""

    app: Name | None = None
    host: Name | None = None
    status: Status | None = None
    release: Name | None = None
    before: Identifier | None = Field(
        default=None, description="`next` of the page before this one"
    )


class Filters(Choice):
    """Which deployments to list, and how many."""

    limit: int = Field(default=50, ge=1, le=200)


class Deployment(BaseModel):
    """One release of one application put on one host."""

    id: int
    app: str
    host: str
    release: str
    version: str | None
    status: Status
    message: str | None
    started_at: datetime
    finished_at: datetime | None
    probe: Figures | None = Field(description="what clients noticed of it")
    log_bytes: int | None = Field(description="size of the run's log, if there is one")
    revision: int = Field(description="number of its last change, among those of all deployments")


class DetailedDeployment(Deployment):
    """A deployment with all that is known of it."""

    steps: list[Step]
    latency: list[Sample]


class Page(BaseModel):
    """A part of the log, newest first; `next` is null at its end."""

    items: list[Deployment]
    next: int | None = Field(description="`before` of the next page")


class Serving(BaseModel):
    """The release that serves: the last that succeeded and wasn't taken back."""

    id: int
    release: str
    version: str | None
    since: datetime


class Place(BaseModel):
    """An application on a host."""

    app: str
    host: str
    serving: Serving | None
    latest: int = Field(description="id of its last deployment")
    status: Status = Field(description="how that stands")
    recent: int = Field(description="how many deployments the following is about: 20 at most")
    recent_failed: int = Field(description="how many of these failed or were taken back")
    median_seconds: float | None = Field(description="what half of these took at most")


class Summary(BaseModel):
    """What runs where; `revision` is that of the log when it was asked."""

    places: list[Place]
    revision: int


COLUMNS = (
    "id, app, host, release, version, status, message, started_at, finished_at,"
    " requests, failed, p50_ms, p99_ms, worst_ms, log_bytes, revision"
)

INSERT = f"""
    INSERT INTO deployment (app, host, release, version, started_at)
    VALUES (%(app)s, %(host)s, %(release)s, %(version)s, coalesce(%(started_at)s, now()))
    RETURNING {COLUMNS}
"""

# A running deployment may end in any way and a successful one may be taken back later; to
# say the same twice is no error. The end never comes before the start, though the clock of
# the database may be behind the one that wrote `started_at`.
UPDATE = f"""
    UPDATE deployment
    SET status = coalesce(%(status)s::text, status),
        message = coalesce(%(message)s::text, message),
        finished_at = CASE
            WHEN %(status)s::text IS NULL THEN finished_at
            ELSE coalesce(%(finished_at)s::timestamptz, finished_at, greatest(started_at, now()))
        END,
        requests = coalesce(%(requests)s::bigint, requests),
        failed = coalesce(%(failed)s::bigint, failed),
        p50_ms = CASE WHEN %(requests)s::bigint IS NULL THEN p50_ms ELSE %(p50_ms)s::float8 END,
        p99_ms = CASE WHEN %(requests)s::bigint IS NULL THEN p99_ms ELSE %(p99_ms)s::float8 END,
        worst_ms = CASE WHEN %(requests)s::bigint IS NULL THEN worst_ms ELSE %(worst_ms)s::float8 END
    WHERE id = %(id)s
      AND (%(status)s::text IS NULL OR status IN ('running', %(status)s::text)
           OR (status = 'succeeded' AND %(status)s::text = 'rolled_back'))
    RETURNING {COLUMNS}
"""

DETAIL = """
    INSERT INTO detail (deployment_id, steps, latency)
    VALUES (%(id)s, coalesce(%(steps)s::jsonb, '[]'), coalesce(%(latency)s::jsonb, '[]'))
    ON CONFLICT (deployment_id) DO UPDATE
    SET steps = coalesce(%(steps)s::jsonb, detail.steps),
        latency = coalesce(%(latency)s::jsonb, detail.latency)
"""

LOGGED = "UPDATE deployment SET log_bytes = %(bytes)s WHERE id = %(id)s RETURNING id"

GET = f"SELECT {COLUMNS} FROM deployment WHERE id = %s"

GET_DETAILED = f"""
    SELECT {COLUMNS}, coalesce(steps, '[]'), coalesce(latency, '[]')
    FROM deployment LEFT JOIN detail ON deployment_id = id
    WHERE id = %s
"""

CHANGED = f"""
    SELECT {COLUMNS} FROM deployment
    WHERE revision > %(after)s AND revision <= %(upto)s
    ORDER BY revision LIMIT %(limit)s
"""

REVISION = "SELECT coalesce(max(revision), 0) FROM deployment"

# Each pair of application and host is found by one step along the index, whatever the length of
# the log (https://wiki.postgresql.org/wiki/Loose_indexscan), and so is what is said of it.
SUMMARY = """
    WITH RECURSIVE place AS (
        (SELECT app, host FROM deployment ORDER BY app, host LIMIT 1)
        UNION ALL
        SELECT further.app, further.host
        FROM place, LATERAL (
            SELECT app, host FROM deployment
            WHERE (app, host) > (place.app, place.host)
            ORDER BY app, host LIMIT 1
        ) AS further
    )
    SELECT place.app, place.host, serving.id, serving.release, serving.version, serving.finished_at,
           latest.ids[1], latest.states[1], latest.number, latest.bad, latest.median
    FROM place
    LEFT JOIN LATERAL (
        SELECT id, release, version, finished_at FROM deployment
        WHERE (app, host, status, id) >= (place.app, place.host, 'succeeded', 0)
          AND (app, host, status, id) <= (place.app, place.host, 'succeeded', %(last)s)
        ORDER BY app DESC, host DESC, status DESC, id DESC LIMIT 1
    ) AS serving ON true
    CROSS JOIN LATERAL (
        SELECT array_agg(id ORDER BY id DESC) AS ids,
               array_agg(status ORDER BY id DESC) AS states,
               count(*) AS number,
               count(*) FILTER (WHERE status IN ('failed', 'rolled_back')) AS bad,
               percentile_cont(0.5) WITHIN GROUP (
                   ORDER BY extract(epoch FROM finished_at - started_at)::float8
               ) AS median
        FROM (
            SELECT id, status, started_at, finished_at FROM deployment
            WHERE (app, host, id) >= (place.app, place.host, 0)
              AND (app, host, id) <= (place.app, place.host, %(last)s)
            ORDER BY app DESC, host DESC, id DESC LIMIT 20
        ) AS newest
    ) AS latest
"""

PROBE = f"{GET_DETAILED} LIMIT 0"


def fields(values: Sequence[Any]) -> dict[str, Any]:
    """The fields of a deployment from the columns of one."""
    (id, app, host, release, version, status, message, started_at, finished_at,
     requests, failed, p50_ms, p99_ms, worst_ms, log_bytes, revision) = values[:16]  # fmt: skip
    return {
        "id": id,
        "app": app,
        "host": host,
        "release": release,
        "version": version,
        "status": status,
        "message": message,
        "started_at": started_at,
        "finished_at": finished_at,
        "probe": None
        if requests is None
        else {
            "requests": requests,
            "failed": failed,
            "p50_ms": p50_ms,
            "p99_ms": p99_ms,
            "worst_ms": worst_ms,
        },
        "log_bytes": log_bytes,
        "revision": revision,
    }


def deployment_row(_: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Deployment]:
    """Make a `Deployment` of each row (psycopg's row factory)."""
    return lambda values: Deployment(**fields(values))


def detailed_row(_: AsyncCursor[Any]) -> Callable[[Sequence[Any]], DetailedDeployment]:
    """Make a `DetailedDeployment` of each row (psycopg's row factory)."""
    return lambda values: DetailedDeployment(**fields(values), steps=values[16], latency=values[17])


async def start(connection: Connection, new: NewDeployment) -> Deployment:
    """Write down that a deployment has started."""
    async with connection.cursor(row_factory=deployment_row) as cursor:
        await cursor.execute(INSERT, new.model_dump())
        row = await cursor.fetchone()
    assert row is not None
    return row


async def change(connection: Connection, id: int, change: Change) -> Deployment | None:
    """Write down how a deployment ended, or what else is known of it.

    Returns None if there is no such deployment or it has already ended otherwise.

    Raises:
        psycopg.errors.CheckViolation: it would end before it started.
    """
    figures = change.probe.model_dump() if change.probe else dict.fromkeys(Probe.model_fields)
    latency = figures.pop("latency")
    values = change.model_dump(include={"status", "message", "finished_at"}) | figures
    async with connection.cursor(row_factory=deployment_row) as cursor:
        if change.steps is None and latency is None:
            await cursor.execute(UPDATE, values | {"id": Int8(id)})
            return await cursor.fetchone()
        async with connection.transaction():
            await cursor.execute(UPDATE, values | {"id": Int8(id)})
            row = await cursor.fetchone()
            if row:
                steps = [step.model_dump() for step in change.steps or []]
                await connection.execute(
                    DETAIL,
                    {
                        "id": Int8(id),
                        "steps": Jsonb(steps) if change.steps is not None else None,
                        "latency": Jsonb(latency) if latency is not None else None,
                    },
                )
            return row


async def get(connection: Connection, id: int) -> Deployment | None:
    """The deployment with this id, if there is one."""
    async with connection.cursor(row_factory=deployment_row) as cursor:
        await cursor.execute(GET, (Int8(id),))
        return await cursor.fetchone()


async def get_detailed(connection: Connection, id: int) -> DetailedDeployment | None:
    """The deployment with this id and all that is known of it, if there is one."""
    async with connection.cursor(row_factory=detailed_row) as cursor:
        await cursor.execute(GET_DETAILED, (Int8(id),))
        return await cursor.fetchone()


async def logged(connection: Connection, id: int, size: int) -> bool:
    """Write down that a deployment has a log of `size` bytes; False if there is no such deployment."""
    cursor = await connection.execute(LOGGED, {"id": Int8(id), "bytes": Int8(size)})
    return await cursor.fetchone() is not None


def listing(filters: Filters) -> tuple[str, dict[str, Any]]:
    """The statement for a page of the log, and its parameters.

    It asks for a range of rows `(app, id)` and not for an app and a range of ids. So only the
    index that begins like this can serve, and PostgreSQL goes to its place in it and reads one
    page. Otherwise it would at times walk the whole log backwards until it has found enough,
    which for a rare application, or one that isn't there, is a million rows.
    """
    chosen = filters.model_dump(include={"app", "host", "status", "release"}, exclude_none=True)
    keys = ["release"] if "release" in chosen else list(chosen)
    row = ", ".join([*keys, "id"])
    given = "".join(f"%({key})s, " for key in keys)
    conditions = [f"({row}) >= ({given}0)", f"({row}) < ({given}%(before)s)"]
    conditions += [f"{key} = %({key})s" for key in chosen if key not in keys]
    query = f"""
        SELECT {COLUMNS} FROM deployment
        WHERE {" AND ".join(conditions)}
        ORDER BY {", ".join(f"{key} DESC" for key in [*keys, "id"])} LIMIT %(limit)s
    """
    # One more than asked for tells whether there is a next page.
    return query, chosen | {"before": Int8(filters.before or LAST), "limit": filters.limit + 1}


async def find(connection: Connection, filters: Filters) -> dict[str, Any]:
    """A page of the log, as `Page` declares it.

    What the database has is as it should be already: to make models of
    50 rows takes as long as to ask for them.
    """
    # Times come as numbers and not as text, which is read in less time.
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(*listing(filters))
        rows = await cursor.fetchall()
    items = [fields(row) for row in rows[: filters.limit]]
    more = len(rows) > len(items)
    return {"items": items, "next": items[-1]["id"] if more else None}


async def changed(
    connection: Connection, after: int, limit: int, upto: int = LAST
) -> list[Deployment]:
    """Deployments as they are now whose last change has a number beyond `after`, in its order."""
    async with connection.cursor(row_factory=deployment_row) as cursor:
        await cursor.execute(
            CHANGED, {"after": Int8(after), "upto": Int8(upto), "limit": Int8(limit)}
        )
        return await cursor.fetchall()


async def latest_revision(connection: Connection) -> int:
    """The number of the log's last change, 0 if there was none."""
    cursor = await connection.execute(REVISION)
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """What to sort names by, so that app2 comes before app10."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(number or 0)) for text, number in parts], name


async def summarize(connection: Connection) -> Summary:
    """What runs where."""
    revision = await latest_revision(connection)
    cursor = await connection.execute(SUMMARY, {"last": Int8(LAST)})
    places = [
        Place(
            app=app,
            host=host,
            serving=Serving(id=id, release=release, version=version, since=since) if id else None,
            latest=latest,
            status=status,
            recent=number,
            recent_failed=bad,
            median_seconds=median,
        )
        async for app, host, id, release, version, since, latest, status, number, bad, median in cursor
    ]
    places.sort(key=lambda place: (natural(place.app), natural(place.host)))
    return Summary(places=places, revision=revision)


async def probe(connection: Connection) -> None:
    """Ask for every column and no row.

    Raises:
        psycopg.Error: the schema lacks what this code reads.
    """
    await connection.execute(PROBE, (Int8(0),))
