"""The help desk's API, below ``/api``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, Field

from .settings import Settings

api = APIRouter(prefix="/api")


async def connection(request: Request) -> AsyncIterator[AsyncConnection[DictRow]]:
    """Give a connection for one request, in a transaction."""
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = request.app.state.pool
    async with pool.connection() as opened:
        yield opened


Database = Annotated[AsyncConnection[DictRow], Depends(connection)]


class Ticket(BaseModel):
    """What somebody asks."""

    subject: Annotated[str, Field(min_length=1, max_length=200)]


@api.get("/health")
async def health(database: Database) -> dict[str, Any]:
    """Say as whom the database was reached, and at which address."""
    cursor = await database.execute("SELECT current_user AS role, host(inet_server_addr()) AS host")
    return await cursor.fetchone() or {}


@api.get("/tickets")
async def tickets(database: Database) -> list[dict[str, Any]]:
    """Return all tickets."""
    cursor = await database.execute("SELECT id, subject FROM ticket ORDER BY id")
    return await cursor.fetchall()


@api.post("/tickets", status_code=201)
async def open_ticket(ticket: Ticket, database: Database) -> dict[str, Any]:
    """Open a ticket."""
    cursor = await database.execute(
        "INSERT INTO ticket (subject) VALUES (%s) RETURNING id, subject", (ticket.subject,)
    )
    return await cursor.fetchone() or {}


@api.get("/tickets/{number}")
async def ticket(number: int, database: Database) -> dict[str, Any]:
    """Return a ticket."""
    cursor = await database.execute("SELECT id, subject FROM ticket WHERE id = %s", (number,))
    if found := await cursor.fetchone():
        return found
    raise HTTPException(404, f"there is no ticket {number}")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep connections while the application runs."""
    async with AsyncConnectionPool(
        str(Settings().dsn),  # type: ignore[call-arg] # they come from the environment
        connection_class=AsyncConnection[DictRow],
        kwargs={"row_factory": dict_row},
        min_size=1,
    ) as app.state.pool:
        yield


app = FastAPI(
    title="Desk", lifespan=lifespan, docs_url="/api/docs", openapi_url="/api/openapi.json"
)
app.include_router(api)
