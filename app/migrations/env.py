"""Runs the migrations on the database that DATABASE_URL names.

Run by a role whose objects belong to the schema's owner; what the application may do with
them follows from the owner's default privileges, so migrations grant nothing.
"""

import logging
import os

import psycopg
from alembic import context
from sqlalchemy import create_engine, pool, text

logging.basicConfig(level=logging.INFO, format="%(message)s")


def connect() -> psycopg.Connection:
    # Handed to libpq as it is, so that whatever the application can connect with (sockets,
    # several hosts, services) works here too. No lock may be waited for longer than requests
    # can queue up behind it.
    url = os.environ.get("DATABASE_URL", "postgresql:///board")
    try:
        return psycopg.connect(
            url, application_name="board migration", options="-c lock_timeout=3s"
        )
    except psycopg.OperationalError as error:
        raise SystemExit(f"migrations: {error}") from None


if context.is_offline_mode():
    raise SystemExit("alembic --sql is not supported: migrations run on a database")

engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool)
with engine.connect() as connection:
    # One at a time, should two hosts try. Not waited for: an index that is made beside others waits
    # for whoever is at a statement.
    lock = text("SELECT pg_try_advisory_lock(hashtext('board migrations'))")
    if not connection.execute(lock).scalar():
        raise SystemExit("migrations: somebody else is at it; try again when that has ended")
    connection.commit()
    # Each by itself, since not all can be in a transaction.
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
