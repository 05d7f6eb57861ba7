"""The HTTP API: /api/deployments."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from board import deployments
from board.database import Database
from board.deployments import Deployment, Filters, Finish, Identifier, NewDeployment, Page
from board.settings import Settings

router = APIRouter(prefix="/api/deployments", tags=["deployments"])

bearer = HTTPBearer(auto_error=False, description="API_TOKEN")


async def may_write(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
) -> None:
    settings: Settings = request.state.settings
    given = credentials.credentials if credentials else ""
    expected = settings.api_token.get_secret_value()
    if not secrets.compare_digest(given.encode(), expected.encode()):
        raise HTTPException(401, "Needs a valid token.", {"WWW-Authenticate": "Bearer"})


@router.post("", status_code=201, dependencies=[Depends(may_write)])
async def start_deployment(
    new: NewDeployment, database: Database, response: Response
) -> Deployment:
    """Record that a deployment has started."""
    async with database.connection() as connection:
        deployment = await deployments.start(connection, new)
    response.headers["Location"] = f"{router.prefix}/{deployment.id}"
    return deployment


@router.patch("/{id}", dependencies=[Depends(may_write)])
async def finish_deployment(id: Identifier, end: Finish, database: Database) -> Deployment:
    """Record how a deployment ended; a successful one may later be rolled back."""
    async with database.connection() as connection:
        if deployment := await deployments.finish(connection, id, end):
            return deployment
        existing = await deployments.get(connection, id)
    if existing:
        raise HTTPException(409, f"Deployment {id} is {existing.status} already.")
    raise HTTPException(404, f"There is no deployment {id}.")


@router.get("")
async def list_deployments(filters: Annotated[Filters, Query()], database: Database) -> Page:
    """The log, newest first, a page at a time."""
    async with database.connection() as connection:
        return await deployments.find(connection, filters)


@router.get("/{id}")
async def get_deployment(id: Identifier, database: Database) -> Deployment:
    """One deployment."""
    async with database.connection() as connection:
        deployment = await deployments.get(connection, id)
    if deployment:
        return deployment
    raise HTTPException(404, f"There is no deployment {id}.")
