"""The shop's API."""

import os
from pathlib import Path
from typing import Annotated

import pricing
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from sqlalchemy import select, text
from starlette.middleware.trustedhost import TrustedHostMiddleware

from . import RELEASE
from .database import Database, Product, Purchase, Report
from .worker import PLACED

UPLOADS = Path("uploads")

app = FastAPI(title="Shop")
app.add_middleware(
    TrustedHostMiddleware,
    allowed_hosts=os.environ.get("SHOP_HOSTS", "localhost").split(","),
    www_redirect=False,
)


class Order(BaseModel):
    """What somebody wants."""

    product: int
    quantity: Annotated[int, Field(ge=1, le=1000)] = 1


@app.get("/health")
def health(database: Database) -> dict[str, str]:
    """Say that the database answers, and which release asks."""
    database.execute(text("SELECT 1"))
    return {"release": RELEASE}


@app.get("/products")
def products(database: Database) -> list[dict[str, str | int]]:
    """Return what is sold."""
    found = database.scalars(select(Product).order_by(Product.id))
    return [{"id": item.id, "name": item.name, "cents": item.cents} for item in found]


@app.put("/products/{number}/picture", status_code=204)
async def upload(number: int, request: Request) -> None:
    """Keep a product's picture."""
    (UPLOADS / f"{number}.png").write_bytes(await request.body())


@app.get("/products/{number}/picture")
async def picture(number: int) -> FileResponse:
    """Return a product's picture."""
    path = UPLOADS / f"{number}.png"
    if not path.is_file():
        raise HTTPException(404, f"product {number} has no picture")
    return FileResponse(path)


@app.post("/purchases", status_code=201)
def buy(order: Order, database: Database) -> dict[str, int]:
    """Take an order; the worker confirms it."""
    product = database.get(Product, order.product)
    if product is None:
        raise HTTPException(404, f"there is no product {order.product}")
    purchase = Purchase(
        product=product,
        quantity=order.quantity,
        cents=pricing.total(product.cents, order.quantity),
    )
    database.add(purchase)
    database.execute(text(f"NOTIFY {PLACED}"))
    database.commit()
    return {"id": purchase.id, "cents": purchase.cents}


@app.get("/purchases/{number}")
def purchase(number: int, database: Database) -> dict[str, int | str | None]:
    """Return an order, with the release that has confirmed it."""
    found = database.get(Purchase, number)
    if found is None:
        raise HTTPException(404, f"there is no purchase {number}")
    return {"id": found.id, "cents": found.cents, "confirmed_by": found.confirmed_by}


@app.get("/report")
def report(database: Database) -> dict[str, int | str]:
    """Return the latest report."""
    found = database.scalar(select(Report).order_by(Report.id.desc()).limit(1))
    if found is None:
        raise HTTPException(404, "there is no report yet")
    return {"release": found.release, "purchases": found.purchases, "cents": found.cents}
