"""Tally: whoever counts something writes a row for it, and may rely on every row that was confirmed."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import psycopg
from fastapi import Depends, FastAPI, Request, Response, WebSocket
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

GREETING = "hello"
RELEASE = os.environ["SLIPWAY_RELEASE"]
MARKS = Path(os.environ["SLIPWAY_SHARED"], "lifespans")

Pool = AsyncConnectionPool[psycopg.AsyncConnection]


class Row(BaseModel):
    """The ``n``-th thing that a ``run`` of some counter has counted."""

    run: str
    n: int


def mark(what: str) -> None:
    """Note beside all releases what this worker has come to."""
    with MARKS.open("a") as marks:
        marks.write(f"{RELEASE} {os.getpid()} {what}\n")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep connections to the database, of which one that has broken is replaced before a request gets it."""
    pool = Pool(
        os.environ["DATABASE_URL"],
        min_size=1,
        max_size=8,
        open=False,
        check=AsyncConnectionPool.check_connection,
    )
    async with pool:
        app.state.pool = pool
        mark("started")
        yield
        mark("ended")


app = FastAPI(title="Tally", lifespan=lifespan)


async def connection(request: Request) -> AsyncIterator[psycopg.AsyncConnection]:
    """Lend a connection for one request; it commits before the answer goes out."""
    async with request.app.state.pool.connection() as lent:
        yield lent


Connection = Annotated[psycopg.AsyncConnection, Depends(connection, scope="function")]


@app.get("/")
async def greet() -> dict[str, str]:
    """Say which release this is."""
    return {"release": RELEASE, "greeting": GREETING}


@app.get("/readyz")
async def ready(response: Response, request: Request) -> dict[str, str]:
    """Answer 200 if rows could be written now, else 503 and why not."""
    try:
        async with request.app.state.pool.connection(timeout=2) as lent:
            await lent.execute("SELECT run, n, release FROM entry LIMIT 0")
    except psycopg.Error as error:
        response.status_code = 503
        return {"release": RELEASE, "status": str(error)}
    return {"release": RELEASE, "status": "ready"}


@app.post("/rows", status_code=201)
async def write(row: Row, connection: Connection) -> Row:
    """Write a row: once this has answered, it is there for good."""
    await connection.execute("INSERT INTO entry VALUES (%s, %s, %s)", [row.run, row.n, RELEASE])
    return row


@app.get("/rows/count")
async def count(run: str, connection: Connection) -> int:
    """Return how many rows a run has."""
    cursor = await connection.execute("SELECT count(*) FROM entry WHERE run = %s", [run])
    (rows,) = await cursor.fetchone() or (0,)
    return int(rows)


@app.get("/slow")
async def slow(seconds: float) -> dict[str, str]:
    """Take a while."""
    await asyncio.sleep(seconds)
    return {"release": RELEASE}


@app.post("/upload")
async def upload(request: Request) -> dict[str, str]:
    """Return the SHA-256 of what is sent, however slowly that comes."""
    digest = hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
    return {"release": RELEASE, "sha256": digest.hexdigest()}


@app.websocket("/ws")
async def talk(socket: WebSocket) -> None:
    """Say which release this is, then send back each text."""
    await socket.accept()
    await socket.send_text(RELEASE)
    async for text in socket.iter_text():
        await socket.send_text(text)
