"""Fills in the first products: ``python -m shop.seed``. As often as one likes: what is there stays."""

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from . import RELEASE
from .database import Product, Seeding, engine

PRODUCTS = [{"name": "Tea", "cents": 450}, {"name": "Teapot", "cents": 3200}]


def main() -> None:
    """Fill them in, and note as whom."""
    with Session(engine()) as session, session.begin():
        session.execute(insert(Product).values(PRODUCTS).on_conflict_do_nothing())
        session.execute(insert(Seeding).values(release=RELEASE, role=func.current_user()))


if __name__ == "__main__":
    main()
