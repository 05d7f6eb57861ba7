"""All routes."""

from fastapi import APIRouter

from app.api.routes import deployments

api_router = APIRouter()
api_router.include_router(deployments.router)
