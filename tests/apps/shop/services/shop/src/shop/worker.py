"""Confirms what was ordered: ``python -m shop.worker``.

It may be killed at any time: a transaction has happened or it has not.
"""

from psycopg import Connection
from sqlalchemy import update

from . import RELEASE
from .database import Purchase, engine

PLACED = "placed"


def confirm() -> None:
    """Confirm all that waits for it."""
    with engine().begin() as connection:
        connection.execute(
            update(Purchase).where(Purchase.confirmed_by.is_(None)).values(confirmed_by=RELEASE)
        )


def main() -> None:
    """Wait for orders, and look each minute whatever was said."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as ears:
        listener = ears.connection.driver_connection
        assert isinstance(listener, Connection)
        listener.execute(f"LISTEN {PLACED}")
        while True:
            confirm()
            for _ in listener.notifies(timeout=60, stop_after=1):
                pass


if __name__ == "__main__":
    main()
