"""The table, and what is public of it."""

from datetime import datetime

from sqlmodel import Field, SQLModel


class DeploymentBase(SQLModel):
    app: str
    host: str
    release: str
    version: str | None = None
    status: str
    message: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    requests: int | None = None
    failed: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    worst_ms: float | None = None
    log_bytes: int | None = None
    revision: int


class Deployment(DeploymentBase, table=True):
    id: int = Field(primary_key=True)


class DeploymentPublic(DeploymentBase):
    id: int


class DeploymentsPublic(SQLModel):
    data: list[DeploymentPublic]
