"""Who may read and who may write."""

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from board import tokens
from board.settings import Settings


class Bearer(HTTPBearer):
    """A check, and how the API's description tells of it: one dependency for both."""

    def __init__(self, check: Callable[[HTTPConnection], Awaitable[None]]) -> None:
        super().__init__(
            scheme_name="HTTPBearer", description="API_TOKEN, or one of `python -m board token`"
        )
        self.check = check

    async def __call__(self, request: HTTPConnection) -> None:
        await self.check(request)


def given(connection: HTTPConnection) -> tuple[str, str]:
    """The kind of credentials in lower case, and the token; empty if there is none.

    A browser asks for a name and a password (Basic): the token is the password, whatever the name.
    """
    kind, _, token = connection.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            token = base64.b64decode(token, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            token = ""
    return kind.lower(), token.strip()


async def scope_of(connection: HTTPConnection) -> tokens.Scope | None:
    """What the token that comes with a request is good for, None if for nothing."""
    settings: Settings = connection.state.settings
    kind, token = given(connection)
    if kind not in ("bearer", "basic"):
        return None
    scope: tokens.Scope | None = None
    if secrets.compare_digest(token.encode(), settings.api_token.get_secret_value().encode()):
        scope = "write"
    elif tokens.SHAPE.fullmatch(token):
        async with connection.state.pool.connection() as database:
            scope = await tokens.scope_of(database, token)
    # A browser sends these along by itself, to whatever page of another site has it ask.
    return "read" if scope and kind == "basic" else scope


async def reads(connection: HTTPConnection) -> bool:
    """Whether the log may be read."""
    settings: Settings = connection.state.settings
    return settings.public or await scope_of(connection) is not None


def foreign(connection: HTTPConnection) -> bool:
    """Whether it was a page of another site that had a browser ask; what can't be read is one."""
    origin = connection.headers.get("Origin")
    try:
        return origin is not None and urlsplit(origin).netloc != connection.headers.get("Host")
    except ValueError:
        return True


async def watches(socket: HTTPConnection) -> bool:
    """Whether the log may be watched over a WebSocket.

    A browser opens one for a page of any site, and sends along the token that it knows: the page has
    to be one of the board's own.
    """
    settings: Settings = socket.state.settings
    return settings.public or (not foreign(socket) and await reads(socket))


async def may_read(request: HTTPConnection) -> None:
    """Refuse whoever may not read.

    Raises:
        HTTPException: 401.
    """
    if not await reads(request):
        raise HTTPException(401, "Needs a valid token.", {"WWW-Authenticate": "Bearer"})


async def may_look(request: HTTPConnection) -> None:
    """Refuse whoever may not read, in such a way that a browser asks for a token.

    Raises:
        HTTPException: 401.
    """
    if not await reads(request):
        challenge = 'Basic realm="board: a token as the password", charset="UTF-8"'
        raise HTTPException(401, "Needs a valid token.", {"WWW-Authenticate": challenge})


async def may_write(request: HTTPConnection) -> None:
    """Refuse whoever may not write.

    Raises:
        HTTPException: 401 without a valid token, 403 with one that only reads.
    """
    scope = await scope_of(request)
    if scope is None:
        raise HTTPException(401, "Needs a valid token.", {"WWW-Authenticate": "Bearer"})
    if scope != "write":
        raise HTTPException(403, "This token is good for reading alone.")


Reader = [Security(Bearer(may_read))]
Writer = [Security(Bearer(may_write))]
Viewer = [Depends(may_look)]
