"""Deployments: their shape, and every query about them.

Columns are named one by one, never `*`: a column that a later release adds would change the
result of a statement that the running release has prepared, and PostgreSQL refuses that.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from psycopg.rows import class_row
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from board.database import Connection

CHANNEL = "deployment"  # NOTIFY tells here the id of each deployment written

# PostgreSQL takes any character but NUL; lines in a table should hold no control characters.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]*$", max_length=100)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=100)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=2000)]
# Within what datetime can hold in any time zone.
Timestamp = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))
]
Identifier = Annotated[int, Field(ge=1, lt=2**63)]

Outcome = Literal["succeeded", "failed", "rolled_back"]


class NewDeployment(BaseModel):
    """A deployment that starts."""

    model_config = ConfigDict(extra="forbid")

    app: Name
    host: Name
    release: Name = Field(description="id of the release")
    version: Line | None = Field(default=None, description="what people call it: a tag, a commit")
    started_at: Timestamp | None = Field(default=None, description="now, if not given")


class Finish(BaseModel):
    """How a deployment ended."""

    model_config = ConfigDict(extra="forbid")

    status: Outcome
    finished_at: Timestamp | None = Field(default=None, description="now, if not given")
    message: Text | None = None


class Filters(BaseModel):
    """Which deployments to list, newest first."""

    model_config = ConfigDict(extra="forbid")

    app: Name | None = None
    host: Name | None = None
    before: Identifier | None = Field(
        default=None, description="`next` of the page before this one"
    )
    limit: int = Field(default=50, ge=1, le=200)


class Deployment(BaseModel):
    """One release of one application put on one host."""

    id: int
    app: str
    host: str
    release: str
    version: str | None
    status: Literal["running"] | Outcome
    message: str | None
    started_at: datetime
    finished_at: datetime | None


class Page(BaseModel):
    """A part of the log, newest first; `next` is null at its end."""

    items: list[Deployment]
    next: int | None = Field(description="`before` of the next page")


COLUMNS = "id, app, host, release, version, status, message, started_at, finished_at"

INSERT = f"""
    WITH written AS (
        INSERT INTO deployment (app, host, release, version, started_at)
        VALUES (%(app)s, %(host)s, %(release)s, %(version)s, coalesce(%(started_at)s, now()))
        RETURNING {COLUMNS}
    )
    SELECT {COLUMNS} FROM written, pg_notify('{CHANNEL}', written.id::text)
"""

# A running deployment may end in any way and a successful one may be taken back later; to
# say the same twice is no error. The end never comes before the start, though the clock of
# the database may be behind the one that wrote `started_at`.
UPDATE = f"""
    WITH written AS (
        UPDATE deployment
        SET status = %(status)s,
            message = coalesce(%(message)s, message),
            finished_at = coalesce(%(finished_at)s, finished_at, greatest(started_at, now()))
        WHERE id = %(id)s
          AND (status IN ('running', %(status)s)
               OR (status = 'succeeded' AND %(status)s = 'rolled_back'))
        RETURNING {COLUMNS}
    )
    SELECT {COLUMNS} FROM written, pg_notify('{CHANNEL}', written.id::text)
"""

GET = f"SELECT {COLUMNS} FROM deployment WHERE id = %s"

PROBE = f"SELECT {COLUMNS} FROM deployment LIMIT 0"


async def start(connection: Connection, new: NewDeployment) -> Deployment:
    """Write down that a deployment has started."""
    async with connection.cursor(row_factory=class_row(Deployment)) as cursor:
        await cursor.execute(INSERT, new.model_dump())
        row = await cursor.fetchone()
    assert row is not None
    return row


async def finish(connection: Connection, id: int, end: Finish) -> Deployment | None:
    """Write down how a deployment ended.

    Returns None if there is no such deployment or it has already ended otherwise.

    Raises:
        psycopg.errors.CheckViolation: it would end before it started.
    """
    async with connection.cursor(row_factory=class_row(Deployment)) as cursor:
        await cursor.execute(UPDATE, {"id": id} | end.model_dump())
        return await cursor.fetchone()


async def get(connection: Connection, id: int) -> Deployment | None:
    """The deployment with this id, if there is one."""
    async with connection.cursor(row_factory=class_row(Deployment)) as cursor:
        await cursor.execute(GET, (id,))
        return await cursor.fetchone()


async def find(connection: Connection, filters: Filters) -> Page:
    """A page of the log.

    The statement holds only the conditions that are asked for, so that each shape has its
    own plan and walks the index that fits.
    """
    conditions = ["true"]
    if filters.app:
        conditions.append("app = %(app)s")
    if filters.host:
        conditions.append("host = %(host)s")
    if filters.before:
        conditions.append("id < %(before)s")
    query = f"""
        SELECT {COLUMNS} FROM deployment
        WHERE {" AND ".join(conditions)}
        ORDER BY id DESC LIMIT %(limit)s
    """
    async with connection.cursor(row_factory=class_row(Deployment)) as cursor:
        # One more than asked for tells whether there is a next page.
        await cursor.execute(query, filters.model_dump() | {"limit": filters.limit + 1})
        rows = await cursor.fetchall()
    items = rows[: filters.limit]
    return Page(items=items, next=items[-1].id if len(rows) > len(items) else None)


async def probe(connection: Connection) -> None:
    """Ask for every column and no row.

    Raises:
        psycopg.Error: the schema lacks what this code reads.
    """
    await connection.execute(PROBE)
