"""Tokens of the API: who may read, and who may write.

A token is 32 random bytes, so its SHA-256 is all that needs to be kept of it: nobody can guess what
it was made of, and comparing it costs nothing.
"""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Literal

from psycopg import errors
from psycopg.rows import class_row
from pydantic import BaseModel

from board.database import Connection

Scope = Literal["read", "write"]

SHAPE = re.compile(r"board_[A-Za-z0-9_-]{43}")

INSERT = "INSERT INTO token (name, scope, digest, expires_at) VALUES (%s, %s, %s, %s)"
LIST = "SELECT name, scope, created_at, expires_at, revoked_at FROM token ORDER BY id"
REVOKE = "UPDATE token SET revoked_at = now() WHERE name = %s AND revoked_at IS NULL"
CHECK = """
    SELECT scope FROM token
    WHERE digest = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


class Token(BaseModel):
    """What is known of a token. The token itself isn't."""

    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NameTakenError(Exception):
    """There is a token of this name that isn't revoked."""


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


async def create(
    connection: Connection, name: str, scope: Scope, expires_at: datetime | None
) -> str:
    """Make a token and return it; it can't be had again.

    Raises:
        NameTakenError: there is one of this name.
    """
    token = f"board_{secrets.token_urlsafe(32)}"
    try:
        await connection.execute(INSERT, (name, scope, digest(token), expires_at))
    except errors.UniqueViolation:
        raise NameTakenError(name) from None
    return token


async def revoke(connection: Connection, name: str) -> bool:
    """Have a token be worth nothing from now on; False if there is none of this name."""
    cursor = await connection.execute(REVOKE, (name,))
    return cursor.rowcount > 0


async def known(connection: Connection) -> list[Token]:
    """All tokens that were ever made, oldest first."""
    async with connection.cursor(row_factory=class_row(Token)) as cursor:
        await cursor.execute(LIST)
        return await cursor.fetchall()


async def scope_of(connection: Connection, token: str) -> Scope | None:
    """What a token is good for, None if for nothing."""
    cursor = await connection.execute(CHECK, (digest(token),))
    row = await cursor.fetchone()
    return row[0] if row else None
