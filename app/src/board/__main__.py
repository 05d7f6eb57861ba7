"""What an operator does by hand: `python -m board token …` and `python -m board seed`."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from pydantic import TypeAdapter, ValidationError

from board import seed, tokens
from board.database import Connection, connection_arguments
from board.deployments import Line
from board.settings import DatabaseSettings, SettingsError, load_settings

Command = Callable[[Connection, argparse.Namespace], Coroutine[Any, Any, int]]


async def create_token(connection: Connection, given: argparse.Namespace) -> int:
    """Make a token, and print it and nothing else on standard output."""
    expires = datetime.now(UTC) + timedelta(days=given.days) if given.days else None
    try:
        name = TypeAdapter(Line).validate_python(given.name)
        token = await tokens.create(connection, name, given.scope, expires)
    except ValidationError:
        print("error: a name is a line of at most 100 characters", file=sys.stderr)
        return 2
    except tokens.NameTakenError:
        print(
            f"error: there is a token {given.name!r}; revoke it, or take another name",
            file=sys.stderr,
        )
        return 1
    print("Keep it; it can't be shown again.", file=sys.stderr)
    print(token)
    return 0


async def revoke_token(connection: Connection, given: argparse.Namespace) -> int:
    """Have a token be worth nothing."""
    if await tokens.revoke(connection, given.name):
        print(f"Revoked: {given.name}", file=sys.stderr)
        return 0
    print(f"error: there is no token {given.name!r} that is good for anything", file=sys.stderr)
    return 1


async def list_tokens(connection: Connection, _: argparse.Namespace) -> int:
    """Print what is known of each token."""
    for token in await tokens.known(connection):
        state = "valid"
        if token.revoked_at:
            state = f"revoked {token.revoked_at:%Y-%m-%d}"
        elif token.expires_at:
            word = "expired" if token.expires_at <= datetime.now(UTC) else "valid until"
            state = f"{word} {token.expires_at:%Y-%m-%d}"
        print(f"{token.name}\t{token.scope}\tmade {token.created_at:%Y-%m-%d}\t{state}")
    return 0


async def plant(connection: Connection, given: argparse.Namespace) -> int:
    """Fill the log."""
    try:
        await seed.plant(
            connection, given.deployments, given.hosts, given.apps, given.seed, given.anyway
        )
    except seed.NotEmptyError:
        print(
            "error: the log isn't empty, and a made-up fleet would mix with yours; --anyway has it",
            file=sys.stderr,
        )
        return 1
    print(f"{given.deployments:,} deployments", file=sys.stderr)
    return 0


def days(text: str) -> int:
    """A number of days, from one to a hundred years."""
    number = int(text)
    if not 1 <= number <= 36500:
        raise ValueError
    return number


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    top = argparse.ArgumentParser(prog="python -m board", description="The board, by hand.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    token = commands.add_parser("token", help="make, list and revoke tokens of the API")
    actions = token.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make one, and print it once")
    create.add_argument("name", help="whom or what it is for")
    create.add_argument("--scope", choices=["read", "write"], default="read")
    create.add_argument("--days", type=days, help="how long it is valid; for ever, if not said")
    create.set_defaults(run=create_token)
    actions.add_parser("list", help="say what there is").set_defaults(run=list_tokens)
    revoke = actions.add_parser("revoke", help="have one be worth nothing from now on")
    revoke.add_argument("name")
    revoke.set_defaults(run=revoke_token)

    fill = commands.add_parser("seed", help="fill the log with a made-up fleet")
    fill.add_argument("--deployments", type=int, default=100_000, metavar="N")
    fill.add_argument("--hosts", type=int, default=20, metavar="N")
    fill.add_argument("--apps", type=int, default=5, metavar="N", help="at most 5")
    fill.add_argument("--seed", type=int, default=1, metavar="N", help="the same makes the same")
    fill.add_argument("--anyway", action="store_true", help="even if the log isn't empty")
    fill.set_defaults(run=plant)
    return top


async def run(command: Command, given: argparse.Namespace) -> int:
    """Run a command on the database that the environment names."""
    settings = load_settings(DatabaseSettings)
    async with await psycopg.AsyncConnection.connect(
        settings.database_url,
        **connection_arguments(settings),  # type: ignore[arg-type]
    ) as connection:
        return await command(connection, given)


def main() -> int:
    """Run as `python -m board`."""
    given = parser().parse_args()
    try:
        return asyncio.run(run(given.run, given))
    except (SettingsError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
