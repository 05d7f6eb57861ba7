"""Deployments."""

from typing import Any

from fastapi import APIRouter, HTTPException
from sqlmodel import col, select

from app.api.deps import SessionDep
from app.models import Deployment, DeploymentPublic, DeploymentsPublic

router = APIRouter(prefix="/deployments", tags=["deployments"])


@router.get("", response_model=DeploymentsPublic)
def read_deployments(session: SessionDep, skip: int = 0, limit: int = 50) -> Any:
    statement = select(Deployment).order_by(col(Deployment.id).desc()).offset(skip).limit(limit)
    return DeploymentsPublic(data=session.exec(statement).all())


@router.get("/{id}", response_model=DeploymentPublic)
def read_deployment(session: SessionDep, id: int) -> Any:
    deployment = session.get(Deployment, id)
    if not deployment:
        raise HTTPException(status_code=404, detail="Deployment not found")
    return deployment
