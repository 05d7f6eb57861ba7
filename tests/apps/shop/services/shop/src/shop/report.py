"""Sums up the purchases: ``python -m shop.report``."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import RELEASE
from .database import Purchase, Report, engine


def main() -> None:
    """Write a report."""
    with Session(engine()) as session, session.begin():
        count, cents = session.execute(
            select(func.count(), func.coalesce(func.sum(Purchase.cents), 0))
        ).one()
        session.add(Report(release=RELEASE, purchases=count, cents=cents))


if __name__ == "__main__":
    main()
