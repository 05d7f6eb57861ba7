"""The HTTP API: /api/deployments and /api/summary."""

import errno
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from board import attachments, deployments
from board.access import Reader, Writer
from board.database import Database
from board.deployments import (
    Change,
    Deployment,
    DetailedDeployment,
    Filters,
    Identifier,
    NewDeployment,
    Page,
    Summary,
)
from board.problems import problem, responses
from board.settings import Settings

router = APIRouter(prefix="/api", tags=["deployments"])

# What is attached may be larger than any other body; how large is a setting, so it is counted there.
UNLIMITED = 2**62


@router.post(
    "/deployments",
    status_code=201,
    dependencies=Writer,
    responses=responses(400, 401, 403, 413, 422),
)
async def start_deployment(
    new: NewDeployment, database: Database, response: Response
) -> Deployment:
    """Record that a deployment has started."""
    async with database.connection() as connection:
        deployment = await deployments.start(connection, new)
    response.headers["Location"] = f"{router.prefix}/deployments/{deployment.id}"
    return deployment


@router.patch(
    "/deployments/{id}",
    dependencies=Writer,
    responses=responses(400, 401, 403, 404, 409, 413, 422),
)
async def change_deployment(id: Identifier, change: Change, database: Database) -> Deployment:
    """Record how a deployment ended, its steps, or what clients noticed of it.

    An end is final, but a deployment that succeeded may later be rolled back.
    """
    async with database.connection() as connection:
        if deployment := await deployments.change(connection, id, change):
            return deployment
        existing = await deployments.get(connection, id)
    if existing:
        raise HTTPException(409, f"Deployment {id} is {existing.status} already.")
    raise HTTPException(404, f"There is no deployment {id}.")


@router.get("/deployments", dependencies=Reader, response_model=Page, responses=responses(401, 422))
async def list_deployments(filters: Annotated[Filters, Query()], database: Database) -> Response:
    """The log, newest first, a page at a time."""
    async with database.connection() as connection:
        page = await deployments.find(connection, filters)
    return Response(to_json(page), media_type="application/json")


@router.get("/deployments/{id}", dependencies=Reader, responses=responses(401, 404, 422))
async def get_deployment(id: Identifier, database: Database) -> DetailedDeployment:
    """One deployment with its steps, and what clients noticed of it."""
    async with database.connection() as connection:
        deployment = await deployments.get_detailed(connection, id)
    if deployment:
        return deployment
    raise HTTPException(404, f"There is no deployment {id}.")


@router.put(
    "/deployments/{id}/log",
    dependencies=Writer,
    status_code=204,
    max_body_size=UNLIMITED,
    responses=responses(400, 401, 403, 404, 413, 422, 507),
    openapi_extra={
        "requestBody": {
            "description": "The log, as text. It takes the place of the one before.",
            "required": False,  # that of a run that said nothing
            "content": {"text/plain": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def attach_log(id: Identifier, request: Request, database: Database) -> Response:
    """Attach the log of the run."""
    settings: Settings = request.state.settings
    too_large = HTTPException(413, f"A log may have {settings.log_limit} bytes.")
    said = request.headers.get("Content-Length", "")
    if said.isdecimal() and int(said) > settings.log_limit:
        raise too_large
    async with database.connection() as connection:
        if not await deployments.get(connection, id):
            raise HTTPException(404, f"There is no deployment {id}.")
    # Without a connection of the pool, for it takes as long as the client likes.
    try:
        size = await attachments.receive(
            request.stream(), settings.slipway_shared, id, settings.log_limit
        )
    except attachments.TooLargeError:
        raise too_large from None
    except ClientDisconnect:
        raise HTTPException(400, "The log was cut off.") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return problem(507, "There is no room for it.")
    async with database.connection() as connection:
        await deployments.logged(connection, id, size)
    return Response(status_code=204)


@router.get(
    "/deployments/{id}/log",
    dependencies=Reader,
    response_class=Response,
    responses=responses(401, 404, 422)
    | {200: {"description": "The log", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_log(id: Identifier, request: Request, database: Database) -> Response:
    """The log of the run."""
    async with database.connection() as connection:
        deployment = await deployments.get(connection, id)
    if not deployment or deployment.log_bytes is None:
        raise HTTPException(404, f"There is no log of deployment {id}.")
    path = attachments.path_of(request.state.settings.slipway_shared, id)
    if not path.is_file():
        raise HTTPException(404, f"The log of deployment {id} isn't on this host.")
    return attachments.send(request, path)


@router.get("/summary", dependencies=Reader, responses=responses(401))
async def get_summary(database: Database) -> Summary:
    """What runs where."""
    async with database.connection() as connection:
        return await deployments.summarize(connection)
