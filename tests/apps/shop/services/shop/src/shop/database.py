"""The database: its tables, and how each process comes to a session."""

import os
from collections.abc import Iterator
from functools import cache
from typing import Annotated

from fastapi import Depends
from sqlalchemy import Engine, ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    """What all tables share."""


class Product(Base):
    """What is sold; its price is in cents."""

    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    cents: Mapped[int]


class Purchase(Base):
    """What was ordered, for how many cents in all, and the release whose worker confirmed it."""

    __tablename__ = "purchase"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"))
    quantity: Mapped[int]
    cents: Mapped[int]
    confirmed_by: Mapped[str | None]
    product: Mapped[Product] = relationship()


class Report(Base):
    """How many purchases there were, and their sum."""

    __tablename__ = "report"
    id: Mapped[int] = mapped_column(primary_key=True)
    release: Mapped[str]
    purchases: Mapped[int]
    cents: Mapped[int]


class Seeding(Base):
    """Who filled in the products, for which release."""

    __tablename__ = "seeding"
    id: Mapped[int] = mapped_column(primary_key=True)
    release: Mapped[str]
    role: Mapped[str]


@cache
def engine() -> Engine:
    """Return the way to the database: made when first asked for, so that an import needs none."""
    return create_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)


def session() -> Iterator[Session]:
    """Give a session for one request."""
    with Session(engine()) as opened:
        yield opened


Database = Annotated[Session, Depends(session)]
