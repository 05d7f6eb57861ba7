"""The application: `uvicorn main:app --workers 4`."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import BigInteger, DateTime, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ["DATABASE_URL"])
async_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger, datetime: DateTime(timezone=True)}  # noqa: RUF012


class Deployment(Base):
    __tablename__ = "deployment"

    id: Mapped[int] = mapped_column(primary_key=True)
    app: Mapped[str]
    host: Mapped[str]
    release: Mapped[str]
    version: Mapped[str | None]
    status: Mapped[str]
    message: Mapped[str | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    requests: Mapped[int | None]
    failed: Mapped[int | None]
    p50_ms: Mapped[float | None]
    p99_ms: Mapped[float | None]
    worst_ms: Mapped[float | None]
    log_bytes: Mapped[int | None]
    revision: Mapped[int]


class DeploymentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    app: str
    host: str
    release: str
    version: str | None
    status: str
    message: str | None
    started_at: datetime
    finished_at: datetime | None
    requests: int | None
    failed: int | None
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None
    log_bytes: int | None
    revision: int


async def get_session() -> AsyncIterator[AsyncSession]:
    async with async_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]

app = FastAPI()


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/deployments", response_model=list[DeploymentOut])
async def list_deployments(session: Session, limit: int = 50) -> list[Deployment]:
    result = await session.scalars(select(Deployment).order_by(Deployment.id.desc()).limit(limit))
    return list(result)


@app.get("/api/deployments/{id}", response_model=DeploymentOut)
async def get_deployment(id: int, session: Session) -> Deployment:
    deployment = await session.get(Deployment, id)
    if deployment is None:
        raise HTTPException(status_code=404)
    return deployment
