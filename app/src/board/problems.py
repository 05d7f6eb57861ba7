"""Errors as application/problem+json (RFC 9457)."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

# Long enough for a pool to turn over or a database to restart, short enough for a deploy.
RETRY_AFTER = {"Retry-After": "2"}

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

MEANINGS = {
    400: "The request can't be read",
    401: "No valid token",
    403: "A token that is good for reading alone",
    404: "There is no such deployment",
    409: "It has ended otherwise",
    413: "The body is too large",
    422: "The request doesn't have the expected form",
    503: "The database doesn't answer, or all connections are in use; try again after Retry-After",
    507: "There is no room left",
}


class Mistake(BaseModel):
    """Where in a request something is wrong, and what."""

    loc: list[str | int]
    msg: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str
    status: int
    detail: str | None = None
    errors: list[Mistake] | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How the API's description tells of problems with these statuses, and of 503."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in (*statuses, 503)
    }


def problem(
    status: int,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem document; `members` are its extension members."""
    document = {"title": HTTPStatus(status).phrase, "status": status}
    if detail and detail != document["title"]:
        document["detail"] = detail
    # Plain json.dumps escapes what is not ASCII: a lone surrogate that a client sent as the
    # name of a key must not turn its 422 into our 500.
    return Response(json.dumps(document | members), status, headers, media_type=MEDIA_TYPE)


def allowed(request: Request) -> str:
    """The methods of a resource. By itself the framework names those of one of its routes."""
    routes = request.app.router.routes
    return ", ".join(
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    )


async def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = {"Allow": allowed(request)} if error.status_code == 405 else error.headers
    return problem(error.status_code, error.detail, headers)


async def invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Says where and why, and never repeats the input.
    errors = [{"loc": e["loc"], "msg": e["msg"]} for e in error.errors()]
    return problem(422, "The request doesn't have the expected form.", errors=errors)


async def constraint_violated(_: Request, error: Exception) -> Response:
    assert isinstance(error, psycopg.errors.CheckViolation)
    return problem(422, f"The values contradict each other: {error.diag.constraint_name}.")


async def database_unavailable(_: Request, error: Exception) -> Response:
    # Also a pool without a free connection, and a query beyond its time.
    log.warning("database unavailable: %s", error)
    return problem(503, "The database doesn't answer.", RETRY_AFTER)


def register(app: FastAPI) -> None:
    """Make `app` answer every foreseen error with a problem document."""
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(psycopg.errors.CheckViolation, constraint_violated)
    app.add_exception_handler(psycopg.OperationalError, database_unavailable)
