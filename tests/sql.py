"""Asking a host's PostgreSQL, as one of the users of the host."""

from __future__ import annotations

from tests.stack import Stack


def psql(
    stack: Stack, statement: str, user: str = "postgres", role: str = "", database: str = "tally"
) -> tuple[int, str]:
    """Run a statement; return psql's exit code, and all that it said.

    Args:
        stack: The host.
        statement: One statement, or several.
        user: The system user that runs psql.
        role: The database role that it logs in as; the one of its own name if it is empty.
        database: The database's name.
    """
    command = "cd / && runuser -u %s -- psql -XAt -U %s -d %s -c %s"
    done = stack.host.run(command, user, role or user, database, statement)
    return done.rc, (done.stdout + done.stderr).strip()


def answer(stack: Stack, statement: str, **more: str) -> str:
    """Return what a statement gives; fail with what psql said if it fails."""
    code, said = psql(stack, statement, **more)
    assert code == 0, f"{stack.name}: {statement}\n{said}"
    return said
