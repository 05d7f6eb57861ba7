"""The connection pool, one a worker."""

import select
from typing import Annotated

import psycopg
from fastapi import Depends
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from starlette.requests import HTTPConnection

from board.settings import DatabaseSettings

# The oldest schema that this code can work with: the newest revision in migrations/ at the
# time it was written. A unit test compares, so that workers need not import Alembic.
SCHEMA_VERSION = "0003"

# Requests that may wait for each connection of the pool. Whoever comes on top is refused at once,
# since it would wait for longer than anybody has patience.
WAITING = 64

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]


def connection_arguments(settings: DatabaseSettings) -> dict[str, object]:
    """What every connection of this application is opened with, apart from the URL."""
    return {
        # One statement is one transaction: no BEGIN and COMMIT around each query.
        "autocommit": True,
        # Prepare a statement when it is first seen.
        "prepare_threshold": 0,
        "application_name": f"board {settings.slipway_release}",
        "connect_timeout": 3,
        # Each statement has the same plan whatever its values are, so it is made once, and not
        # weighed anew each time. It is to read a page of the log from the one index that has it in
        # order, and not sort what another one has almost so (deployments.listing).
        "options": f"-c statement_timeout={round(settings.query_timeout * 1000)}"
        " -c timezone=UTC -c plan_cache_mode=force_generic_plan -c enable_incremental_sort=off",
    }


def said_something(descriptor: int) -> bool:
    """Whether a connection has anything to read, be it its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def create_pool(settings: DatabaseSettings) -> Pool:
    """A pool, not opened yet.

    Of fixed size, so that a burst doesn't wait for connections to be made. Each connection
    is checked when it is handed out, so that no request meets a stale one after a restart of
    the server. `reconnect_timeout` is short because an attempt backs off more and more;
    giving up soon lets the next request start a fresh one.
    """

    async def check(connection: Connection) -> None:
        # At rest the server says nothing but that it closes. To ask it each time would be a query more.
        if not said_something(connection.fileno()):
            return
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            # The others are as stale, and the pool would try one after another, each time after
            # a longer pause, for longer than a request may wait. Replace them all.
            await pool.drain()
            raise

    pool: Pool = AsyncConnectionPool(
        settings.database_url,
        kwargs=connection_arguments(settings),
        min_size=settings.pool_size,
        max_size=settings.pool_size,
        timeout=settings.pool_timeout,
        max_waiting=WAITING * settings.pool_size,
        reconnect_timeout=2,
        check=check,
        open=False,
    )
    return pool


# A dependency that isn't a coroutine is called in a thread, which costs more than a query.
async def pool_of(request: HTTPConnection) -> Pool:
    pool: Pool = request.state.pool
    return pool


# The pool and not a connection: FastAPI resolves dependencies before it refuses bad input, and
# such a request must not take a connection, nor a response that a slow client reads keep one.
Database = Annotated[Pool, Depends(pool_of)]
