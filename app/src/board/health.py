"""Whether this process lives, and whether it can serve."""

import asyncio
import logging

import psycopg
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from board import deployments
from board.database import SCHEMA_VERSION, Database
from board.problems import RETRY_AFTER, problem, responses

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])

TIMEOUT = 2.0  # seconds for the whole check


class Alive(BaseModel):
    status: str = "alive"
    release: str


class Ready(BaseModel):
    status: str = "ready"
    release: str
    schema_version: str


@router.get("/healthz")
async def healthz(request: Request) -> Alive:
    """The process answers. Says nothing about the database: a restart would not mend that."""
    return Alive(release=request.state.settings.slipway_release)


@router.get("/readyz", response_model=Ready, responses=responses())
async def readyz(request: Request, database: Database) -> Ready | Response:
    """The database answers, with a schema that this release can work with.

    A newer schema than expected is fine: during a deployment, and after a rollback, the
    older release serves on the newer schema. It is asked for all that this code reads, so
    that a migration which takes something away is noticed here.
    """
    release = request.state.settings.slipway_release
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            database.connection(timeout=TIMEOUT / 2) as connection,
        ):
            cursor = await connection.execute("SELECT max(version_num) FROM alembic_version")
            row = await cursor.fetchone()
            version = str(row[0]) if row and row[0] else "none"
            if version == "none" or version < SCHEMA_VERSION:
                reason = f"schema is at {version}, this release needs {SCHEMA_VERSION}"
            else:
                await deployments.probe(connection)
                return Ready(release=release, schema_version=version)
    except (psycopg.OperationalError, TimeoutError) as error:
        # Where and what it is, is for those who read the log.
        reason = "the database doesn't answer"
        log.warning("not ready: %s", str(error) or "no answer in time")
    except psycopg.Error as error:
        reason = "the database refuses what this release reads"
        log.warning("not ready: %s", error)
    return problem(503, f"Not ready: {reason}.", RETRY_AFTER, release=release)
